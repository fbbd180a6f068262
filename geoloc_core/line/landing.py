"""The landing folder: a metadata file laid there, complete and stable, becomes a dataset to learn from.

Files stay where they were laid; the ledger (`landed.json` in the data folder) says what each became, and `open_project`
adds its datasets to the profile's own. The content decides: the same bytes under two names are one delivery, a file that
was written anew is the same delivery with new content, and what has no known layout is refused until it changes.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from geoloc_core.errors import GeolocError, InputError
from geoloc_core.line.layout import Layout
from geoloc_core.line.profile import Profile
from geoloc_core.photos.file_names import printable
from geoloc_core.photos.settings import Dataset, Settings
from geoloc_core.storage import file_sha256, one_at_a_time, read_checked, write_json

# A file that nobody touched for this long is complete. Its time of last change counts, which no copying tool sets back.
SETTLED_AFTER_S = 20.0
# Hidden names, as temporary files of ours are, and names under which tools write what is not complete yet.
_UNFINISHED = re.compile(r"^\.|\.(part|partial|tmp|crdownload|filepart)$", re.IGNORECASE)
_BLOCK_BYTES = 1 << 20


class Delivery(Settings):
    """A dataset that came by the landing folder, and the content that it was taken in with."""

    dataset: Dataset
    sha256: str


class Seen(Settings):
    """What was said of a file of a given size and time of change, so that it need not be read at each look."""

    bytes: int
    changed_ns: int
    sha256: str
    verdict: str


class Ledger(Settings):
    """All deliveries in the order of their arrival, and all files seen, by name."""

    deliveries: tuple[Delivery, ...] = ()
    seen: dict[str, Seen] = Field(default_factory=dict)


@dataclass(frozen=True)
class Intake:
    """What one look at the landing folder found: a sentence for each file, by its name. Deliveries changed if `taken_in`."""

    taken_in: dict[str, str]
    waiting: dict[str, str]
    refused: dict[str, str]

    @property
    def sentence(self) -> str:
        """All of it in one line; empty when the folder holds nothing new."""
        return "; ".join([*self.taken_in.values(), *self.waiting.values(), *self.refused.values()])


def read_ledger(layout: Layout) -> Ledger:
    """The ledger; an empty one where nothing ever landed. InputError where it cannot be read, as deliveries hang on it."""
    if not layout.landed.is_file():
        return Ledger()
    try:
        return _with_places(read_checked(layout.landed, Ledger), lambda place: str(layout.home / place))
    except (OSError, ValueError) as error:
        mend = "restore it, or move it away and the files in the landing folder are taken in anew"
        raise InputError(f"the ledger of deliveries, {layout.landed}, cannot be read ({error}); {mend}") from error


def take_in(profile: Profile, layout: Layout, now: float | None = None) -> Intake:
    """Look at the landing folder once and take in what is complete; `now` is in seconds since the epoch.

    `profile` may have the ledger's datasets in it or not; names that it uses already are not given again.
    """
    intake, now = Intake({}, {}, {}), time.time() if now is None else now
    if not layout.landing.is_dir():
        return intake
    # A sensor and a person may look at the same time; the ledger is read and written by one of them.
    with one_at_a_time(layout.landed.with_suffix(".lock")):
        before = read_ledger(layout)
        # Folders hold pictures.
        complete = (file for file in sorted(layout.landing.iterdir()) if not _UNFINISHED.search(file.name))
        files = {file.name: file for file in complete if file.is_file()}
        deliveries = {delivery.dataset.name: delivery for delivery in before.deliveries}
        seen = {name: entry for name, entry in before.seen.items() if name in files}
        for name, file in files.items():
            if name != printable(name):
                intake.refused[printable(name)] = f"refused {printable(name)}: its name is not UTF-8; rename it"
                continue
            try:
                status = file.stat()
                changed_ns = max(status.st_mtime_ns, status.st_ctime_ns)
                if name in seen and (seen[name].bytes, seen[name].changed_ns) == (status.st_size, changed_ns):
                    if seen[name].verdict.startswith("refused"):
                        intake.refused[name] = seen[name].verdict
                elif now - changed_ns / 1e9 < SETTLED_AFTER_S:
                    intake.waiting[name] = f"{name} was changed a moment ago and is given time to be complete"
                else:
                    sha256 = file_sha256(file)
                    verdict = _judge(profile, layout, deliveries, file, sha256)
                    seen[name] = Seen(bytes=status.st_size, changed_ns=changed_ns, sha256=sha256, verdict=verdict)
                    (intake.refused if verdict.startswith("refused") else intake.taken_in)[name] = verdict
            except OSError as error:  # it went away, or may not be read: the others are taken in all the same
                intake.refused[name] = f"refused {name}: it cannot be read ({error.strerror or error})"
        after = Ledger(deliveries=tuple(deliveries.values()), seen=seen)
        if after != before:
            # Relative to the data folder, so that it can be moved.
            relative = _with_places(after, lambda place: place.removeprefix(f"{layout.home}/"))
            write_json(layout.landed, relative.model_dump())
    return intake


def _with_places(ledger: Ledger, place: Callable[[str], str]) -> Ledger:
    """The ledger with another way to say where the files and the pictures of each delivery lie."""
    deliveries = []
    for delivery in ledger.deliveries:
        metadata, images = delivery.dataset.metadata, delivery.dataset.images
        places = {"metadata": place(metadata), "images": images and place(images)}
        deliveries.append(Delivery(dataset=delivery.dataset.model_copy(update=places), sha256=delivery.sha256))
    return ledger.model_copy(update={"deliveries": tuple(deliveries)})


def _judge(profile: Profile, layout: Layout, deliveries: dict[str, Delivery], file: Path, sha256: str) -> str:
    """What is said of a complete file; `deliveries`, by the dataset's name, is brought up to date in place."""
    from geoloc_core.photos.archives import archives_in
    from geoloc_core.photos.images import one_line
    from geoloc_core.photos.sources.registry import detect_source

    earlier_name = None
    for name, delivery in deliveries.items():
        before = Path(delivery.dataset.metadata)
        if before == file:
            earlier_name = name
        elif delivery.sha256 == sha256:
            if before.is_file():
                return f"{file.name} holds the same as {before.name}: one delivery, {name}"
            moved = delivery.dataset.model_copy(update={"metadata": str(file)})
            deliveries[name] = Delivery(dataset=moved, sha256=sha256)
            return f"{before.name} is called {file.name} now: {name}"
    landing = profile.landing
    try:
        source = detect_source(file).name if landing.source == "auto" else landing.source
        rows = count_rows(file)
    except Exception as error:  # noqa: BLE001 - on hostile bytes a parser may raise anything; others must not wait for it
        return f"refused {file.name}: {error if isinstance(error, GeolocError | OSError) else one_line(error)}"
    own_pictures = landing.fetch or bool(archives_in(file))
    landed = [shard for delivery in deliveries.values() for shard in delivery.dataset.shard_names()]
    dataset = Dataset(
        name=earlier_name or _dataset_name(file, sha256, {*profile.shards(), *landed}),
        metadata=str(file),
        images=landing.images or ("" if own_pictures else str(layout.landing)),
        source=source,
        layout=landing.layout,
        fetch=landing.fetch,
        # The last shard takes all that is left, so each has rows of its own.
        shards=max(1, rows // landing.rows_per_shard),
        rows_per_shard=landing.rows_per_shard,
    )
    deliveries[dataset.name] = Delivery(dataset=dataset, sha256=sha256)
    shards = f"{dataset.shards} shard{'s' if dataset.shards > 1 else ''} of {dataset.name}"
    return f"{file.name} {'has new content' if earlier_name else 'was taken in'}: {shards}"


def _dataset_name(file: Path, sha256: str, taken: set[str]) -> str:
    """A name for partitions: the file's own where it can be, with the beginning of its hash where that is taken."""
    stem = re.sub(r"[^A-Za-z0-9_+@-]+", "-", file.name.split(".")[0]).strip("-_+@") or "delivery"
    clashes = any(name == stem or name.startswith(f"{stem}-") for name in taken)
    return f"{stem}-{sha256[:8]}" if clashes else stem


def count_rows(file: Path) -> int:
    """About how many rows a metadata file has: a Parquet file's own count, a text's lines, 1 for what is compressed.

    It only decides how many shards a delivery is divided into, and every row is in one of them whatever it says.
    """
    with file.open("rb") as opened:
        head = opened.read(_BLOCK_BYTES)
        if not head.startswith(b"PAR1"):
            blocks = iter(lambda: opened.read(_BLOCK_BYTES), b"")
            return 1 if b"\x00" in head else max(1, head.count(b"\n") + sum(block.count(b"\n") for block in blocks))
    import pyarrow.parquet as pq

    try:
        return int(pq.read_metadata(file).num_rows)
    except (ValueError, OSError) as error:  # ArrowInvalid is a ValueError
        raise InputError(f"it begins as Parquet and is not whole ({error})") from error

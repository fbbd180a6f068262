"""The landing folder: a metadata file laid there, complete and stable, becomes a dataset to learn from.

Files stay where they were laid; the ledger (`landed.json` in the data folder) says what each became, and `open_project`
adds the datasets of the ledger to the profile's own. The content decides: the same bytes under two names are one
delivery, a file that was written anew is the same delivery with new content, and what has no known layout is refused
with a sentence until it changes.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from geoloc_core.errors import GeolocError, InputError
from geoloc_core.line.layout import Layout
from geoloc_core.line.profile import Profile
from geoloc_core.photos.settings import Dataset
from geoloc_core.storage import TEMPORARY_PREFIX, file_sha256, one_at_a_time, read_json, write_json

# A file that nobody touched for this long is complete. Its time of last change counts, which no copying tool sets back.
SETTLED_AFTER_S = 20.0
# Names under which tools write what is not complete yet.
UNFINISHED = (".part", ".partial", ".tmp", ".crdownload", ".filepart")
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Delivery:
    """A dataset that came by the landing folder, and the content that it was taken in with."""

    dataset: Dataset
    sha256: str


@dataclass(frozen=True)
class Seen:
    """What was said of a file of a given size and time of change, so that it need not be read at each look."""

    bytes: int
    changed_ns: int
    sha256: str
    verdict: str


@dataclass(frozen=True)
class Ledger:
    """All deliveries in the order of their coming, and all files seen."""

    deliveries: tuple[Delivery, ...] = ()
    seen: tuple[tuple[str, Seen], ...] = ()

    def datasets(self) -> tuple[Dataset, ...]:
        """What the profile's training is extended by."""
        return tuple(delivery.dataset for delivery in self.deliveries)


@dataclass(frozen=True)
class Intake:
    """What one look at the landing folder found: a sentence for each file, by its name, and whether anything changed."""

    taken_in: dict[str, str]
    waiting: dict[str, str]
    refused: dict[str, str]

    @property
    def changed(self) -> bool:
        """Whether a delivery came, or one has new content."""
        return bool(self.taken_in)

    @property
    def sentence(self) -> str:
        """All of it in one line; empty when the folder holds nothing new."""
        told = [*self.taken_in.values(), *self.waiting.values(), *self.refused.values()]
        return "; ".join(told)


def read_ledger(layout: Layout) -> Ledger:
    """The ledger; an empty one where nothing ever landed. One that cannot be read is an error, as deliveries hang on it."""
    if not layout.landed.is_file():
        return Ledger()
    try:
        value = read_json(layout.landed)
        deliveries = tuple(
            Delivery(Dataset.model_validate(entry["dataset"]), entry["sha256"]) for entry in value["deliveries"]
        )
        return Ledger(deliveries, tuple((name, Seen(**entry)) for name, entry in value["seen"].items()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"the ledger of deliveries, {layout.landed}, cannot be read ({error}); restore it, or move it away and the"
            " files in the landing folder are taken in anew"
        ) from error


def write_ledger(layout: Layout, ledger: Ledger) -> None:
    """Keep the ledger."""
    value: dict[str, Any] = {
        "deliveries": [{"dataset": item.dataset.model_dump(), "sha256": item.sha256} for item in ledger.deliveries],
        "seen": {name: asdict(seen) for name, seen in ledger.seen},
    }
    write_json(layout.landed, value)


def take_in(profile: Profile, layout: Layout, now: float | None = None) -> Intake:
    """Look at the landing folder once and take in what is complete; safe to do as often as one likes.

    `profile` may have the ledger's datasets in it or not; names that it uses already are not given again. `now` is in
    seconds since the epoch.
    """
    if not layout.landing.is_dir():
        return Intake({}, {}, {})
    # A sensor and a person may look at the same time; the ledger is read and written by one of them.
    with one_at_a_time(layout.landed.with_suffix(".lock")):
        return _look(profile, layout, time.time() if now is None else now)


def _look(profile: Profile, layout: Layout, now: float) -> Intake:
    intake = Intake({}, {}, {})
    ledger = before = read_ledger(layout)
    for file in files_in(layout.landing):
        status = file.stat()
        changed_ns = max(status.st_mtime_ns, status.st_ctime_ns)
        known = dict(ledger.seen).get(file.name)
        if known is not None and (known.bytes, known.changed_ns) == (status.st_size, changed_ns):
            if known.verdict.startswith("refused"):
                intake.refused[file.name] = known.verdict
            continue
        if now - changed_ns / 1e9 < SETTLED_AFTER_S:
            intake.waiting[file.name] = f"{file.name} was changed a moment ago and is given time to be complete"
            continue
        sha256 = file_sha256(file)
        ledger, verdict = _judge(profile, layout, ledger, file, sha256)
        kept = {**dict(ledger.seen), file.name: Seen(status.st_size, changed_ns, sha256, verdict)}
        ledger = replace(ledger, seen=tuple(sorted(kept.items())))
        (intake.refused if verdict.startswith("refused") else intake.taken_in)[file.name] = verdict
    present = {file.name for file in files_in(layout.landing)}
    ledger = replace(ledger, seen=tuple(entry for entry in ledger.seen if entry[0] in present))
    if ledger != before:
        write_ledger(layout, ledger)
    return intake


def files_in(landing: Path) -> Iterator[Path]:
    """The files that may be deliveries, sorted by name; folders hold their pictures."""
    if not landing.is_dir():
        return
    for file in sorted(landing.iterdir()):
        hidden = file.name.startswith((".", TEMPORARY_PREFIX))
        if file.is_file() and not hidden and not file.name.lower().endswith(UNFINISHED):
            yield file


def _judge(profile: Profile, layout: Layout, ledger: Ledger, file: Path, sha256: str) -> tuple[Ledger, str]:
    """The ledger after a complete file was met, and what is said of it."""
    from geoloc_core.photos.archives import archives_in
    from geoloc_core.photos.sources.registry import detect_source

    for delivery in ledger.deliveries:
        before = Path(delivery.dataset.metadata)
        if delivery.sha256 == sha256 and before != file:
            if before.is_file():
                return ledger, f"{file.name} holds the same as {before.name}: one delivery, {delivery.dataset.name}"
            moved = Delivery(delivery.dataset.model_copy(update={"metadata": str(file)}), sha256)
            return _with(ledger, delivery, moved), f"{before.name} is called {file.name} now: {moved.dataset.name}"
    try:
        found = detect_source(file).name if profile.landing.source == "auto" else profile.landing.source
        rows = count_rows(file)
    except (GeolocError, OSError) as error:
        return ledger, f"refused {file.name}: {error}"
    same_place = [item for item in ledger.deliveries if Path(item.dataset.metadata) == file]
    taken = {*profile.shards(), *(name for item in ledger.deliveries for name in item.dataset.shard_names())}
    own_pictures = profile.landing.fetch or bool(archives_in(file))
    dataset = Dataset(
        name=same_place[0].dataset.name if same_place else dataset_name(file, sha256, taken),
        metadata=str(file),
        images=profile.landing.images or ("" if own_pictures else str(layout.landing)),
        source=found,
        layout=profile.landing.layout,
        fetch=profile.landing.fetch,
        # The last shard takes all that is left, so each has rows of its own.
        shards=max(1, rows // profile.landing.rows_per_shard),
        rows_per_shard=profile.landing.rows_per_shard,
    )
    delivery = Delivery(dataset, sha256)
    of = f"{dataset.shards} shard{'s' if dataset.shards > 1 else ''} of {dataset.name}"
    if same_place:
        return _with(ledger, same_place[0], delivery), f"{file.name} has new content: {of}"
    return replace(ledger, deliveries=(*ledger.deliveries, delivery)), f"{file.name} was taken in: {of}"


def _with(ledger: Ledger, old: Delivery, new: Delivery) -> Ledger:
    return replace(ledger, deliveries=tuple(new if item is old else item for item in ledger.deliveries))


def dataset_name(file: Path, sha256: str, taken: set[str]) -> str:
    """A name for partitions: the file's own where it can be, with the beginning of its hash where that is taken."""
    stem = re.sub(r"[^A-Za-z0-9_+@-]+", "-", file.name.split(".")[0]).strip("-_+@") or "delivery"
    clashes = any(name == stem or name.startswith(f"{stem}-") for name in taken)
    return f"{stem}-{sha256[:8]}" if clashes else stem


def count_rows(file: Path) -> int:
    """About how many rows a metadata file has: a Parquet file's own count, a text's lines, 1 for what is compressed.

    It only decides how many shards a delivery is divided into, and every row is in one of them whatever it says.
    """
    with file.open("rb") as opened:
        if opened.read(4) == b"PAR1":
            import pyarrow as pa
            import pyarrow.parquet as pq

            try:
                return int(pq.read_metadata(file).num_rows)
            except (pa.ArrowInvalid, OSError) as error:
                raise InputError(f"it begins as Parquet and is not whole ({error})") from error
        opened.seek(0)
        lines, first = 0, True
        while block := opened.read(_BLOCK_BYTES):
            if first and b"\x00" in block:
                return 1
            first = False
            lines += block.count(b"\n")
    return max(1, lines)

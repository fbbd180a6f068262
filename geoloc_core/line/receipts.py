"""What each target was made from, written beside the data when it was made.

A receipt is the truth about the artifact that lies on the disk: the version of its content, of its code, of every input, and of
every file that belongs to it the size, the time of its last change and the hash. It is written last, so a target that was
killed half-way has none, or an old one that no longer fits. Dagster's event log shows people the same; receipts are what
the plan compares, because they stay with the data when an instance is lost, and a file's loss or damage shows against
them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Self

from pydantic import BaseModel, ConfigDict, model_validator

from geoloc_core.line.artifacts import Target
from geoloc_core.line.layout import Layout
from geoloc_core.photos.file_names import is_safe_path
from geoloc_core.storage import file_sha256, read_checked, remembered_sha256, size_and_time, write_json

# Never the time of a file's last change: such a stamp has the content read.
_DISTRUSTED = -1
# Where an artifact's files lie if not below its own name.
_ELSEWHERE = {"champion": ("model", "champion")}


class Stamp(NamedTuple):
    """A file as it was written. While size and time of change are the same, the content is trusted unread."""

    size: int
    modified_ns: int
    sha256: str

    @staticmethod
    def of(file: Path) -> Stamp:
        """The stamp of a file as it is now; its content is read."""
        return Stamp(*size_and_time(file), file_sha256(file))

    def damage(self, file: Path, verify: bool = False) -> str:
        """What is wrong with the file, without its name; an empty text where nothing is. `verify` reads it in any case."""
        if not file.is_file():
            return "is gone"
        size, modified_ns = size_and_time(file)
        if size != self.size:
            return f"has {size} bytes instead of {self.size}"
        if verify:
            same = file_sha256(file) == self.sha256
        else:
            same = modified_ns == self.modified_ns or remembered_sha256(file) == self.sha256
        return "" if same else "is damaged: its bytes are not those that were written"


class Receipt(BaseModel):
    """One materialization of a target.

    `made_from` maps the names of the inputs to their versions; `files` maps paths, all relative to the data folder, to stamps;
    `watched` are files that the target stands for and does not own (a backbone's weights, wherever they lie): their
    change makes it stale, and they are never removed with it. `rows` maps tables of the warehouse to the number of rows that
    this target has there; `refused` maps the blocking checks that the content did not pass to what was wrong: nothing
    downstream may be made from it.
    """

    model_config = ConfigDict(frozen=True)

    asset: str
    partition: str
    code_version: str
    data_version: str
    made_from: Mapping[str, str]
    files: Mapping[str, Stamp] = {}
    rows: Mapping[str, int] = {}
    run_id: str = ""
    refused: Mapping[str, str] = {}
    watched: Mapping[str, Stamp] = {}

    @model_validator(mode="after")
    def _owns_its_files(self) -> Self:
        own = _ELSEWHERE.get(self.asset, (self.asset,))
        for name in self.files:
            parts = PurePosixPath(name).parts
            if not parts or not is_safe_path(name) or parts[0].split(".")[0] not in own:
                raise ValueError(f"the file {name!r} is not one of {self.asset}")
        return self

    @property
    def target(self) -> Target:
        """What was made."""
        return Target(self.asset, self.partition)

    @property
    def refusal(self) -> str:
        """What the blocking checks found wrong, in a sentence; an empty text where all passed."""
        return "; ".join(f"its check {name} refused it: {fault}" for name, fault in self.refused.items())

    def damage(self, home: Path, verify: bool = False) -> str:
        """What is wrong with the files of this target, or an empty text; `verify` hashes every file."""
        for name, stamp in {**self.files, **self.watched}.items():
            if fault := stamp.damage(home / name, verify):
                return f"{name} {fault}"
        return ""

    def touched(self, home: Path) -> bool:
        """Whether a file was written anew, as by copying the folder, since it was stamped."""
        stamps = {**self.files, **self.watched}
        return any((home / name).stat().st_mtime_ns != stamp.modified_ns for name, stamp in stamps.items())

    def restamped(self, home: Path | None) -> Receipt:
        """The same with the present times of change, for files whose content is known to be right.

        Without `home`, with times that no file has, so that every plan reads the content from now on.
        """

        def anew(stamps: Mapping[str, Stamp]) -> dict[str, Stamp]:
            times = {name: (home / name).stat().st_mtime_ns if home else _DISTRUSTED for name in stamps}
            return {name: stamp._replace(modified_ns=times[name]) for name, stamp in stamps.items()}

        return self.model_copy(update={"files": anew(self.files), "watched": anew(self.watched)})


def write_receipt(layout: Layout, receipt: Receipt) -> None:
    """Put the receipt beside the data, atomically."""
    write_json(layout.receipt(receipt.asset, receipt.partition), receipt.model_dump())


def read_receipt(layout: Layout, target: Target) -> Receipt | None:
    """The receipt of a target; None where there is none or it cannot be read, which comes to the same."""
    try:
        return _read(layout, layout.receipt(target.asset, target.partition))
    except (OSError, ValueError):
        return None


def all_receipts(layout: Layout, strays: dict[Path, str] | None = None) -> Iterator[Receipt]:
    """Every receipt in the data folder, those of targets that the profile no longer names included.

    `strays` is told of every file among them that is no receipt, or that of another target, and why.
    """
    for path in sorted((layout.home / "receipts").rglob("*.json")):
        try:
            yield _read(layout, path)
        except (OSError, ValueError) as error:
            if strays is not None:
                strays[path] = str(error)


def remove_receipt(layout: Layout, target: Target) -> None:
    """Forget that a target was made."""
    layout.receipt(target.asset, target.partition).unlink(missing_ok=True)


def record_verdict(layout: Layout, target: Target, check: str, fault: str) -> None:
    """Note in a target's receipt that a blocking check failed (`fault` says how) or passed (an empty text)."""
    receipt = read_receipt(layout, target)
    if receipt is None or receipt.refused.get(check, "") == fault:
        return
    refused = {name: text for name, text in receipt.refused.items() if name != check} | (
        {check: fault} if fault else {}
    )
    write_receipt(layout, receipt.model_copy(update={"refused": refused}))


def _read(layout: Layout, path: Path) -> Receipt:
    """The receipt that is kept at `path`; a ValueError where it has another shape, or belongs elsewhere."""
    receipt = read_checked(path, Receipt)
    if layout.receipt(receipt.asset, receipt.partition) != path:
        raise ValueError(f"it is the receipt of {receipt.target}")
    return receipt

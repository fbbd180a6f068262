"""What each target was made from, written beside the data when it was made.

A receipt is the truth about the artifact that lies on the disk: the version of its content, of its code, of every input, and of
every file that belongs to it the size, the time of its last change and the hash. It is written last, so a target that was
killed half-way has none, or an old one that no longer fits. Dagster's event log shows people the same; receipts are what
the plan compares, because they stay with the data when an instance is lost, and a file's loss or damage shows against
them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from geoloc_core.line.artifacts import Target
from geoloc_core.line.layout import Layout
from geoloc_core.storage import file_sha256, remembered_sha256, size_and_time, write_json

# Never the time of a file's last change: such a stamp has the content read.
_DISTRUSTED = -1


@dataclass(frozen=True)
class Stamp:
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


@dataclass(frozen=True)
class Receipt:
    """One materialization of a target.

    `made_from` maps the names of the inputs to their versions; `files` maps paths to stamps, paths below the data folder
    being relative to it; `watched` are files that the target stands for and does not own (a backbone's weights): their
    change makes it stale, and they are never removed with it. `rows` maps tables of the warehouse to the number of rows that
    this target has there; `refused` maps the blocking checks that the content did not pass to what was wrong: nothing
    downstream may be made from it.
    """

    target: Target
    code_version: str
    data_version: str
    made_from: Mapping[str, str]
    files: Mapping[str, Stamp] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)
    run_id: str = ""
    refused: Mapping[str, str] = field(default_factory=dict)
    watched: Mapping[str, Stamp] = field(default_factory=dict)

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
            return {
                name: replace(stamp, modified_ns=(home / name).stat().st_mtime_ns if home else _DISTRUSTED)
                for name, stamp in stamps.items()
            }

        return replace(self, files=anew(self.files), watched=anew(self.watched))


def write_receipt(layout: Layout, receipt: Receipt) -> None:
    """Put the receipt beside the data, atomically."""
    values = {name: value for name, value in vars(receipt).items() if name != "target"}
    for name in ("files", "watched"):
        values[name] = {path: [stamp.size, stamp.modified_ns, stamp.sha256] for path, stamp in values[name].items()}
    values |= {"asset": receipt.target.asset, "partition": receipt.target.partition}
    write_json(layout.receipt(receipt.target.asset, receipt.target.partition), values)


def read_receipt(layout: Layout, target: Target) -> Receipt | None:
    """The receipt of a target; None where there is none or it cannot be read, which comes to the same."""
    return _read(layout.receipt(target.asset, target.partition))


def all_receipts(layout: Layout) -> Iterator[Receipt]:
    """Every receipt in the data folder, those of targets that the profile no longer names included."""
    for path in sorted((layout.home / "receipts").rglob("*.json")):
        receipt = _read(path)
        if receipt is not None:
            yield receipt


def remove_receipt(layout: Layout, target: Target) -> None:
    """Forget that a target was made."""
    layout.receipt(target.asset, target.partition).unlink(missing_ok=True)


def record_verdict(layout: Layout, target: Target, check: str, fault: str) -> None:
    """Note in a target's receipt that a blocking check failed (`fault` says how) or passed (an empty text)."""
    receipt = read_receipt(layout, target)
    if receipt is None or receipt.refused.get(check, "") == fault:
        return
    refused = {name: text for name, text in receipt.refused.items() if name != check}
    write_receipt(layout, replace(receipt, refused={**refused, check: fault} if fault else refused))


def _read(path: Path) -> Receipt | None:
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for name in ("files", "watched"):
            values[name] = {file: Stamp(*entry) for file, entry in values[name].items()}
        return Receipt(Target(values.pop("asset"), values.pop("partition")), **values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None

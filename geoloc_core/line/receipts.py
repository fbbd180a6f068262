"""What each target was made from, written beside the data when it was made.

A receipt is the truth about the artifact that lies on the disk: its content's version, the code's version, the version of
every input, and of every file that belongs to it the size, the time of its last change and the hash. It is written last,
so a target that was killed half-way has none, or an old one that no longer fits. Dagster's event log says the same to
people; receipts are what the plan compares, because they stay with the data when an instance is lost, and a file's loss
or damage shows against them.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from geoloc_core.line.layout import Layout
from geoloc_core.line.lineage import Target
from geoloc_core.storage import file_sha256, write_json

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
        status = file.stat()
        return Stamp(status.st_size, status.st_mtime_ns, file_sha256(file))

    def damage(self, file: Path, verify: bool = False) -> str:
        """What is wrong with the file, without its name; an empty text where nothing is. `verify` reads it in any case."""
        if not file.is_file():
            return "is gone"
        status = file.stat()
        if status.st_size != self.size:
            return f"has {status.st_size} bytes instead of {self.size}"
        if verify:
            same = file_sha256(file) == self.sha256
        else:
            same = status.st_mtime_ns == self.modified_ns or _content(file, status.st_mtime_ns) == self.sha256
        return "" if same else "is damaged: its bytes are not those that were written"


@dataclass(frozen=True)
class Receipt:
    """One making of a target.

    `made_from` maps the names of the inputs to their versions; `files` maps paths to stamps, paths below the data folder
    being relative to it; `watched` are files that the target stands for and does not own (a backbone's weights): their
    change makes it out of date, and they are never removed with it. `rows` maps tables of the warehouse to the number of
    rows that this target keeps there; `refused` maps the blocking checks that the content did not pass to what was wrong:
    nothing downstream may be made from it.
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

    def damage(self, home: Path, verify: bool = False) -> str:
        """What is wrong with the files of this target, or an empty text; `verify` hashes every file."""
        for name, stamp in self._stamps().items():
            wrong = stamp.damage(home / name, verify)
            if wrong:
                return f"{name} {wrong}"
        return ""

    def touched(self, home: Path) -> bool:
        """Whether a file was written anew, as by copying the folder, since it was stamped."""
        return any((home / name).stat().st_mtime_ns != stamp.modified_ns for name, stamp in self._stamps().items())

    def stamped_anew(self, home: Path) -> Receipt:
        """The same with the present times of change, for files whose content is known to be right."""

        def anew(stamps: Mapping[str, Stamp]) -> dict[str, Stamp]:
            return {
                name: replace(stamp, modified_ns=(home / name).stat().st_mtime_ns) for name, stamp in stamps.items()
            }

        return replace(self, files=anew(self.files), watched=anew(self.watched))

    def distrusted(self) -> Receipt:
        """The same with times that no file has, so that every plan reads the content from now on."""
        anew = {name: replace(stamp, modified_ns=_DISTRUSTED) for name, stamp in self.files.items()}
        watched = {name: replace(stamp, modified_ns=_DISTRUSTED) for name, stamp in self.watched.items()}
        return replace(self, files=anew, watched=watched)

    def _stamps(self) -> dict[str, Stamp]:
        return {**self.files, **self.watched}


def write_receipt(layout: Layout, receipt: Receipt) -> None:
    """Put the receipt beside the data, atomically."""
    value = {
        "asset": receipt.target.asset,
        "partition": receipt.target.partition,
        "code_version": receipt.code_version,
        "data_version": receipt.data_version,
        "made_from": dict(receipt.made_from),
        "files": _plain(receipt.files),
        "watched": _plain(receipt.watched),
        "rows": dict(receipt.rows),
        "run_id": receipt.run_id,
        "refused": dict(receipt.refused),
    }
    write_json(layout.receipt(receipt.target.asset, receipt.target.partition), value)


def _plain(stamps: Mapping[str, Stamp]) -> dict[str, list[int | str]]:
    return {name: [stamp.size, stamp.modified_ns, stamp.sha256] for name, stamp in stamps.items()}


def read_receipt(layout: Layout, target: Target) -> Receipt | None:
    """The receipt of a target; None where there is none or it cannot be read, which comes to the same."""
    return _read(layout.receipt(target.asset, target.partition))


def all_receipts(layout: Layout) -> Iterator[Receipt]:
    """Every receipt in the data folder, those of targets that the profile no longer names included."""
    for path in sorted((layout.home / "receipts").rglob("*.json")):
        receipt = _read(path)
        if receipt is not None:
            yield receipt


def refusal(receipt: Receipt) -> str:
    """What the blocking checks found wrong, in a sentence; an empty text where all passed."""
    return "; ".join(f"its check {name} refused it: {wrong}" for name, wrong in receipt.refused.items())


def remove_receipt(layout: Layout, target: Target) -> None:
    """Forget that a target was made."""
    layout.receipt(target.asset, target.partition).unlink(missing_ok=True)


def record_verdict(layout: Layout, target: Target, check: str, wrong: str) -> None:
    """Note in a target's receipt that a blocking check failed (`wrong` says how) or passed (an empty text)."""
    receipt = read_receipt(layout, target)
    if receipt is None or receipt.refused.get(check, "") == wrong:
        return
    refused = {name: text for name, text in receipt.refused.items() if name != check}
    write_receipt(layout, replace(receipt, refused={**refused, check: wrong} if wrong else refused))


@functools.lru_cache(maxsize=4096)
def _content(file: Path, modified_ns: int) -> str:
    # The time is a key of the cache: a file that was written anew is read anew.
    return file_sha256(file)


def _read(path: Path) -> Receipt | None:
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Receipt(
            Target(value["asset"], value["partition"]),
            value["code_version"],
            value["data_version"],
            value["made_from"],
            {name: Stamp(*entry) for name, entry in value["files"].items()},
            value["rows"],
            value["run_id"],
            value["refused"],
            {name: Stamp(*entry) for name, entry in value["watched"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None

"""What each target was made from, written beside the data when it was made.

A receipt is the truth about the artifact that lies on the disk: its content's version, the code's version, the version of
every input, and the size of every file that belongs to it. It is written last, so a target that was killed half-way has
none, or an old one that no longer fits. Dagster's event log says the same to people; receipts are what the plan
compares, because they stay with the data when an instance is lost, and a file's loss shows against them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from geoloc_core.layout import Layout
from geoloc_core.storage import write_json
from geoloc_dagster.lineage import Target


@dataclass(frozen=True)
class Receipt:
    """One making of a target.

    `made_from` maps the names of the inputs to their versions; `files` maps paths below the data folder to sizes in
    bytes; `rows` maps tables of the warehouse to the number of rows that this target keeps there; `refused` maps the
    blocking checks that the content did not pass to what was wrong: nothing downstream may be made from it.
    """

    target: Target
    code_version: str
    data_version: str
    made_from: Mapping[str, str]
    files: Mapping[str, int] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)
    run_id: str = ""
    refused: Mapping[str, str] = field(default_factory=dict)

    def damage(self, home: Path) -> str:
        """What is wrong with the files of this target, or an empty text."""
        for name, size in self.files.items():
            file = home / name
            if not file.exists():
                return f"{name} is gone"
            if file.stat().st_size != size:
                return f"{name} has {file.stat().st_size} bytes instead of {size}"
        return ""


def write_receipt(layout: Layout, receipt: Receipt) -> None:
    """Put the receipt beside the data, atomically."""
    value = {
        "asset": receipt.target.asset,
        "partition": receipt.target.partition,
        "code_version": receipt.code_version,
        "data_version": receipt.data_version,
        "made_from": dict(receipt.made_from),
        "files": dict(receipt.files),
        "rows": dict(receipt.rows),
        "run_id": receipt.run_id,
        "refused": dict(receipt.refused),
    }
    write_json(layout.receipt(receipt.target.asset, receipt.target.partition), value)


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


def record_verdict(layout: Layout, target: Target, check: str, wrong: str) -> None:
    """Note in a target's receipt that a blocking check failed (`wrong` says how) or passed (an empty text)."""
    receipt = read_receipt(layout, target)
    if receipt is None or receipt.refused.get(check, "") == wrong:
        return
    refused = {name: text for name, text in receipt.refused.items() if name != check}
    write_receipt(layout, replace(receipt, refused={**refused, check: wrong} if wrong else refused))


def _read(path: Path) -> Receipt | None:
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Receipt(
            Target(value["asset"], value["partition"]),
            value["code_version"],
            value["data_version"],
            value["made_from"],
            value["files"],
            value["rows"],
            value["run_id"],
            value["refused"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None

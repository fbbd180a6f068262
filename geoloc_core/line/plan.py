"""What is out of date, and why.

A target is out of date when it is missing or damaged, or when its code's version or the version of anything that it is
made from differs from what its receipt says. Versions are hashes of content, so remaking the same bytes wakes nobody:
what lies downstream of an outdated target *may follow*, and only the remaking shows whether it must.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from geoloc_core.errors import DamagedWarehouseError
from geoloc_core.line.lineage import ASSETS, CODE_VERSIONS, Input, Lineage, Outside, Target
from geoloc_core.line.receipts import Receipt, all_receipts

MISSING = "not made yet"
REFUSED = "refused by its check"


@dataclass(frozen=True)
class Reason:
    """One cause: what differs, from what, to what."""

    what: str
    before: str = ""
    now: str = ""

    def __str__(self) -> str:
        if not self.before and not self.now:
            return self.what
        return f"{self.what}: {self.before[:12] or 'nothing'} -> {self.now[:12] or 'nothing'}"


@dataclass(frozen=True)
class Step:
    """A target to be made, and why."""

    target: Target
    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class Plan:
    """Everything to do, upstream before downstream.

    `steps` are out of date as things stand; `following` lie downstream of them and are remade only if what they are made
    from then differs; `unregistered` are current on disk and unknown to this Dagster instance; `orphans` are targets
    that the profile no longer names.
    """

    steps: tuple[Step, ...] = ()
    following: tuple[Target, ...] = ()
    unregistered: tuple[Target, ...] = ()
    orphans: tuple[Target, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.steps or self.unregistered or self.orphans)

    def as_json(self) -> dict[str, Any]:
        """Plain values, for `geoloc plan --json`."""
        return {
            "out_of_date": [
                {
                    "asset": step.target.asset,
                    "partition": step.target.partition,
                    "reasons": [{"what": r.what, "before": r.before, "now": r.now} for r in step.reasons],
                }
                for step in self.steps
            ],
            "may_follow": [{"asset": t.asset, "partition": t.partition} for t in self.following],
            "unregistered": [{"asset": t.asset, "partition": t.partition} for t in self.unregistered],
            "orphans": [{"asset": t.asset, "partition": t.partition} for t in self.orphans],
        }


class State:
    """The receipts and the warehouse's row counts, read once, and kept up to date while a refresh goes on.

    `verify` reads every byte of every file and every row of the warehouse; without it a file whose size and time of change
    are those of its receipt is trusted.
    """

    def __init__(self, lineage: Lineage, verify: bool = False) -> None:
        self.lineage = lineage
        self.layout = lineage.project.layout
        self.verify = verify
        self.receipts: dict[Target, Receipt] = {receipt.target: receipt for receipt in all_receipts(self.layout)}
        self._rows: dict[str, dict[str, int]] = {}
        self._broken_tables: dict[str, str] = {}
        self._verified: dict[Target, str] = {}
        self._outside: dict[str, str] = {}

    def version(self, item: Input) -> str:
        """The version that an input has now; empty where it is missing or damaged."""
        if isinstance(item, Outside):
            # Outside things are read once for each state: the same file stands behind many targets.
            if item.name not in self._outside:
                self._outside[item.name] = item.version()
            return self._outside[item.name]
        receipt = self.receipts.get(item)
        # What did not pass its check is as good as not there, in this run and in every later one.
        return receipt.data_version if receipt and not receipt.refused else ""

    def reasons(self, target: Target) -> tuple[Reason, ...]:
        """Why `target` is out of date; empty when it is not."""
        receipt = self.receipts.get(target)
        if receipt is None:
            return (Reason(MISSING),)
        found = []
        damage = self.damage(target)
        if damage:
            found.append(Reason(damage))
        found += [Reason(f"{REFUSED} {name}: {wrong}") for name, wrong in receipt.refused.items()]
        code = CODE_VERSIONS[target.asset]
        if receipt.code_version != code:
            found.append(Reason("code version", receipt.code_version, code))
        now = {str(item): self.version(item) for item in self.lineage.inputs(target)}
        for name in sorted(set(now) | set(receipt.made_from)):
            before, after = receipt.made_from.get(name, ""), now.get(name, "")
            if before != after:
                found.append(Reason(name, before, after))
        return tuple(found)

    def damage(self, target: Target) -> str:
        """What is wrong with the files or the rows of a target that has a receipt; an empty text where nothing is."""
        receipt = self.receipts[target]
        if not self.verify:
            return receipt.damage(self.layout.home) or self._lost_rows(receipt)
        if target not in self._verified:
            self._verified[target] = receipt.damage(self.layout.home, verify=True)
        return self._verified[target] or self._lost_rows(receipt)

    def _lost_rows(self, receipt: Receipt) -> str:
        shard = receipt.target.partition
        for table, expected in receipt.rows.items():
            counts = self._counts(table)
            if table in self._broken_tables:
                return self._broken_tables[table]
            kept = counts.get(shard, 0) if shard else sum(counts.values())
            if kept != expected:
                return f"table {table} of the warehouse has {kept} rows instead of {expected}"
        return ""

    def _counts(self, table: str) -> dict[str, int]:
        """Rows of each shard in a table; none where there is no such table, or it cannot be read."""
        if table not in self._rows:
            try:
                self._rows[table] = self.lineage.project.warehouse().rows_by_shard(table, every_byte=self.verify)
            except DamagedWarehouseError as error:
                self._rows[table] = {}
                self._broken_tables[table] = str(error)
        return self._rows[table]

    def learn(self, target: Target, receipt: Receipt | None) -> None:
        """Take note of what became of a target in a refresh."""
        before = self.receipts.get(target)
        if (receipt and receipt.rows) or (before and before.rows):
            self._rows.clear()
            self._broken_tables.clear()
        # What was just written was hashed as it was written.
        self._verified[target] = ""
        if receipt is None:
            self.receipts.pop(target, None)
        else:
            self.receipts[target] = receipt


def make_plan(
    lineage: Lineage,
    registered: Mapping[Target, str] | None = None,
    only: Iterable[str] | None = None,
    state: State | None = None,
) -> Plan:
    """Compare every target with its receipt.

    `registered` gives the data version that the Dagster instance last saw of each target; leave it out to plan without an
    instance. `only` limits the plan to some assets. `state` is read anew where it is not given.
    """
    state = state or State(lineage)
    wanted = set(only) if only is not None else set(ASSETS)
    steps: list[Step] = []
    following: list[Target] = []
    unregistered: list[Target] = []
    moving: set[str] = set()
    known: set[Target] = set()
    for target in lineage.targets():
        known.add(target)
        if target.asset not in wanted:
            continue
        reasons = state.reasons(target)
        if reasons:
            steps.append(Step(target, reasons))
            moving.add(str(target))
            continue
        if any(str(item) in moving for item in lineage.inputs(target)):
            following.append(target)
            moving.add(str(target))
        if registered is not None and registered.get(target) != state.receipts[target].data_version:
            unregistered.append(target)
    orphans = tuple(sorted(target for target in state.receipts if target not in known))
    return Plan(tuple(steps), tuple(following), tuple(unregistered), orphans)

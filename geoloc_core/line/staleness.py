"""What is stale, and why: the one engine behind the plan, the refresh, the sensors and the checks.

A target is stale when it is missing or damaged, or when its code version or the version of anything that it is made from
differs from what its receipt says. Versions are hashes of content, so materializing the same bytes again makes nothing
downstream stale: what lies downstream of a stale target *may follow*, and only the materialization shows whether it must.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoloc_core.errors import DamagedWarehouseError
from geoloc_core.line.artifacts import LINE, Target, partitions, setting_versions, targets, upstream
from geoloc_core.line.project import Project
from geoloc_core.line.receipts import Receipt, all_receipts, remove_receipt, write_receipt

MISSING = "not made yet"
REFUSED = "refused by its check"
REASONS_SHOWN = 3


@dataclass(frozen=True)
class Reason:
    """One cause: what differs, from what, to what."""

    what: str
    before: str = ""
    now: str = ""

    def __str__(self) -> str:
        if not self.before and not self.now:
            return self.what
        return f"{self.what}: {_short(self.before)} -> {_short(self.now)}"


def _short(version: str) -> str:
    """A hash by its beginning; a setting as it reads."""
    return version[:12] if len(version) == 64 else version or "nothing"


@dataclass(frozen=True)
class Step:
    """A target to be made, and why."""

    target: Target
    reasons: tuple[Reason, ...]

    @property
    def why(self) -> str:
        """The first reasons in one line."""
        rest = [f"and {len(self.reasons) - REASONS_SHOWN} more"] if len(self.reasons) > REASONS_SHOWN else []
        return "; ".join([*map(str, self.reasons[:REASONS_SHOWN]), *rest])


@dataclass(frozen=True)
class Plan:
    """Everything to do, upstream before downstream.

    `steps` are stale as things are; `following` lie downstream of them and are made only if what they are made from then
    differs; `unregistered` are fresh on disk and unknown to this Dagster instance; `orphans` are targets that the profile no
    longer names, and stay until somebody removes them; `strays` name the files among the receipts that are none.
    """

    steps: tuple[Step, ...] = ()
    following: tuple[Target, ...] = ()
    unregistered: tuple[Target, ...] = ()
    orphans: tuple[Target, ...] = ()
    strays: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.steps or self.unregistered)

    def as_json(self) -> dict[str, Any]:
        """Plain values, for `geoloc plan --json`."""
        steps = [{**vars(step.target), "reasons": [vars(reason) for reason in step.reasons]} for step in self.steps]
        rest = {"may_follow": self.following, "unregistered": self.unregistered, "orphans": self.orphans}
        return {"stale": steps, **{name: [vars(target) for target in group] for name, group in rest.items()}}


class State:
    """The receipts, the settings and the warehouse's row counts, read once, and kept up to date while a refresh goes on.

    `verify` reads every byte of every file and every row of the warehouse; without it a file whose size and time of change
    are those of its receipt is trusted.
    """

    def __init__(self, project: Project, verify: bool = False) -> None:
        self.project = project
        self.verify = verify
        self.strays: dict[Path, str] = {}
        found = all_receipts(project.layout, self.strays)
        self.receipts: dict[Target, Receipt] = {receipt.target: receipt for receipt in found}
        self._rows: dict[str, dict[str, int]] = {}
        self._broken_tables: dict[str, str] = {}
        self._verified: dict[Target, str] = {}

    def version(self, target: Target) -> str:
        """The version of a target's content now; empty where it is missing, or did not pass its check."""
        receipt = self.receipts.get(target)
        return receipt.data_version if receipt and not receipt.refused else ""

    def input_versions(self, target: Target) -> dict[str, str]:
        """The version of everything that a target would be made from now, by name."""
        profile = self.project.profile
        from_targets = {str(item): self.version(item) for item in upstream(profile, target)}
        return from_targets | setting_versions(profile, target)

    def reasons(self, target: Target) -> tuple[Reason, ...]:
        """Why `target` is stale; empty when it is fresh."""
        receipt = self.receipts.get(target)
        if receipt is None:
            stray = self.strays.get(self.project.layout.receipt(target.asset, target.partition))
            return (Reason(f"its receipt cannot be read: {stray}" if stray else MISSING),)
        damage = self.damage(target)
        reasons = [Reason(damage)] if damage else []
        reasons += [Reason(f"{REFUSED} {name}: {fault}") for name, fault in receipt.refused.items()]
        code_version = LINE[target.asset].version
        if receipt.code_version != code_version:
            reasons.append(Reason("code version", receipt.code_version, code_version))
        before, now = receipt.made_from, self.input_versions(target)
        differing = [name for name in sorted({*before, *now}) if before.get(name, "") != now.get(name, "")]
        reasons += [
            Reason(name.removeprefix("profile: "), before.get(name, ""), now.get(name, "")) for name in differing
        ]
        return tuple(reasons)

    def damage(self, target: Target) -> str:
        """What is wrong with the files or the rows of a target that has a receipt; an empty text where nothing is."""
        receipt = self.receipts[target]
        if not self.verify:
            return receipt.damage(self.project.home) or self._lost_rows(receipt)
        if target not in self._verified:
            self._verified[target] = receipt.damage(self.project.home, verify=True)
        return self._verified[target] or self._lost_rows(receipt)

    def _lost_rows(self, receipt: Receipt) -> str:
        shard = receipt.target.partition
        for table, expected in receipt.rows.items():
            counts = self._counts(table)
            if table in self._broken_tables:
                return self._broken_tables[table]
            present = counts.get(shard, 0) if shard else sum(counts.values())
            if present != expected:
                return f"table {table} of the warehouse has {present} rows instead of {expected}"
        return ""

    def _counts(self, table: str) -> dict[str, int]:
        """Rows of each shard in a table; none where there is no such table, or it cannot be read."""
        if table not in self._rows:
            try:
                self._rows[table] = self.project.warehouse().rows_by_shard(table, every_byte=self.verify)
            except DamagedWarehouseError as error:
                self._rows[table] = {}
                self._broken_tables[table] = str(error)
        return self._rows[table]

    def record(self, target: Target, receipt: Receipt | None) -> None:
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

    def orphans(self) -> list[Target]:
        """Targets that lie there and that the profile no longer names."""
        return sorted(set(self.receipts) - set(targets(self.project.profile)))

    def weight(self, chosen: Iterable[Target]) -> str:
        """How many targets these are, and how much their files take, in words."""
        sizes = [sum(stamp.size for stamp in self.receipts[target].files.values()) for target in chosen]
        return f"{len(sizes)} orphan{'s' if len(sizes) != 1 else ''} ({sum(sizes) / 1e6:,.1f} MB)"

    def remove(self, target: Target) -> None:
        """Take a target's files, its rows and its receipt away."""
        home, receipt = self.project.home.resolve(), self.receipts[target]
        for table in receipt.rows:
            self.project.warehouse().remove_shard(table, target.partition)
        for file in (home / name for name in receipt.files):
            # Behind a link lies what is not ours.
            if file.parent.resolve().is_relative_to(home):
                file.unlink(missing_ok=True)
                _remove_empty(home, file.parent)
        remove_receipt(self.project.layout, target)
        self.record(target, None)


def _remove_empty(home: Path, folder: Path) -> None:
    """Remove a folder and those above it, below `home`, as far as nothing is left in them."""
    while folder != home and folder.is_relative_to(home) and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def make_plan(state: State, registered: Mapping[Target, str] | None = None) -> Plan:
    """Compare every target with its receipt.

    `registered` gives the data version that the Dagster instance last saw of each target; leave it out to plan without an
    instance.
    """
    profile, unsettled = state.project.profile, set[Target]()
    steps: list[Step] = []
    following: list[Target] = []
    unregistered: list[Target] = []
    for target in targets(profile):
        if reasons := state.reasons(target):
            steps.append(Step(target, reasons))
            unsettled.add(target)
            continue
        if not unsettled.isdisjoint(upstream(profile, target)):
            following.append(target)
            unsettled.add(target)
        if registered is not None and registered.get(target) != state.receipts[target].data_version:
            unregistered.append(target)
    strays = tuple(f"{path} is no receipt: {why}" for path, why in state.strays.items())
    return Plan(tuple(steps), tuple(following), tuple(unregistered), tuple(state.orphans()), strays)


def ready_steps(project: Project, plan: Plan, assets: Collection[str]) -> list[Step]:
    """The steps of these artifacts whose inputs are all settled: neither stale nor able to become so.

    All of one artifact may be made side by side, or in one run.
    """
    unsettled = {step.target for step in plan.steps} | set(plan.following)
    asked = (step for step in plan.steps if step.target.asset in assets)
    return [step for step in asked if unsettled.isdisjoint(upstream(project.profile, step.target))]


def mark_damage(state: State, candidates: Iterable[Target]) -> dict[Target, str]:
    """What is wrong with each target that is not as it was written; `state` should verify, that is read every byte.

    Receipts of what is damaged are marked, so that every later plan sees it, silent as the damage may be; a warehouse that
    is damaged is set aside.
    """
    damaged: dict[Target, str] = {}
    for target in candidates:
        if target in state.receipts and (fault := state.damage(target)):
            damaged[target] = fault
            write_receipt(state.project.layout, state.receipts[target].restamped(None))
    if any(state.receipts[target].rows for target in damaged):
        state.project.warehouse().set_aside_if_damaged(every_byte=True)
    return damaged


@dataclass(frozen=True)
class Standing:
    """What a plan says of one artifact."""

    asset: str
    partitions: int
    missing: tuple[Step, ...]
    stale: tuple[Step, ...]
    may_follow: int

    @property
    def current(self) -> bool:
        """Whether every partition is there and fresh."""
        return not self.missing and not self.stale

    @property
    def sentence(self) -> str:
        """The standing in one line."""
        if self.current:
            follow = f"; {self.may_follow} may follow what is stale upstream" if self.may_follow else ""
            return f"all {self.partitions} current{follow}" if self.partitions > 1 else f"current{follow}"
        parts = [f"{len(steps)} {word}" for steps, word in ((self.missing, "missing"), (self.stale, "stale")) if steps]
        example = (self.missing or self.stale)[0]
        return f"{' and '.join(parts)} of {self.partitions}, for example {example.target}: {example.reasons[0]}"


def standings(project: Project, plan: Plan, assets: Iterable[str] = tuple(LINE)) -> list[Standing]:
    """The standing of each artifact by a plan over all of them."""
    answers = []
    for asset in assets:
        steps = [step for step in plan.steps if step.target.asset == asset]
        missing = tuple(step for step in steps if step.reasons[0].what == MISSING)
        stale = tuple(step for step in steps if step.reasons[0].what != MISSING)
        may_follow = sum(target.asset == asset for target in plan.following)
        answers.append(Standing(asset, len(partitions(project.profile, asset)), missing, stale, may_follow))
    return answers

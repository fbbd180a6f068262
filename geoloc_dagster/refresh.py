"""Materialize what is stale, and nothing else.

`refresh` walks the artifacts once, upstream before downstream. When it comes to one, everything above it is settled, so its
own plan is exact: a target whose inputs came out with the same bytes as before is left alone. Each target is one Dagster
run, so that its content's version is its own (one run over many partitions would give them one version) and the UI shows
the same history as if a person had clicked.
"""

import functools
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import dagster as dg
from dagster._core.storage.tags import MAX_RETRIES_TAG
from filelock import FileLock, Timeout

from geoloc_core.errors import DiskFullError, GeolocError, InputError
from geoloc_core.line.artifacts import ASSETS, Target, partitions, targets, upstream
from geoloc_core.line.layout import Layout
from geoloc_core.line.project import SOURCE_ROOT, Project
from geoloc_core.line.receipts import Receipt, read_receipt, write_receipt
from geoloc_core.line.staleness import Plan, Reason, State, Step, make_plan, mark_damage
from geoloc_core.line.unusable import COUNTED, losses, told
from geoloc_core.storage import disk_full, nearly_full, no_room, room, write_bytes
from geoloc_dagster.aftermath import MAKER_TAG, put_right
from geoloc_dagster.build import ALSO_TAG, synchronise
from geoloc_dagster.checks.standing import OF_ALL_PARTITIONS, report_current
from geoloc_dagster.failures import failure_of
from geoloc_dagster.requests import LONGEST_REASON, REASON_TAG, TARGET_TAG, chosen_project
from geoloc_dagster.resources import configured

# Hears of an event, the target that it is about (None where it is about no one target), and a detail.
Listener = Callable[[str, Target | None, str], None]


@dataclass
class Outcome:
    """What a refresh did: targets made, registered anew, removed, failed (with the reason) and not tried (blocked).

    `faults` are those of the failed whose cause is not one that a user can mend.
    """

    made: list[Target] = field(default_factory=list)
    registered: list[Target] = field(default_factory=list)
    removed: list[Target] = field(default_factory=list)
    failed: dict[Target, str] = field(default_factory=dict)
    blocked: list[Target] = field(default_factory=list)
    faults: list[Target] = field(default_factory=list)

    @property
    def well(self) -> bool:
        """Whether everything that should be fresh now is."""
        return not self.failed and not self.blocked

    def __bool__(self) -> bool:
        """Whether anything was done or tried."""
        return any(vars(self).values())


class Jobs:
    """For each asset the part of Dagster's job over all assets that makes it and runs the checks of its content."""

    def __init__(self, definitions: dg.Definitions) -> None:
        self._all = definitions.resolve_implicit_global_asset_job_def()
        self._checks = [
            spec.key
            for check in definitions.asset_checks or ()
            for spec in check.check_specs
            if spec.name not in OF_ALL_PARTITIONS
        ]

    @functools.cache  # noqa: B019 (lives as long as one refresh)
    def of(self, asset: str) -> dg.JobDefinition:
        """The job that makes one asset."""
        key = dg.AssetKey(asset)
        checks = {check for check in self._checks if check.asset_key == key}
        return self._all.get_subset(asset_selection={key}, asset_check_selection=checks)


def open_instance(layout: Layout) -> dg.DagsterInstance:
    """The project's own Dagster instance; its settings are a copy of the project's `dagster.yaml`."""
    layout.dagster_home.mkdir(parents=True, exist_ok=True)
    settings = SOURCE_ROOT / "dagster.yaml"
    if settings.is_file():
        content, copy = settings.read_bytes(), layout.dagster_home / "dagster.yaml"
        if not copy.is_file() or copy.read_bytes() != content:
            write_bytes(copy, content)
    os.environ["DAGSTER_HOME"] = str(layout.dagster_home)
    return dg.DagsterInstance.get()


def registered_versions(instance: dg.DagsterInstance) -> dict[Target, str]:
    """The data version of the last materialization of every target that the instance knows."""
    versions: dict[Target, str] = {}
    name, event = "dagster/data_version", dg.DagsterEventType.ASSET_MATERIALIZATION
    for asset in ASSETS:
        key = dg.AssetKey(asset)
        by_partition = instance.event_log_storage.get_latest_tags_by_partition(key, event, [name])
        versions |= {Target(asset, partition): tags.get(name, "") for partition, tags in by_partition.items()}
        latest = None if by_partition else instance.get_latest_materialization_event(key)
        if latest and latest.asset_materialization:
            versions[Target(asset)] = (latest.asset_materialization.tags or {}).get(name, "")
    return versions


def project_plan(project: Project, instance: dg.DagsterInstance | None, verify: bool = False) -> Plan:
    """The plan as things are; without an instance, what it knows is left out. `verify` reads every byte of every file."""
    return make_plan(State(project, verify), registered_versions(instance) if instance else None)


@contextmanager
def refresh_lock(layout: Layout) -> Iterator[None]:
    """Held while a refresh is at work; a second one is refused instead of doing everything twice."""
    layout.home.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(layout.refresh_lock, timeout=0):
            yield
    except Timeout as error:
        raise GeolocError(
            f"another refresh is at work on {layout.home}; wait until it ends, or look at it in the Dagster UI"
        ) from error


def is_refreshing(layout: Layout) -> bool:
    """Whether a refresh is at work on this data folder."""
    try:
        with refresh_lock(layout):
            return False
    except GeolocError:
        return True


def refresh(
    project: Project,
    instance: dg.DagsterInstance,
    definitions: dg.Definitions,
    listener: Listener = lambda event, target, detail: None,
    verify: bool = False,
    prune: bool = False,
) -> Outcome:
    """Carry out the plan.

    `listener` hears ("mended" | "done" | "empty" | "failed" | "failed again" | "registered" | "pruning" | "removed", target,
    detail). `verify` reads every byte of every file, and of the warehouse, in place of trusting those that nobody seems to
    have written to. `prune` removes what the profile no longer names. An InputError where a benchmark has no place in any row.
    """
    with refresh_lock(project.layout), room(project.home):
        for sentence in put_right(project, instance, verify):
            listener("mended", None, sentence)
        synchronise(instance, project.profile)
        state = State(project, verify)
        walk = _Walk(state, instance, Jobs(definitions), listener)
        deliveries = (Target("deliveries", name) for name in project.profile.benchmark_names())
        if sentences := project.unplaced_benchmarks({item.partition for item in deliveries if state.reasons(item)}):
            raise InputError("; ".join(sentences))
        if prune and (orphans := state.orphans()):
            named = ", ".join(map(str, orphans))
            listener("pruning", None, f"{state.weight(orphans)} that the profile no longer names: {named}")
            for target in orphans:
                state.remove(target)
                walk.outcome.removed.append(target)
                listener("removed", target, "")
        walk.go(tuple(targets(project.profile)))
        if walk.outcome.failed:
            # What failed may have read a damaged file that looked untouched. Once it is known it is made anew, and then
            # what failed; a second failure is left to a person.
            thorough = State(project, verify=True)
            above = {item for target in walk.outcome.failed for item in upstream(project.profile, target)}
            # Rows of any target may lie in a block of the warehouse that is damaged.
            above |= {target for target, receipt in thorough.receipts.items() if receipt.rows}
            damaged = mark_damage(thorough, sorted(above))
            for target, fault in damaged.items():
                listener("mended", None, f"{target} is made anew: {fault}")
            if damaged:
                walk.outcome = replace(walk.outcome, failed={}, blocked=[], faults=[])
                walk.state = State(project)
                walk.go(tuple(targets(project.profile)))
        report_current(instance, project, make_plan(State(project)))
    return walk.outcome


def remake(
    project: Project,
    instance: dg.DagsterInstance,
    definitions: dg.Definitions,
    asset: str,
    keys: Sequence[str] = (),
    listener: Listener = lambda event, target, detail: None,
    only: bool = False,
) -> Outcome:
    """Make one asset, or some of its partitions, stale or not; before it, unless `only`, what is missing upstream."""
    if asset not in ASSETS:
        raise InputError(f"no asset is called {asset!r}; there are {', '.join(ASSETS)}")
    known = partitions(project.profile, asset)
    for key in keys:
        if key not in known:
            raise InputError(f"{asset} has no partition {key!r}; it has {', '.join(known)}")
    with refresh_lock(project.layout), room(project.home):
        for sentence in put_right(project, instance):
            listener("mended", None, sentence)
        synchronise(instance, project.profile)
        state = State(project)
        chosen = [Target(asset, key) for key in keys or known]
        walk = _Walk(state, instance, Jobs(definitions), listener, asked=frozenset(chosen))
        missing = set() if only else _missing_upstream(state, chosen)
        walk.go([target for target in targets(project.profile) if target in missing or target in walk.asked])
    return walk.outcome


def _missing_upstream(state: State, chosen: Sequence[Target]) -> set[Target]:
    """All that is not there and that a target is made from, directly or not."""
    missing: set[Target] = set()
    front = list(chosen)
    while front:
        above = {item for item in upstream(state.project.profile, front.pop()) if item not in state.receipts}
        front += above - missing
        missing |= above
    return missing


class _Walk:
    """One walk over targets, upstream before downstream, that makes those that are stale, or asked for."""

    def __init__(
        self,
        state: State,
        instance: dg.DagsterInstance,
        jobs: Jobs,
        listener: Listener,
        asked: frozenset[Target] = frozenset(),
    ) -> None:
        self.state, self.instance, self.jobs, self.listener, self.asked = state, instance, jobs, listener, asked
        self.outcome = Outcome()

    def go(self, order: Sequence[Target]) -> None:
        """Walk once."""
        project = self.state.project
        registered = registered_versions(self.instance)
        absent = project.missing_inputs()
        for target in order:
            if self._is_blocked(target):
                self.outcome.blocked.append(target)
            elif reasons := self._reasons(target):
                membership = project.profile.dataset_of(target.partition) if target.asset == "deliveries" else None
                sentence = absent.get(membership[0].name) if membership else None
                if sentence in self.outcome.failed.values():
                    # One run says that a file is missing; the other shards of its dataset need none.
                    self._fail(target, InputError.__name__, str(sentence))
                else:
                    self._make(Step(target, reasons), order)
                self.state.record(target, read_receipt(project.layout, target))
            else:
                self._register(target, registered)

    def _reasons(self, target: Target) -> tuple[Reason, ...]:
        return (Reason("asked for"),) if target in self.asked else self.state.reasons(target)

    def _is_blocked(self, target: Target) -> bool:
        above = upstream(self.state.project.profile, target)
        return any(item in self.outcome.failed or item in self.outcome.blocked for item in above)

    def _register(self, target: Target, registered: dict[Target, str]) -> None:
        """Tell the instance of a fresh target that it does not know."""
        layout, receipt = self.state.project.layout, self.state.receipts[target]
        if receipt.touched(layout.home):
            write_receipt(layout, receipt.restamped(layout.home))
        if registered.get(target) != receipt.data_version:
            register(self.instance, receipt)
            self.outcome.registered.append(target)
            self.listener("registered", target, "")

    def _also(self, target: Target, order: Sequence[Target]) -> str:
        """Other backbones that wait for the same shard: they share a decode."""
        if target.asset != "embeddings":
            return ""
        shard = target.partition.split("|")[1]
        others = [item for item in order if item.asset == "embeddings" and item.partition.endswith(f"|{shard}")]
        waiting = (item for item in others if item != target and not self._is_blocked(item) and self._reasons(item))
        return ",".join(item.partition for item in waiting)

    def _make(self, step: Step, order: Sequence[Target]) -> None:
        project, target, started = self.state.project, step.target, time.monotonic()
        also = self._also(target, order)
        with configured(project):
            result = self.jobs.of(target.asset).execute_in_process(
                run_config=run_config(project),
                partition_key=target.partition or None,
                instance=self.instance,
                tags={
                    TARGET_TAG: str(target),
                    REASON_TAG: step.why[:LONGEST_REASON],
                    MAKER_TAG: str(project.home),
                    # After a kill a person or the next refresh goes on, not a daemon.
                    MAX_RETRIES_TAG: "0",
                    **({ALSO_TAG: also} if also else {}),
                },
                raise_on_error=False,
            )
        if result.success:
            self.outcome.made.append(target)
            number, lost = losses(project.layout, target) if target.asset in COUNTED else (0, Counter[str]())
            words = told(COUNTED.get(target.asset, ""), number, lost)
            event = "empty" if number and lost.total() == number else "done"
            self.listener(event, target, "; ".join(filter(None, [f"{time.monotonic() - started:.1f} s", words])))
            return
        kind, message = failure_of(result.all_events)
        receipt = read_receipt(project.layout, target)
        if receipt is not None and receipt.run_id == result.run_id and receipt.refused:
            # Dagster only says that a check failed; the receipt says what was wrong.
            kind, message = InputError.__name__, receipt.refusal
        if kind == "DagsterExecutionInterruptedError":
            # Dagster ends the run well when somebody stops the process; going on to the next target is not what they meant.
            raise KeyboardInterrupt
        if kind == DiskFullError.__name__ or no_room(message) or nearly_full(project.home):
            # All that follows would fail the same way.
            raise disk_full(project.home)
        self._fail(target, kind, message)

    def _fail(self, target: Target, kind: str, message: str) -> None:
        # The same sentence is said once: one missing file fails every shard of its dataset.
        repeated = message in self.outcome.failed.values()
        self.outcome.failed[target] = message
        if kind not in _kinds(GeolocError):
            self.outcome.faults.append(target)
        self.listener("failed again" if repeated else "failed", target, message)


def run_config(project: Project) -> dict[str, Any]:
    """Say in the run itself which project it works on, so that it can be executed again from the UI as it was."""
    return {
        **chosen_project(project),
        # The listener says what happens; Dagster's own log of each event would drown it. The event log has it all.
        "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
    }


def _kinds(base: type[Exception]) -> set[str]:
    """Names of an error class and of all that descend from it."""
    return {base.__name__}.union(*(_kinds(kind) for kind in base.__subclasses__()))


def register(instance: dg.DagsterInstance, receipt: Receipt) -> None:
    """Tell an instance of an artifact that lies there from before: nothing is made again."""
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            asset_key=receipt.target.asset,
            partition=receipt.target.partition or None,
            description="Found on disk, current by its receipt; made under another Dagster instance.",
            metadata={"geoloc/made_from": dg.MetadataValue.json(dict(receipt.made_from))},
            tags={
                "dagster/data_version": receipt.data_version,
                "dagster/data_version_is_user_provided": "true",
                "dagster/code_version": receipt.code_version,
            },
        )
    )

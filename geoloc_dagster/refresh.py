"""Remake what is out of date, and nothing else.

`refresh` walks the assets once, upstream before downstream. When it comes to an asset, everything above it is settled, so
the asset's own plan is exact: a target whose inputs came out with the same bytes as before is left alone. Each target is
one Dagster run, so that its content's version is its own (one run over many partitions would give them one version) and
the UI shows the same history as if a person had clicked.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.storage.tags import MAX_RETRIES_TAG

from geoloc_core.errors import DiskFullError, GeolocError, InputError
from geoloc_core.line.layout import Layout
from geoloc_core.line.lineage import ASSETS, Lineage, Target
from geoloc_core.line.plan import Plan, Reason, State, Step, make_plan
from geoloc_core.line.project import SOURCE_ROOT, Project
from geoloc_core.line.receipts import Receipt, read_receipt, refusal, remove_receipt, write_receipt
from geoloc_core.storage import disk_full, nearly_full, no_room, room, write_bytes
from geoloc_dagster.aftermath import MAKER_TAG, put_right
from geoloc_dagster.automation.requests import LONGEST_REASON, REASON_TAG, TARGET_TAG, chosen_project
from geoloc_dagster.checks.current import report_current
from geoloc_dagster.checks.intact import OF_ALL_PARTITIONS
from geoloc_dagster.partitions import synchronise
from geoloc_dagster.sharing import sharing_tags

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
        """Whether everything that should be current now is."""
        return not self.failed and not self.blocked

    def __bool__(self) -> bool:
        """Whether anything was done or tried."""
        return any((self.made, self.registered, self.removed, self.failed, self.blocked))

    def forget_failures(self) -> None:
        """Before what failed is tried again."""
        self.failed.clear()
        self.blocked.clear()
        self.faults.clear()


class Jobs:
    """For each asset the part of Dagster's job over all assets that makes it and asks the checks of its content."""

    def __init__(self, definitions: dg.Definitions) -> None:
        self._all = definitions.resolve_implicit_global_asset_job_def()
        self._checks = [
            spec.key
            for check in definitions.asset_checks or ()
            for spec in check.check_specs
            if spec.name not in OF_ALL_PARTITIONS
        ]
        self._parts: dict[str, dg.JobDefinition] = {}

    def of(self, asset: str) -> dg.JobDefinition:
        """The job that makes one asset."""
        if asset not in self._parts:
            key = dg.AssetKey(asset)
            checks = {check for check in self._checks if check.asset_key == key}
            self._parts[asset] = self._all.get_subset(asset_selection={key}, asset_check_selection=checks)
        return self._parts[asset]


def open_instance(layout: Layout) -> dg.DagsterInstance:
    """The project's own Dagster instance; its settings are a copy of the project's `dagster.yaml`."""
    layout.dagster_home.mkdir(parents=True, exist_ok=True)
    settings = SOURCE_ROOT / "dagster.yaml"
    if settings.is_file():
        content = settings.read_bytes()
        kept = layout.dagster_home / "dagster.yaml"
        if not kept.is_file() or kept.read_bytes() != content:
            write_bytes(kept, content)
    os.environ["DAGSTER_HOME"] = str(layout.dagster_home)
    return dg.DagsterInstance.get()


def registered_versions(instance: dg.DagsterInstance) -> dict[Target, str]:
    """The data version of the last materialization of every target that the instance knows."""
    versions: dict[Target, str] = {}
    event = dg.DagsterEventType.ASSET_MATERIALIZATION
    for asset in ASSETS:
        key = dg.AssetKey(asset)
        by_partition = instance.event_log_storage.get_latest_tags_by_partition(key, event, ["dagster/data_version"])
        for partition, tags in by_partition.items():
            versions[Target(asset, partition)] = tags.get("dagster/data_version", "")
        if not by_partition:
            latest = instance.get_latest_materialization_event(key)
            if latest and latest.asset_materialization:
                tags = latest.asset_materialization.tags or {}
                versions[Target(asset)] = tags.get("dagster/data_version", "")
    return versions


def project_plan(project: Project, instance: dg.DagsterInstance | None, verify: bool = False) -> Plan:
    """The plan as things stand; without an instance, what it knows is left out. `verify` reads every byte of every file."""
    lineage = Lineage(project)
    return make_plan(lineage, registered_versions(instance) if instance else None, state=State(lineage, verify))


@contextlib.contextmanager
def refresh_lock(layout: Layout) -> Iterator[None]:
    """Held while a refresh is at work; a second one is told so instead of doing everything twice."""
    layout.home.mkdir(parents=True, exist_ok=True)
    with layout.refresh_lock.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise GeolocError(
                f"another refresh is at work on {layout.home}; wait until it ends, or look at it in the Dagster UI"
            ) from error
        yield


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
) -> Outcome:
    """Carry out the plan.

    `listener` hears ("mended" | "start" | "done" | "failed" | "registered" | "removed", target, detail). `verify` reads
    every byte of every file, and of the warehouse, in place of trusting those that nobody seems to have written to.
    """
    with refresh_lock(project.layout), room(project.layout.home):
        for mended in put_right(project, instance, verify):
            listener("mended", None, mended)
        synchronise(instance, project.profile)
        lineage = Lineage(project)
        outcome = Outcome()
        state = State(lineage, verify)
        remove_orphans(lineage, state, outcome, listener)
        jobs = Jobs(definitions)
        _walk(lineage, state, instance, jobs, outcome, listener)
        damaged = distrust_damaged(lineage, outcome.failed)
        if damaged:
            # What failed had read a damaged file that looked untouched. Now that it is known it is made anew, and then
            # what failed; a second failure is left to a person.
            for target, wrong in damaged.items():
                listener("mended", None, f"{target} is made anew: {wrong}")
            outcome.forget_failures()
            _walk(lineage, State(lineage), instance, jobs, outcome, listener)
        report_current(instance, lineage, make_plan(lineage))
    return outcome


def _walk(
    lineage: Lineage, state: State, instance: dg.DagsterInstance, jobs: Jobs, outcome: Outcome, listener: Listener
) -> None:
    """Go over all targets once, upstream before downstream, and make what is out of date."""
    project = lineage.project
    registered = registered_versions(instance)

    def is_blocked(target: Target) -> bool:
        above = [item for item in lineage.inputs(target) if isinstance(item, Target)]
        return any(item in outcome.failed or item in outcome.blocked for item in above)

    for target in lineage.targets():
        if is_blocked(target):
            outcome.blocked.append(target)
            continue
        reasons = state.reasons(target)
        if reasons:
            tags = sharing_tags(lineage, target, lambda other: not is_blocked(other) and bool(state.reasons(other)))
            _make(project, jobs, instance, Step(target, reasons), outcome, listener, tags)
            state.learn(target, read_receipt(project.layout, target))
            continue
        receipt = state.receipts[target]
        if receipt.touched(project.layout.home):
            write_receipt(project.layout, receipt.stamped_anew(project.layout.home))
        if registered.get(target) != receipt.data_version:
            register(instance, receipt)
            outcome.registered.append(target)
            listener("registered", target, "")


def distrust_damaged(lineage: Lineage, failed: Collection[Target]) -> dict[Target, str]:
    """Read every byte of what failed targets are made from; what is damaged, and how.

    Receipts of what is damaged are marked, so that every later plan sees it, silent as the damage may be; a warehouse that
    is damaged is set aside.
    """
    if not failed:
        return {}
    state = State(lineage, verify=True)
    damaged: dict[Target, str] = {}
    above = {item for target in failed for item in lineage.inputs(target) if isinstance(item, Target)}
    # Rows of any target may lie in a block of the warehouse that is damaged.
    above |= {target for target, receipt in state.receipts.items() if receipt.rows}
    for item in sorted(above & set(state.receipts)):
        wrong = state.damage(item)
        if wrong:
            damaged[item] = wrong
            write_receipt(lineage.project.layout, state.receipts[item].distrusted())
    if damaged:
        lineage.project.warehouse().set_aside_if_damaged(every_byte=True)
    return damaged


def _make(
    project: Project,
    jobs: Jobs,
    instance: dg.DagsterInstance,
    step: Step,
    outcome: Outcome,
    listener: Listener,
    more_tags: Mapping[str, str] | None = None,
) -> None:
    started = time.monotonic()
    why = "; ".join(str(reason) for reason in step.reasons[:5])
    listener("start", step.target, why)
    result = jobs.of(step.target.asset).execute_in_process(
        run_config=run_config(project),
        partition_key=step.target.partition or None,
        instance=instance,
        tags={
            TARGET_TAG: str(step.target),
            REASON_TAG: why[:LONGEST_REASON],
            MAKER_TAG: str(project.layout.home),
            # Whoever is killed here is started again by a person or by the next refresh, not by a daemon.
            MAX_RETRIES_TAG: "0",
            **(more_tags or {}),
        },
        raise_on_error=False,
    )
    if result.success:
        outcome.made.append(step.target)
        listener("done", step.target, f"{time.monotonic() - started:.1f} s")
        return
    kind, message = failure(result)
    receipt = read_receipt(project.layout, step.target)
    if receipt is not None and receipt.run_id == result.run_id and receipt.refused:
        # Dagster only says that a check failed; the receipt says what was wrong.
        kind, message = InputError.__name__, refusal(receipt)
    if kind == "DagsterExecutionInterruptedError":
        # Dagster ends the run well when somebody stops the process; going on to the next target is not what they meant.
        raise KeyboardInterrupt
    if kind == DiskFullError.__name__ or no_room(message) or nearly_full(project.layout.home):
        # All that follows would fail the same way.
        raise disk_full(project.layout.home)
    outcome.failed[step.target] = message
    if kind not in _kinds(GeolocError):
        outcome.faults.append(step.target)
    listener("failed", step.target, message)


def run_config(project: Project) -> dict[str, Any]:
    """Say in the run itself which project it works on, so that it can be executed again from the UI as it was."""
    return {
        **chosen_project(project),
        # The listener tells what happens; Dagster's own log of each event would drown it. The event log has it all.
        "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
    }


def failure(result: dg.ExecuteInProcessResult) -> tuple[str, str]:
    """The root cause of a failed run: the name of its class, and what it says in one line."""
    for event in result.all_events:
        if event.is_step_failure or event.is_run_failure:
            error = getattr(event.event_specific_data, "error", None)
            while error is not None and error.cause is not None:
                error = error.cause
            if error is not None:
                kind = str(error.cls_name)
                # Dagster puts "module.Class: " before what the error says.
                message = " ".join(error.message.split())
                return kind, message.split(f"{kind}: ", 1)[-1]
    return "", "the run failed without an error; look at it in the Dagster UI"


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


def remove_orphans(lineage: Lineage, state: State, outcome: Outcome, listener: Listener) -> None:
    """What the profile no longer names leaves the data folder and the warehouse."""
    layout = lineage.project.layout
    wanted = set(lineage.targets())
    for target in sorted(target for target in state.receipts if target not in wanted):
        receipt = state.receipts[target]
        for table in receipt.rows:
            lineage.project.warehouse().remove_shard(table, target.partition)
        for name in receipt.files:
            (layout.home / name).unlink(missing_ok=True)
            _remove_if_empty((layout.home / name).parent, layout.home)
        remove_receipt(layout, target)
        state.learn(target, None)
        outcome.removed.append(target)
        listener("removed", target, "")


def _remove_if_empty(folder: Path, home: Path) -> None:
    while folder != home and folder.is_relative_to(home):
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


def remake(
    project: Project,
    instance: dg.DagsterInstance,
    definitions: dg.Definitions,
    asset: str,
    partitions: Sequence[str],
    listener: Listener,
) -> Outcome:
    """Make one asset, or some of its partitions, whether it is out of date or not."""
    lineage = Lineage(project)
    if asset not in ASSETS:
        raise InputError(f"no asset is called {asset!r}; there are {', '.join(ASSETS)}")
    known = lineage.partitions(asset)
    for partition in partitions:
        if partition not in known:
            raise InputError(f"{asset} has no partition {partition!r}; it has {', '.join(known)}")
    with refresh_lock(project.layout), room(project.layout.home):
        for mended in put_right(project, instance):
            listener("mended", None, mended)
        synchronise(instance, project.profile)
        outcome = Outcome()
        jobs = Jobs(definitions)
        for partition in partitions or known:
            _make(project, jobs, instance, Step(Target(asset, partition), (Reason("asked for"),)), outcome, listener)
    return outcome

"""The sensors: deliveries in, what is out of date remade, drift and failures told, the champion registered.

Each is a thin shell around a function that looks at the state of things and can be called as it is. All are stopped until
somebody switches them on (Automation in the UI, or `dagster sensor start NAME`).
"""

import datetime
import os

import dagster as dg

from geoloc_core.drift import Drift
from geoloc_core.line.landing import take_in
from geoloc_core.line.layout import Layout
from geoloc_core.line.lineage import ASSETS, Lineage, Target
from geoloc_core.line.plan import State, make_plan
from geoloc_core.line.project import Project
from geoloc_core.line.receipts import read_receipt, refusal
from geoloc_core.storage import value_sha256
from geoloc_dagster.automation.drifting import learned_and_new, shard_drift
from geoloc_dagster.automation.failures import describe
from geoloc_dagster.automation.jobs import tidy
from geoloc_dagster.automation.requests import ask, chosen_project
from geoloc_dagster.checks.current import report_current
from geoloc_dagster.checks.intact import OF_ALL_PARTITIONS
from geoloc_dagster.partitions import synchronise
from geoloc_dagster.refresh import is_refreshing, register, registered_versions
from geoloc_dagster.resources import ProjectResource

Tick = dg.SensorResult | dg.SkipReason
# What a registry serves is moved by a sensor of its own, so that a person can keep that step to himself.
PROMOTED = "champion"
LEARNED = "heads"
# Artifacts of another instance that one tick makes known: a tick has a minute.
MOST_REGISTRATIONS = 300
# Seconds between two looks at the state of things, at least; those that ask less often count in multiples of it.
TICK_S = int(os.environ.get("GEOLOC_TICK_SECONDS", "30"))
EVIDENCE_TAG = "geoloc/drift"


def refresh_tick(project: Project, instance: dg.DagsterInstance, checks: list[dg.AssetCheckKey]) -> Tick:
    """One run for each target that is out of date and whose inputs are settled."""
    if is_refreshing(project.layout):
        return dg.SkipReason("`geoloc refresh` is at work on this data folder; this sensor waits until it ends")
    synchronise(instance, project.profile)
    lineage = Lineage(project)
    state = State(lineage)
    plan = make_plan(lineage, registered_versions(instance), state=state)
    for target in plan.unregistered[:MOST_REGISTRATIONS]:
        register(instance, state.receipts[target])
    report_current(instance, lineage, plan)
    left_out = {PROMOTED} if project.profile.retraining == "always" else {PROMOTED, LEARNED}
    asked = ask(state, instance, plan, [asset for asset in ASSETS if asset not in left_out], checks)
    return dg.SensorResult(run_requests=asked.requests) if asked.requests else dg.SkipReason(asked.sentence)


def removals_tick(project: Project) -> Tick:
    """One run of `tidy` for each set of targets that the profile no longer names."""
    state = State(Lineage(project))
    wanted = set(state.lineage.targets())
    there = sorted([str(target), receipt.run_id] for target, receipt in state.receipts.items() if target not in wanted)
    if not there:
        return dg.SkipReason("the profile names everything that is in the data folder")
    request = dg.RunRequest(f"tidy:{value_sha256(list(there))[:16]}", run_config=chosen_project(project))
    return dg.SensorResult(run_requests=[request])


def champion_tick(project: Project, instance: dg.DagsterInstance, checks: list[dg.AssetCheckKey]) -> Tick:
    """The champion is chosen and registered anew once the results are settled."""
    lineage = Lineage(project)
    state = State(lineage)
    asked = ask(state, instance, make_plan(lineage, state=state), [PROMOTED], checks)
    return dg.SensorResult(run_requests=asked.requests) if asked.requests else dg.SkipReason(asked.sentence)


def drift_tick(
    project: Project, instance: dg.DagsterInstance, checks: list[dg.AssetCheckKey], cursor: str = ""
) -> Tick:
    """New shards are compared with those learned from; where they differ, the heads are asked for, with the evidence.

    With `retraining: always` the heads follow by themselves, and only the evidence is kept. The cursor only spares the
    event log the same observation twice.
    """
    lineage = Lineage(project)
    state = State(lineage)
    learned, new = learned_and_new(state)
    if not learned or not new:
        return dg.SkipReason("no shard is new to the heads" if learned else "there is no head to compare shards with")
    found = [shard_drift(state, learned, shard) for shard in new]
    marker = value_sha256([[item.shard, item.version] for item in found])
    observed = [] if cursor == marker else [_observation(item.shard, item.version, item.drifts) for item in found]
    evidence = "; ".join(f"{item.shard}: {drift.sentence}" for item in found for drift in item.found)
    requests = []
    told = evidence or f"no drift in {', '.join(new)}"
    if evidence and project.profile.retraining == "asked":
        asked = ask(state, instance, make_plan(lineage, state=state), [LEARNED], checks, because=f"drift: {evidence}")
        requests = [
            request.with_replaced_attrs(tags={**request.tags, EVIDENCE_TAG: evidence[:500]})
            for request in asked.requests
        ]
        told = evidence if requests else f"{evidence} ({asked.sentence})"
    skip = None if requests else dg.SkipReason(told)
    return dg.SensorResult(run_requests=requests, asset_events=observed, cursor=marker, skip_reason=skip)


def _observation(shard: str, version: str, drifts: tuple[Drift, ...]) -> dg.AssetObservation:
    """The figures of a shard, on its partition of `labeled_photos`, where they plot over the shards."""
    figures = {drift.what: drift.statistic for drift in drifts} | {f"{d.what}: limit": d.limit for d in drifts}
    sentences = "\n".join(f"- {drift.sentence}" for drift in drifts) or "- too few photos or authors to tell"
    return dg.AssetObservation(
        "labeled_photos",
        partition=shard,
        description="Compared with the photos that the heads learned from.",
        metadata={**figures, "drift": dg.MetadataValue.md(sentences), "labels_version": version},
    )


def content_checks(context: dg.SensorEvaluationContext | dg.ScheduleEvaluationContext) -> list[dg.AssetCheckKey]:
    """The checks that look at what one run makes: all but those of all partitions."""
    assert context.repository_def is not None
    return [key for key in context.repository_def.asset_graph.asset_check_keys if key.name not in OF_ALL_PARTITIONS]


@dg.sensor(
    minimum_interval_seconds=TICK_S,
    description="Takes in metadata files laid in the landing folder, once they are complete: each becomes shards to learn "
    "from. The same content twice is one delivery.",
)
def deliveries(context: dg.SensorEvaluationContext, project: ProjectResource) -> Tick:
    before = project.open()
    before.layout.landing.mkdir(parents=True, exist_ok=True)
    intake = take_in(before.profile, before.layout)
    for sentence in intake.refused.values():
        context.log.warning(sentence)
    if not intake.changed:
        return dg.SkipReason(intake.sentence or f"nothing new in {before.layout.landing}")
    moved = synchronise(context.instance, project.open().profile)
    context.log.info(intake.sentence)
    return dg.SkipReason(f"{intake.sentence} ({moved} partitions added or removed)")


@dg.sensor(
    asset_selection=dg.AssetSelection.all(),
    minimum_interval_seconds=TICK_S,
    description="Remakes what is out of date and nothing else: one run for each target whose inputs are settled. A run that "
    "failed is tried again when something that it depends on has changed.",
)
def refresh(context: dg.SensorEvaluationContext, project: ProjectResource) -> Tick:
    return refresh_tick(project.open(), context.instance, content_checks(context))


@dg.sensor(
    job=tidy,
    minimum_interval_seconds=2 * TICK_S,
    description="Removes files and rows of shards, backbones and experiments that the profile no longer names.",
)
def removals(context: dg.SensorEvaluationContext, project: ProjectResource) -> Tick:
    return removals_tick(project.open())


@dg.sensor(
    asset_selection=[LEARNED],
    minimum_interval_seconds=4 * TICK_S,
    description="Compares new shards with the photos that the heads learned from (countries, vectors); where they differ, "
    "asks for a retraining and gives the evidence. The profile's `retraining: asked` leaves the heads to it.",
)
def drift(context: dg.SensorEvaluationContext, project: ProjectResource) -> Tick:
    return drift_tick(project.open(), context.instance, content_checks(context), context.cursor or "")


@dg.sensor(
    asset_selection=[PROMOTED],
    minimum_interval_seconds=2 * TICK_S,
    description="When the results are settled: lets the best head challenge the champion, and registers it in MLflow.",
)
def champion(context: dg.SensorEvaluationContext, project: ProjectResource) -> Tick:
    return champion_tick(project.open(), context.instance, content_checks(context))


@dg.run_failure_sensor(
    minimum_interval_seconds=TICK_S,
    description="Writes one line for each failed run, with the mend, to the log and to failures.log in the data folder.",
)
def failures(context: dg.RunFailureSensorContext, project: ProjectResource) -> None:
    run, layout = context.dagster_run, project.open().layout
    failure = describe(
        run, context.failure_event.message or "", context.get_step_failure_events(), refused(layout, run)
    )
    line = failure.line(datetime.datetime.now(datetime.UTC))
    log = layout.failures
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    context.log.error(line)


def refused(layout: Layout, run: dg.DagsterRun) -> str:
    """What checks found wrong with what a run made, in a sentence; an empty text where they found nothing."""
    partition = run.tags.get("dagster/partition", "")
    receipts = [read_receipt(layout, Target(key.path[-1], partition)) for key in sorted(run.asset_selection or ())]
    return "; ".join(refusal(receipt) for receipt in receipts if receipt and receipt.run_id == run.run_id)


SENSORS = [deliveries, refresh, removals, drift, champion, failures]

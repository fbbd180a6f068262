"""What happens by itself: deliveries in, what is stale made, drift and failures reported, the champion registered.

Each sensor is a thin shell around a function that looks at the state of things and can be called as it is. All are stopped
until somebody switches them on (Automation in the UI, or `dagster sensor start NAME`).
"""

import datetime
import os

import dagster as dg

from geoloc_core.line.artifacts import ASSETS, Target
from geoloc_core.line.landing import take_in
from geoloc_core.line.layout import Layout
from geoloc_core.line.project import Project
from geoloc_core.line.receipts import read_receipt
from geoloc_core.line.staleness import State, make_plan
from geoloc_core.storage import value_sha256
from geoloc_dagster.build import synchronise
from geoloc_dagster.checks.content import delivery_outcomes
from geoloc_dagster.checks.standing import OF_ALL_PARTITIONS, report_current
from geoloc_dagster.failures import describe
from geoloc_dagster.refresh import is_refreshing, refresh_lock, register, registered_versions
from geoloc_dagster.requests import chosen_project, request_runs
from geoloc_dagster.resources import ProjectResource

Tick = dg.SensorResult | dg.SkipReason
# What a registry serves is moved by a sensor of its own, so that a person can keep that step to himself.
PROMOTED = "champion"
LEARNED = "heads"
# Artifacts of another instance that one tick makes known: a tick has a minute.
MOST_REGISTRATIONS = 300
# Seconds between two looks at the state of things, at least; those that look less often count in multiples of it.
TICK_S = int(os.environ.get("GEOLOC_TICK_SECONDS", "30"))


def refresh_tick(project: Project, instance: dg.DagsterInstance, checks: list[dg.AssetCheckKey]) -> Tick:
    """One run for each target that is stale and whose inputs are settled."""
    if is_refreshing(project.layout):
        return dg.SkipReason("`geoloc refresh` is at work on this data folder; this sensor waits until it ends")
    synchronise(instance, project.profile)
    state = State(project)
    plan = make_plan(state, registered_versions(instance))
    for target in plan.unregistered[:MOST_REGISTRATIONS]:
        register(instance, state.receipts[target])
    report_current(instance, project, plan)
    left_out = {PROMOTED} if project.profile.retraining == "always" else {PROMOTED, LEARNED}
    requests = request_runs(state, instance, plan, [asset for asset in ASSETS if asset not in left_out], checks)
    return dg.SensorResult(run_requests=requests.runs) if requests.runs else dg.SkipReason(requests.sentence)


def removals_tick(project: Project) -> Tick:
    """One run of `tidy` for each set of targets that the profile no longer names."""
    state = State(project)
    orphans = [[str(target), state.receipts[target].run_id] for target in state.orphans()]
    if not orphans:
        return dg.SkipReason("the profile names everything that is in the data folder")
    if project.profile.orphans == "keep":
        mend = "`orphans: remove` in the profile lets this sensor remove them"
        return dg.SkipReason(f"{state.weight(state.orphans())} stay; {mend}")
    request = dg.RunRequest(f"tidy:{value_sha256(list(orphans))[:16]}", run_config=chosen_project(project))
    return dg.SensorResult(run_requests=[request])


def request_tick(
    project: Project, instance: dg.DagsterInstance, asset: str, checks: list[dg.AssetCheckKey], because: str = ""
) -> Tick:
    """One run for each target of one asset that is stale, once its inputs are settled."""
    state = State(project)
    requests = request_runs(state, instance, make_plan(state), [asset], checks, because)
    return dg.SensorResult(run_requests=requests.runs) if requests.runs else dg.SkipReason(requests.sentence)


def drift_tick(project: Project, instance: dg.DagsterInstance, checks: list[dg.AssetCheckKey]) -> Tick:
    """Where a shard that no head has learned from drifted, by the check of its delivery, the heads are requested.

    With `retraining: always` the heads follow by themselves, and the check's warning is all there is to say.
    """
    state = State(project)
    heads = (state.receipts.get(Target(LEARNED, key)) for key in project.profile.experiment_keys())
    learned = {name for receipt in heads if receipt for name in receipt.made_from}
    new = [shard for shard in project.profile.training_shards() if not any(f"|{shard}]" in name for name in learned)]
    evidence = {shard: sentence for shard in new if (sentence := drift_of(project, shard))}
    if not learned or not new:
        return dg.SkipReason("no shard is new to the heads" if learned else "there is no head to compare shards with")
    sentence = "; ".join(f"{shard}: {drift}" for shard, drift in evidence.items())
    if not evidence or project.profile.retraining == "always":
        return dg.SkipReason(sentence or f"no drift in {', '.join(new)}")
    return request_tick(project, instance, LEARNED, checks, because=f"drift: {sentence}")


def drift_of(project: Project, shard: str) -> str:
    """What the check of a shard's delivery says of its countries; an empty text where they have not drifted."""
    from geoloc_core.photos.expectations import drift_of as drift_among

    outcome = drift_among(delivery_outcomes(project, shard))
    return outcome.sentence if outcome is not None and not outcome.success else ""


def content_checks(context: dg.SensorEvaluationContext | dg.ScheduleEvaluationContext) -> list[dg.AssetCheckKey]:
    """The checks that look at what one run makes: all but those of all partitions."""
    assert context.repository_def is not None
    return [key for key in context.repository_def.asset_graph.asset_check_keys if key.name not in OF_ALL_PARTITIONS]


@dg.op(description="Files, rows and receipts of shards, backbones and experiments that the profile no longer names.")
def remove_orphans(context: dg.OpExecutionContext, project: ProjectResource) -> None:
    opened = project.open()
    with refresh_lock(opened.layout):
        state = State(opened)
        context.log.info(f"{state.weight(state.orphans())} that the profile no longer names are removed")
        for target in state.orphans():
            state.remove(target)
            context.log.info(f"removed {target}")


@dg.job(description="Remove what the profile no longer names from the data folder and the warehouse.")
def tidy() -> None:
    remove_orphans()


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
    if not intake.taken_in:
        return dg.SkipReason(intake.sentence or f"nothing new in {before.layout.landing}")
    changes = synchronise(context.instance, project.open().profile)
    context.log.info(intake.sentence)
    return dg.SkipReason(f"{intake.sentence} ({changes} partitions added or removed)")


@dg.sensor(
    asset_selection=dg.AssetSelection.all(),
    minimum_interval_seconds=TICK_S,
    description="Materializes what is stale and nothing else: one run for each target whose inputs are settled. A run that "
    "failed is tried again when something that it depends on has changed.",
)
def refresh(context: dg.SensorEvaluationContext, project: ProjectResource) -> Tick:
    return refresh_tick(project.open(), context.instance, content_checks(context))


@dg.sensor(
    job=tidy,
    minimum_interval_seconds=2 * TICK_S,
    description="Removes files and rows of shards, backbones and experiments that the profile no longer names, where the "
    "profile says `orphans: remove`.",
)
def removals(context: dg.SensorEvaluationContext, project: ProjectResource) -> Tick:
    return removals_tick(project.open())


@dg.sensor(
    asset_selection=[LEARNED],
    minimum_interval_seconds=4 * TICK_S,
    description="Where the countries of a new shard drifted from those before it (the check `as_expected`), requests a "
    "retraining and gives the evidence. For a profile with `retraining: asked`, which leaves the heads to it.",
)
def drift(context: dg.SensorEvaluationContext, project: ProjectResource) -> Tick:
    return drift_tick(project.open(), context.instance, content_checks(context))


@dg.sensor(
    asset_selection=[PROMOTED],
    minimum_interval_seconds=2 * TICK_S,
    description="When the results are settled: lets the best head challenge the champion, and registers it in MLflow.",
)
def champion(context: dg.SensorEvaluationContext, project: ProjectResource) -> Tick:
    return request_tick(project.open(), context.instance, PROMOTED, content_checks(context))


@dg.schedule(
    cron_schedule="0 3 * * 1",
    execution_timezone="UTC",
    target=dg.AssetSelection.assets(LEARNED),
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Mondays at 03:00 UTC: trains the heads that are stale. For a profile with `retraining: asked`; with `always` "
    "the sensor `refresh` has done it.",
)
def weekly_retraining(
    context: dg.ScheduleEvaluationContext, project: ProjectResource
) -> dg.SkipReason | list[dg.RunRequest]:
    tick = request_tick(project.open(), context.instance, LEARNED, content_checks(context), "weekly retraining")
    return tick if isinstance(tick, dg.SkipReason) else list(tick.run_requests or ())


@dg.run_failure_sensor(
    minimum_interval_seconds=TICK_S,
    description="Writes one line for each failed run, with the mend, to the log and to failures.log in the data folder.",
)
def failures(context: dg.RunFailureSensorContext, project: ProjectResource) -> None:
    run, layout, said = context.dagster_run, project.open().layout, context.failure_event.message or ""
    failure = describe(run, said, context.get_step_failure_events(), refusals(layout, run))
    line = failure.line(datetime.datetime.now(datetime.UTC))
    layout.failures.parent.mkdir(parents=True, exist_ok=True)
    with layout.failures.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    context.log.error(line)


def refusals(layout: Layout, run: dg.DagsterRun) -> str:
    """What checks found wrong with what a run made, in a sentence; an empty text where they found nothing."""
    partition = run.tags.get("dagster/partition", "")
    receipts = [read_receipt(layout, Target(key.path[-1], partition)) for key in sorted(run.asset_selection or ())]
    return "; ".join(receipt.refusal for receipt in receipts if receipt and receipt.run_id == run.run_id)


SENSORS = [deliveries, refresh, removals, drift, champion, failures]

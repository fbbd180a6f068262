"""The schedule: retraining by the calendar, for profiles that do not retrain at once."""

import dagster as dg

from geoloc_core.line.lineage import Lineage
from geoloc_core.line.plan import State, make_plan
from geoloc_dagster.automation.requests import ask
from geoloc_dagster.automation.sensors import LEARNED, content_checks
from geoloc_dagster.resources import ProjectResource


@dg.schedule(
    cron_schedule="0 3 * * 1",
    execution_timezone="UTC",
    target=dg.AssetSelection.assets(LEARNED),
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Mondays at 03:00 UTC: trains the heads that are out of date. For a profile with `retraining: asked`; with "
    "`always` the sensor `refresh` has done it.",
)
def weekly_retraining(
    context: dg.ScheduleEvaluationContext, project: ProjectResource
) -> dg.SkipReason | list[dg.RunRequest]:
    opened = project.open()
    state = State(Lineage(opened))
    plan = make_plan(state.lineage, state=state)
    asked = ask(state, context.instance, plan, [LEARNED], content_checks(context), because="weekly retraining")
    return asked.requests or dg.SkipReason(asked.sentence)


SCHEDULES = [weekly_retraining]

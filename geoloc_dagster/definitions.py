"""Everything that Dagster loads: assets, their checks, sensors, the schedule, resources, the executor."""

import dagster as dg

from geoloc_dagster.build import ASSETS
from geoloc_dagster.checks.content import CONTENT_CHECKS
from geoloc_dagster.checks.standing import current, intact
from geoloc_dagster.executors import executor
from geoloc_dagster.resources import ProjectResource
from geoloc_dagster.sensors import SENSORS, tidy, weekly_retraining

defs = dg.Definitions(
    assets=list(ASSETS.values()),
    asset_checks=[*CONTENT_CHECKS, current, intact],
    jobs=[tidy],
    sensors=SENSORS,
    schedules=[weekly_retraining],
    resources={"project": ProjectResource()},
    executor=executor(),
)

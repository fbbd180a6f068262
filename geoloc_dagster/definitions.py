"""Everything that Dagster loads: assets, their checks, resources, the executor."""

import dagster as dg

from geoloc_dagster.assets import evaluation, features, geography, learning, photos
from geoloc_dagster.automation.jobs import tidy
from geoloc_dagster.automation.schedules import SCHEDULES
from geoloc_dagster.automation.sensors import SENSORS
from geoloc_dagster.checks import current, expectations, intact
from geoloc_dagster.checks import evaluation as evaluation_checks
from geoloc_dagster.checks import features as features_checks
from geoloc_dagster.checks import learning as learning_checks
from geoloc_dagster.checks import photos as photos_checks
from geoloc_dagster.code_references import with_code_references
from geoloc_dagster.executors import executor
from geoloc_dagster.resources import ProjectResource

defs = dg.Definitions(
    assets=with_code_references(
        [
            asset
            for asset in dg.load_assets_from_modules([geography, photos, features, learning, evaluation])
            if isinstance(asset, dg.AssetsDefinition)
        ]
    ),
    asset_checks=[
        check
        for room in (photos_checks, expectations, features_checks, learning_checks, evaluation_checks, current, intact)
        for check in room.CHECKS
    ],
    jobs=[tidy],
    sensors=SENSORS,
    schedules=SCHEDULES,
    resources={"project": ProjectResource()},
    executor=executor(),
)

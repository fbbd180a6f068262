"""Everything that Dagster loads: assets, resources, the executor."""

import dagster as dg

from geoloc_dagster.assets import evaluation, features, geography, learning, photos
from geoloc_dagster.executors import executor
from geoloc_dagster.resources import ProjectResource

defs = dg.Definitions(
    assets=dg.load_assets_from_modules([geography, photos, features, learning, evaluation]),
    resources={"project": ProjectResource()},
    executor=executor(),
)

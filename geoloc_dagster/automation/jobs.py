"""The one job that is not about an asset: take away what the profile no longer names."""

import dagster as dg

from geoloc_core.line.lineage import Lineage
from geoloc_core.line.plan import State
from geoloc_dagster.refresh import Outcome, refresh_lock, remove_orphans
from geoloc_dagster.resources import ProjectResource


@dg.op(description="Files, rows and receipts of shards, backbones and experiments that the profile no longer names.")
def remove_what_is_no_longer_named(context: dg.OpExecutionContext, project: ProjectResource) -> None:
    opened = project.open()
    with refresh_lock(opened.layout):
        lineage = Lineage(opened)
        outcome = Outcome()
        remove_orphans(lineage, State(lineage), outcome, lambda _, target, __: context.log.info(f"removed {target}"))
    context.log.info(f"{len(outcome.removed)} targets removed")


@dg.job(description="Remove what the profile no longer names from the data folder and the warehouse.")
def tidy() -> None:
    remove_what_is_no_longer_named()

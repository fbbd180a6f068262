"""Whether every byte is the one that was written: the check that reads, where `current` trusts sizes and times.

A disk that rots changes no time, so neither the plan nor a sensor notices. This check (or `geoloc refresh --verify`) reads
everything; what it finds is marked in the receipts, so that every later plan sees it and `geoloc refresh` makes it anew.
"""

from collections.abc import Iterator

import dagster as dg

from geoloc_core.line.lineage import ASSETS, Lineage, Target
from geoloc_core.line.plan import State
from geoloc_core.line.receipts import write_receipt
from geoloc_dagster.checks.current import CURRENT, REASONS_SHOWN
from geoloc_dagster.metadata import rows_table
from geoloc_dagster.resources import ProjectResource

INTACT = "intact"
# Checks of all partitions at once: runs that make one target leave them out.
OF_ALL_PARTITIONS = frozenset({CURRENT, INTACT})
DESCRIPTION = (
    "Every byte of every file, and of the warehouse's rows, is the one that was written. It reads everything, so ask it when "
    "a disk is in doubt. What is damaged is named, and `geoloc refresh` or the sensor `refresh` then makes it anew."
)


def find_damage(lineage: Lineage, asset: str, state: State | None = None, only: str = "") -> dict[Target, str]:
    """Read all that belongs to an asset, or `only` one partition; what is wrong with each that is not as it was written.

    Their receipts are marked, so that plans no longer trust their size and time, and a damaged warehouse is set aside.
    """
    state = state or State(lineage, verify=True)
    damaged = {}
    for partition in (only,) if only else lineage.partitions(asset):
        target = Target(asset, partition)
        if target in state.receipts:
            wrong = state.damage(target)
            if wrong:
                damaged[target] = wrong
                write_receipt(lineage.project.layout, state.receipts[target].distrusted())
    if any(state.receipts[target].rows for target in damaged):
        lineage.project.warehouse().set_aside_if_damaged(every_byte=True)
    return damaged


@dg.multi_asset_check(
    name=INTACT,
    specs=[dg.AssetCheckSpec(INTACT, asset=asset, description=DESCRIPTION) for asset in ASSETS],
    can_subset=True,
)
def intact(context: dg.AssetCheckExecutionContext, project: ProjectResource) -> Iterator[dg.AssetCheckResult]:
    """Read what belongs to the assets that are asked about."""
    lineage = Lineage(project.open())
    state = State(lineage, verify=True)
    asked = {key.asset_key.path[-1] for key in context.selected_asset_check_keys}
    # A run that was started to make one partition, as by a click in the UI, does not read all the others.
    partition = context.run.tags.get("dagster/partition", "")
    for asset in (asset for asset in ASSETS if asset in asked):
        damaged = find_damage(lineage, asset, state, partition)
        made = [t for t in state.receipts if t.asset == asset and (not partition or t.partition == partition)]
        files = [stamp for target in made for stamp in state.receipts[target].files.values()]
        told = "; ".join(f"{target}: {wrong}" for target, wrong in list(damaged.items())[:REASONS_SHOWN])
        metadata: dict[str, int | dg.MetadataValue] = {
            "damaged": len(damaged),
            "files": len(files),
            "bytes": sum(stamp.size for stamp in files),
        }
        if damaged:
            rows = [(target.partition or "whole", wrong) for target, wrong in damaged.items()]
            metadata["what"] = dg.MetadataValue.md(
                rows_table(("partition", "damage"), rows, "`geoloc plan` names them")
            )
        yield dg.AssetCheckResult(
            asset_key=asset,
            check_name=INTACT,
            passed=not damaged,
            severity=dg.AssetCheckSeverity.ERROR,
            description=f"{len(damaged)} damaged: {told}" if damaged else f"all {len(files)} files are intact",
            metadata=metadata,
        )


CHECKS: list[dg.AssetChecksDefinition] = [intact]

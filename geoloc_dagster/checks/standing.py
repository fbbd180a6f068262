"""Two checks on every asset: `current`, whether all partitions are fresh, and `intact`, whether every byte is as written.

Dagster draws a partitioned asset as fresh even when partitions of it are stale, and offers no way to run only those (its
issues 22553, 18921, 20442, 22704). The check `current` fills the gap: it is answered from the plan, names the missing and the
stale partitions with the reasons, and is red or green on the asset's node. It can be run in the UI; a refresh reports it at
its end, and the sensor `refresh` whenever it changed.

`current` trusts sizes and times of files. A disk that rots changes no time, so neither the plan nor a sensor notices: `intact`
(or `geoloc refresh --verify`) reads everything; what it finds is marked in the receipts, so that every later plan sees it.
"""

from collections.abc import Iterator

import dagster as dg

from geoloc_core.line.artifacts import ASSETS, Target, partitions
from geoloc_core.line.project import Project
from geoloc_core.line.staleness import REASONS_SHOWN, Plan, Standing, State, make_plan, mark_damage, standings
from geoloc_dagster.metadata import rows_table
from geoloc_dagster.resources import ProjectResource

CURRENT, INTACT = "current", "intact"
# They look at all partitions and not at the content of one, so runs that make one target leave them out.
OF_ALL_PARTITIONS = frozenset({CURRENT, INTACT})
DESCRIPTIONS = {
    CURRENT: "Every partition that the profile asks for is there and was made from its inputs as they are now. Where it is "
    "not so, the missing and the stale partitions are named, each with what changed. `geoloc refresh` or the sensor `refresh` "
    "materializes them.",
    INTACT: "Every byte of every file, and of the warehouse's rows, is the one that was written. It reads everything, so run "
    "it when a disk is in doubt. What is damaged is named, and `geoloc refresh` or the sensor `refresh` then makes it anew.",
}
_MORE = "`geoloc plan` names them"


def _specs(name: str) -> list[dg.AssetCheckSpec]:
    return [dg.AssetCheckSpec(name, asset=asset, description=DESCRIPTIONS[name]) for asset in ASSETS]


def _metadata(standing: Standing) -> dict[str, dg.MetadataValue]:
    """Figures that plot over time, and the table of the partitions that are stale."""
    steps = [(step, "missing") for step in standing.missing] + [(step, "stale") for step in standing.stale]
    rows = [(step.target.partition or "whole", state, step.why) for step, state in steps]
    return {
        "partitions": dg.MetadataValue.int(standing.partitions),
        "missing": dg.MetadataValue.int(len(standing.missing)),
        "stale": dg.MetadataValue.int(len(standing.stale)),
        "may_follow": dg.MetadataValue.int(standing.may_follow),
        **({"why": rows_table(("partition", "state", "why"), rows, _MORE)} if rows else {}),
    }


def report_current(instance: dg.DagsterInstance, project: Project, plan: Plan) -> list[str]:
    """Report `current` of every asset whose last answer is no longer true, or older than the asset.

    Dagster greys out an answer that is older than the asset's last materialization, so it is given again then. Returns
    the assets that were reported.
    """
    keys = {asset: dg.AssetCheckKey(dg.AssetKey(asset), CURRENT) for asset in ASSETS}
    last = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(keys.values()))
    latest = {
        record.asset_entry.asset_key: record.asset_entry.last_materialization_record
        for record in instance.get_asset_records([key.asset_key for key in keys.values()])
    }
    reported = []
    for standing in standings(project, plan):
        key, metadata = keys[standing.asset], _metadata(standing)
        record, materialization = last.get(key), latest.get(key.asset_key)
        evaluation = record.evaluation if record else None
        # A run that was stopped leaves a record of an answer that was planned and never given.
        same = (
            isinstance(evaluation, dg.AssetCheckEvaluation)
            and evaluation.passed == standing.current
            and evaluation.metadata == metadata
        )
        # The event's own time: the record's is cut to whole seconds, in which an asset and its check often fall together.
        answered = record.event.timestamp if record is not None and record.event is not None else 0.0
        if same and not (materialization is not None and materialization.timestamp > answered):
            continue
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=key.asset_key,
                check_name=CURRENT,
                passed=standing.current,
                severity=dg.AssetCheckSeverity.WARN,
                description=standing.sentence,
                metadata=metadata,
            )
        )
        reported.append(standing.asset)
    return reported


def _selected(context: dg.AssetCheckExecutionContext) -> list[str]:
    names = {key.asset_key.path[-1] for key in context.selected_asset_check_keys}
    return [asset for asset in ASSETS if asset in names]


@dg.multi_asset_check(name=CURRENT, specs=_specs(CURRENT), can_subset=True)
def current(context: dg.AssetCheckExecutionContext, project: ProjectResource) -> Iterator[dg.AssetCheckResult]:
    """Make the plan once for all assets that are selected."""
    opened = project.open()
    for standing in standings(opened, make_plan(State(opened)), _selected(context)):
        yield dg.AssetCheckResult(
            asset_key=standing.asset,
            check_name=CURRENT,
            passed=standing.current,
            severity=dg.AssetCheckSeverity.WARN,
            description=standing.sentence,
            metadata=_metadata(standing),
        )


@dg.multi_asset_check(name=INTACT, specs=_specs(INTACT), can_subset=True)
def intact(context: dg.AssetCheckExecutionContext, project: ProjectResource) -> Iterator[dg.AssetCheckResult]:
    """Read what belongs to the assets that are selected."""
    state = State(project.open(), verify=True)
    # A run that was started to make one partition, as by a click in the UI, does not read all the others.
    partition = context.run.tags.get("dagster/partition", "")
    for asset in _selected(context):
        keys = (partition,) if partition else partitions(state.project.profile, asset)
        present = [target for target in (Target(asset, key) for key in keys) if target in state.receipts]
        stamps = [stamp for target in present for stamp in state.receipts[target].files.values()]
        damaged = mark_damage(state, present)
        metadata: dict[str, int | dg.MetadataValue] = {
            "damaged": len(damaged),
            "files": len(stamps),
            "bytes": sum(stamp.size for stamp in stamps),
        }
        if damaged:
            rows = [(target.partition or "whole", fault) for target, fault in damaged.items()]
            metadata["what"] = rows_table(("partition", "damage"), rows, _MORE)
        examples = "; ".join(f"{target}: {fault}" for target, fault in list(damaged.items())[:REASONS_SHOWN])
        yield dg.AssetCheckResult(
            asset_key=asset,
            check_name=INTACT,
            passed=not damaged,
            severity=dg.AssetCheckSeverity.ERROR,
            description=f"{len(damaged)} damaged: {examples}" if damaged else f"all {len(stamps)} files are intact",
            metadata=metadata,
        )

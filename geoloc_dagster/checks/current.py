"""Which partitions of each asset are out of date, told in Dagster's asset graph.

Dagster draws a partitioned asset as fresh even when partitions of it are stale, and offers no way to run only those (its
issues 22553, 18921, 20442, 22704). The check `current` on every asset fills the gap: it is answered from the plan, names
the missing and the stale partitions with the reasons, and is red or green on the asset's node. It can be asked in the
UI; a refresh tells it at its end, and the sensor `refresh` whenever it changed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import dagster as dg

from geoloc_core.line.lineage import ASSETS, Lineage
from geoloc_core.line.plan import MISSING, Plan, Step, make_plan
from geoloc_dagster.metadata import rows_table
from geoloc_dagster.resources import ProjectResource

# Its name on every asset; the runs of a refresh leave it out, as it looks at the plan and not at an asset's content.
CURRENT = "current"
REASONS_SHOWN = 3
DESCRIPTION = (
    "Every partition that the profile asks for is there and was made from its inputs as they are now. Where it is not so, "
    "the missing and the stale partitions are named, each with what changed. `geoloc refresh` or the sensor `refresh` "
    "brings them up to date."
)


@dataclass(frozen=True)
class Standing:
    """What the plan says of one asset."""

    asset: str
    partitions: int
    missing: tuple[Step, ...]
    stale: tuple[Step, ...]
    may_follow: int

    @property
    def current(self) -> bool:
        """Whether every partition is there and up to date."""
        return not self.missing and not self.stale

    @property
    def sentence(self) -> str:
        """The standing in one line."""
        if self.current:
            follow = f"; {self.may_follow} may follow what is out of date upstream" if self.may_follow else ""
            return f"all {self.partitions} current{follow}" if self.partitions > 1 else f"current{follow}"
        parts = [f"{len(steps)} {word}" for steps, word in ((self.missing, "missing"), (self.stale, "stale")) if steps]
        first = (self.missing or self.stale)[0]
        return f"{' and '.join(parts)} of {self.partitions}, for example {first.target}: {first.reasons[0]}"

    @property
    def table(self) -> str:
        """A Markdown table of the partitions that are out of date; empty when there are none."""
        steps = [(step, "missing") for step in self.missing] + [(step, "stale") for step in self.stale]
        rows = []
        for step, state in steps:
            why = "; ".join(str(reason) for reason in step.reasons[:REASONS_SHOWN])
            more = len(step.reasons) - REASONS_SHOWN
            rows.append((step.target.partition or "whole", state, why + (f"; and {more} more" if more > 0 else "")))
        return rows_table(("partition", "state", "why"), rows, "`geoloc plan` names them") if rows else ""

    def metadata(self) -> dict[str, dg.MetadataValue]:
        """The same as figures that plot over time, and the table."""
        shown: dict[str, dg.MetadataValue] = {
            "partitions": dg.MetadataValue.int(self.partitions),
            "missing": dg.MetadataValue.int(len(self.missing)),
            "stale": dg.MetadataValue.int(len(self.stale)),
            "may_follow": dg.MetadataValue.int(self.may_follow),
        }
        if self.table:
            shown["why"] = dg.MetadataValue.md(self.table)
        return shown


def standings(lineage: Lineage, plan: Plan, assets: Iterable[str] = ASSETS) -> Iterator[Standing]:
    """The standing of each asset by a plan over all of them."""
    for asset in assets:
        steps = [step for step in plan.steps if step.target.asset == asset]
        yield Standing(
            asset,
            partitions=len(lineage.partitions(asset)),
            missing=tuple(step for step in steps if step.reasons[0].what == MISSING),
            stale=tuple(step for step in steps if step.reasons[0].what != MISSING),
            may_follow=sum(target.asset == asset for target in plan.following),
        )


def report_current(instance: dg.DagsterInstance, lineage: Lineage, plan: Plan) -> list[str]:
    """Tell an instance the standing of every asset whose last telling is no longer true, or older than the asset.

    Dagster greys out an answer that is older than the asset's last materialization, so it is given again then. Returns
    the assets that were told.
    """
    keys = {asset: dg.AssetCheckKey(dg.AssetKey(asset), CURRENT) for asset in ASSETS}
    last = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(keys.values()))
    made = {
        record.asset_entry.asset_key: record.asset_entry.last_materialization_record
        for record in instance.get_asset_records([key.asset_key for key in keys.values()])
    }
    told = []
    for standing in standings(lineage, plan):
        key = keys[standing.asset]
        record, materialization = last.get(key), made.get(key.asset_key)
        evaluation = record.evaluation if record else None
        # A run that was stopped leaves a record of an answer that was planned and never given.
        same = (
            isinstance(evaluation, dg.AssetCheckEvaluation)
            and evaluation.passed == standing.current
            and evaluation.metadata == standing.metadata()
        )
        # The event's own time: the record's is cut to whole seconds, in which an asset and its check often fall together.
        given = record.event.timestamp if record is not None and record.event is not None else 0.0
        older = materialization is not None and materialization.timestamp > given
        if same and not older:
            continue
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=key.asset_key,
                check_name=CURRENT,
                passed=standing.current,
                severity=dg.AssetCheckSeverity.WARN,
                description=standing.sentence,
                metadata=standing.metadata(),
            )
        )
        told.append(standing.asset)
    return told


@dg.multi_asset_check(
    name=CURRENT,
    specs=[dg.AssetCheckSpec(CURRENT, asset=asset, description=DESCRIPTION) for asset in ASSETS],
    can_subset=True,
)
def current(context: dg.AssetCheckExecutionContext, project: ProjectResource) -> Iterator[dg.AssetCheckResult]:
    """Ask the plan once for all assets that are asked about."""
    lineage = Lineage(project.open())
    asked = {key.asset_key.path[-1] for key in context.selected_asset_check_keys}
    for standing in standings(lineage, make_plan(lineage), [asset for asset in ASSETS if asset in asked]):
        yield dg.AssetCheckResult(
            asset_key=standing.asset,
            check_name=CURRENT,
            passed=standing.current,
            severity=dg.AssetCheckSeverity.WARN,
            description=standing.sentence,
            metadata=standing.metadata(),
        )


CHECKS: list[dg.AssetChecksDefinition] = [current]

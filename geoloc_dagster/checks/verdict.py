"""From a question about one target to a Dagster asset check.

A check is a plain function `(project, partition) -> Verdict` on what lies on the disk; `asset_check` makes the Dagster
definition of it, and notes a blocking refusal in the target's receipt.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from geoloc_core.errors import GeolocError
from geoloc_core.line.lineage import Target
from geoloc_core.line.project import Project
from geoloc_core.line.receipts import record_verdict
from geoloc_dagster.resources import ProjectResource


@dataclass(frozen=True)
class Verdict:
    """Whether it holds; if not, what is wrong, in words; and the figures that it rests on."""

    wrong: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.wrong


Question = Callable[[Project, str], Verdict]


def asset_check(
    asset: dg.AssetsDefinition, name: str, question: Question, *, blocking: bool
) -> dg.AssetChecksDefinition:
    """The check `name` on `asset`; its docstring is what the UI shows. It never raises for a fault of the content."""
    key = asset.key.path[-1]
    with warnings.catch_warnings():
        # Partitioned checks are marked as a preview in Dagster 1.13; without them the UI could not ask one partition.
        warnings.simplefilter("ignore", dg.PreviewWarning)

        @dg.asset_check(
            asset=asset,
            name=name,
            blocking=blocking,
            partitions_def=asset.partitions_def,
            description=" ".join((question.__doc__ or "").split()),
        )
        def ask(context: dg.AssetCheckExecutionContext, project: ProjectResource) -> dg.AssetCheckResult:
            opened = project.open()
            partition = str(context.partition_key) if context.has_partition_key else ""
            verdict = answer(question, opened, partition)
            if blocking:
                record_verdict(opened.layout, Target(key, partition), name, verdict.wrong)
            return dg.AssetCheckResult(
                passed=verdict.passed,
                severity=dg.AssetCheckSeverity.ERROR if blocking else dg.AssetCheckSeverity.WARN,
                description=verdict.wrong or "holds",
                metadata=dict(verdict.figures),
            )

    return ask


def answer(question: Question, project: Project, partition: str) -> Verdict:
    """Ask; an artifact that cannot even be read does not hold."""
    try:
        return question(project, partition)
    except GeolocError as error:
        return Verdict(wrong=str(error))

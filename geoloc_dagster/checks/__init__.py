"""What must hold of each artifact, as asset checks.

A *blocking* check stops what is downstream: in the same run by Dagster, in every later run by the receipt, which carries
the refusal. The others warn. A check is a plain function `(project, partition) -> Verdict` on what lies on the disk;
`asset_check` makes the Dagster definition of it.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from geoloc_core.errors import GeolocError
from geoloc_core.line.artifacts import LINE, Target
from geoloc_core.line.project import Project
from geoloc_core.line.receipts import record_verdict
from geoloc_dagster.build import partitions_definition
from geoloc_dagster.resources import ProjectResource


@dataclass(frozen=True)
class Verdict:
    """What is wrong, in words (an empty text where it holds), and the figures that it rests on."""

    fault: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.fault


Question = Callable[[Project, str], Verdict]


def asset_check(asset: str, name: str, question: Question, *, blocking: bool) -> dg.AssetChecksDefinition:
    """The check `name` on `asset`; its docstring is what the UI shows. It never raises for a fault of the content."""
    with warnings.catch_warnings():
        # Partitioned checks are marked as a preview in Dagster 1.13; without them the UI could not check one partition.
        warnings.simplefilter("ignore", dg.PreviewWarning)

        @dg.asset_check(
            asset=asset,
            name=name,
            blocking=blocking,
            partitions_def=partitions_definition(LINE[asset]),
            description=" ".join((question.__doc__ or "").split()),
        )
        def check(context: dg.AssetCheckExecutionContext, project: ProjectResource) -> dg.AssetCheckResult:
            opened = project.open()
            partition = str(context.partition_key) if context.has_partition_key else ""
            verdict = answer(question, opened, partition)
            if blocking:
                record_verdict(opened.layout, Target(asset, partition), name, verdict.fault)
            return dg.AssetCheckResult(
                passed=verdict.passed,
                severity=dg.AssetCheckSeverity.ERROR if blocking else dg.AssetCheckSeverity.WARN,
                description=verdict.fault or "holds",
                metadata=dict(verdict.figures),
            )

    return check


def answer(question: Question, project: Project, partition: str) -> Verdict:
    """Ask; an artifact that cannot even be read does not hold."""
    try:
        return question(project, partition)
    except GeolocError as error:
        return Verdict(str(error))

"""Make one target: take down its inputs' versions, carry out its step, write its receipt. No Dagster is needed."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoloc_core.errors import StaleArtifactError
from geoloc_core.line.artifacts import LINE, Target, setting_versions, upstream
from geoloc_core.line.project import Project
from geoloc_core.line.receipts import Receipt, Stamp, read_receipt, write_receipt
from geoloc_core.line.steps import Job, Output


@dataclass(frozen=True)
class Made:
    """A target that was made: the receipt as written, and what is known of the content."""

    receipt: Receipt
    facts: Mapping[str, Any]


# Called after the step and before the receipt, with the output and the inputs' versions; what it returns joins the facts.
Recorder = Callable[[Output, Mapping[str, str]], Mapping[str, Any]]


def make(job: Job, asset: str, run_id: str = "", record: Recorder = lambda output, made_from: {}) -> Made:
    """Make the target of `asset` that the job is about, whether it is stale or not.

    `record` tells others of the output (MLflow); where it fails there is no receipt, and so a later plan tries again.
    """
    project, target, row = job.project, Target(asset, job.key), LINE[asset]
    project.settle()
    made_from = input_versions(project, target)
    output: Output = getattr(importlib.import_module(f"geoloc_core.line.steps.{row.group}"), asset)(job)
    recorded = record(output, made_from)

    def stamps(paths: Iterable[Path]) -> dict[str, Stamp]:
        return {_name(project.home, path): Stamp.of(path) for path in paths}

    receipt = Receipt(
        asset=asset,
        partition=job.key,
        code_version=row.version,
        data_version=output.version,
        made_from=made_from,
        files=stamps(output.files),
        rows=output.rows,
        run_id=run_id,
        watched=stamps(output.watched),
    )
    write_receipt(project.layout, receipt)
    return Made(receipt, {**output.facts, **recorded})


def input_versions(project: Project, target: Target) -> dict[str, str]:
    """The version of every input of a target, as things are; an input that was never made is an error that says so."""
    versions = {}
    for item in upstream(project.profile, target):
        receipt = read_receipt(project.layout, item)
        if receipt is None:
            raise StaleArtifactError(
                f"{target} is made from {item}, which does not exist; materialize {item.asset} first, or run `geoloc refresh`"
            )
        if receipt.refused:
            raise StaleArtifactError(f"{target} is made from {item}: {receipt.refusal}")
        versions[str(item)] = receipt.data_version
    return versions | setting_versions(project.profile, target)


def _name(home: Path, path: Path) -> str:
    """Relative to the data folder where it lies below it, so that the folder can be moved."""
    return str(path.relative_to(home)) if path.is_relative_to(home) else str(path.absolute())

"""Reports whose denominators are all photos."""

import dagster as dg

from geoloc_dagster.assets import evaluation
from geoloc_dagster.checks.verdict import Verdict, asset_check
from geoloc_dagster.project import Project


def validation_denominator(project: Project, key: str) -> Verdict:
    """Every validation photo is in the denominator, once."""
    from geoloc_core.evaluation.predictions import read_predictions

    predictions = read_predictions(project.layout.validation_report(key) / "predictions.parquet")
    photos = project.warehouse().read_table("training_photos", {"split": "validation"}, columns=["photo_id"])
    same = sorted(predictions["photo_id"]) == sorted(photos["photo_id"])
    wrong = "" if same else f"{len(predictions)} predictions do not name the {len(photos)} validation photos"
    return Verdict(wrong, {"photos": len(photos), "missing": int((predictions["status"] != "ok").sum())})


def benchmark_denominator(project: Project, key: str) -> Verdict:
    """Every photo of the benchmark is in the denominator, once, those without a picture included."""
    from geoloc_core.evaluation.predictions import read_predictions

    benchmark, experiment = key.split("|")
    predictions = read_predictions(project.layout.benchmark_report(experiment, benchmark) / "predictions.parquet")
    photos = project.warehouse().read_table("labeled_photos", {"shard": benchmark}, columns=["photo_id"])
    same = sorted(predictions["photo_id"]) == sorted(photos["photo_id"])
    wrong = "" if same else f"{len(predictions)} predictions do not name the {len(photos)} photos of {benchmark}"
    return Verdict(wrong, {"photos": len(photos), "missing": int((predictions["status"] != "ok").sum())})


CHECKS: list[dg.AssetChecksDefinition] = [
    asset_check(evaluation.validation_report, "denominator", validation_denominator, blocking=True),
    asset_check(evaluation.benchmark_report, "denominator", benchmark_denominator, blocking=True),
]

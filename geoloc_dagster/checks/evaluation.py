"""Reports whose denominators are all photos."""

import dagster as dg

from geoloc_core.line.project import Project
from geoloc_dagster.assets import evaluation
from geoloc_dagster.checks.verdict import Verdict, asset_check


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


def no_worse_than_the_champion(project: Project, _: str) -> Verdict:
    """The best present head is not worse than the standing champion beyond the interval of their paired difference. Where it
    is, the champion stays, and somebody should look at what changed in the data.
    """
    from geoloc_core.evaluation.baselines import CLASS_PRIOR
    from geoloc_core.storage import read_json

    last = read_json(project.layout.champion_decision)[0]
    gain = last["gain"]
    if gain is None or last["opponent"] == CLASS_PRIOR:
        return Verdict("", {"champion": last["experiment"]})
    figures = {
        "champion": last["opponent"],
        "challenger": last["challenger"],
        **{f"gain_{k}": v for k, v in gain.items()},
    }
    span = f"{gain['value']:+.1f} [{gain['low']:+.1f}, {gain['high']:+.1f}]"
    told = f"{last['challenger']} is worse than the champion {last['opponent']} in {last['metric']}: {span}"
    return Verdict(told if gain["high"] < 0 else "", figures)


CHECKS: list[dg.AssetChecksDefinition] = [
    asset_check(evaluation.validation_report, "denominator", validation_denominator, blocking=True),
    asset_check(evaluation.benchmark_report, "denominator", benchmark_denominator, blocking=True),
    asset_check(evaluation.champion, "no_worse_than_the_champion", no_worse_than_the_champion, blocking=False),
]

"""How well the sample is located, beside its class prior and scikit-learn's logistic regression on the same vectors.

    python benchmarks/sample.py [--home FOLDER]

Brings the data folder of profile `sample` up to date, takes the experiment that is best on the validation photos, and asks for
its figures on the benchmarks, whose authors nothing learned from. Beside it LogisticRegression is fitted on the same
training photos and vectors, standardised, its C chosen by five-fold cross-validation over their authors. Differences are
paired, with the 95 % interval of the bootstrap over authors. Writes .bench/sample.json, shares in per cent:

country_top1, country_top5, prior_top1, sklearn_top1, continent_top1, subdivision_top1 (of the best experiment that answers with
sub-divisions); gain_over_prior and gain_over_sklearn [difference, low, high]; default_top1 (recipe `default`, linear, the
same vectors; null where the profile has it not); osv5m_country_top1 (the second benchmark, street views by place; null
where the sample has none); seconds; experiment, benchmark, photos and sklearn_c.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from geoloc_core.evaluation.baselines import class_prior_predictions
from geoloc_core.evaluation.evaluate import Evaluation
from geoloc_core.evaluation.intervals import bootstrap, difference
from geoloc_core.evaluation.metrics import score
from geoloc_core.evaluation.predictions import continents, predictions_frame, read_predictions
from geoloc_core.geography.boundaries import read_boundaries
from geoloc_core.geography.cells import ROOT, id_column
from geoloc_core.line.inputs import LEARNED_FROM, read_blocks, read_one_point
from geoloc_core.line.project import Project, open_project
from geoloc_core.storage import read_json, write_json

REPOSITORY = Path(__file__).resolve().parents[1]
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)
FOLDS = 5
STREET_VIEWS = "osv5m-street"


def main() -> None:
    """Refresh, fit, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", help="the data folder, where it is not .geoloc/sample")
    home = ["--home", arguments.home] if (arguments := parser.parse_args()).home else []
    started = time.perf_counter()
    command = [sys.executable, "-m", "geoloc_dagster.cli", "refresh", "--profile", "sample", *home]
    subprocess.run(command, check=True)
    results = compare(open_project("sample", arguments.home))
    results["seconds"] = round(time.perf_counter() - started, 1)
    write_json(REPOSITORY / ".bench" / "sample.json", results)
    for name, value in results.items():
        print(f"{name:>20} {value}")


def compare(project: Project) -> dict[str, Any]:
    """All figures but the time, from the artifacts of a project that is up to date."""
    profile, layout = project.profile, project.layout
    keys = profile.experiment_keys()
    validation = {
        key: Evaluation.from_json(read_json(layout.validation_report(key) / "evaluation.json")) for key in keys
    }
    best = max(keys, key=lambda key: validation[key].scores["accuracy"])
    finer = [key for key in keys if profile.experiment(key).level != ROOT]
    best_finer = max(finer, key=lambda key: validation[key].scores["subdivision_accuracy"], default="")
    benchmark = profile.benchmark_names()[0]

    def answers(key: str, photos: str = benchmark) -> pd.DataFrame:
        return read_predictions(layout.benchmark_report(key, photos) / "predictions.parquet")

    ours = answers(best)
    training = project.warehouse().read_table("training_photos")
    photos = project.warehouse().read_table("labeled_photos", {"shard": benchmark})
    others: dict[str, Any] = {
        "continents": continents(read_boundaries(layout.regions)),
        "status": ours["status"].tolist(),
    }
    prior = class_prior_predictions(training, photos, read_one_point(layout)[ROOT], **others)
    posterior, classes, inverse_penalty = scikit_learn(project, best, training, photos, benchmark)
    points = photos[["latitude", "longitude"]].to_numpy()  # only countries are compared
    theirs = predictions_frame(photos, posterior, classes, points, **others)
    boots = {name: bootstrap(frame) for name, frame in {"ours": ours, "prior": prior, "sklearn": theirs}.items()}
    experiment = profile.experiment(best)
    default = [key for key in keys if key.startswith(f"{experiment.features}.linear.") and key.endswith(".default")]
    scores = score(ours)
    gains = {name: difference(boots["ours"], boots[name], "accuracy") for name in ("prior", "sklearn")}
    return {
        "country_top1": scores["accuracy"],
        "country_top5": scores["top5"],
        "prior_top1": score(prior)["accuracy"],
        "sklearn_top1": score(theirs)["accuracy"],
        "default_top1": score(answers(default[0]))["accuracy"] if default else None,
        "continent_top1": scores["continent_accuracy"],
        "subdivision_top1": score(answers(best_finer))["subdivision_accuracy"] if best_finer else None,
        **{f"gain_over_{name}": [gain.value, gain.low, gain.high] for name, gain in gains.items()},
        "osv5m_country_top1": score(answers(best, STREET_VIEWS))["accuracy"]
        if STREET_VIEWS in profile.benchmark_names()
        else None,
        "experiment": best,
        "benchmark": benchmark,
        "photos": len(ours),
        "sklearn_c": inverse_penalty,
    }


def scikit_learn(
    project: Project, experiment: str, training: pd.DataFrame, photos: pd.DataFrame, benchmark: str
) -> tuple[np.ndarray, list[str], float]:
    """Posterior (n, K) of `photos`, its countries, and the C that cross-validation by author chose."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, GroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    profile, layout = project.profile, project.layout
    backbones = profile.backbones_of(experiment)
    learned = training.loc[training["split"] == "train", list(LEARNED_FROM)].reset_index(drop=True)
    blocks, present = read_blocks(layout, backbones, profile.training_shards(), learned)
    rows = present & (learned[id_column(ROOT)] != "").to_numpy()
    vectors = np.hstack(blocks).astype(np.float32)[rows]
    countries, authors = (learned.loc[rows, name].to_numpy(object) for name in (id_column(ROOT), "author_id"))
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=300, tol=1e-3)),
        {"logisticregression__C": PENALTIES},
        cv=GroupKFold(FOLDS),
    )
    search.fit(vectors, countries, groups=authors)
    blocks, _ = read_blocks(layout, backbones, (benchmark,), photos)
    posterior = search.predict_proba(np.hstack(blocks).astype(np.float32))
    return posterior, search.classes_.tolist(), search.best_params_["logisticregression__C"]


if __name__ == "__main__":
    main()

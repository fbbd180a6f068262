"""Tables 1, 2 and 3, the maps and the HTML report of a project, from the reports of its experiments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from geoloc_core.evaluation.baselines import (
    CLASS_PRIOR,
    CONSTANT_POINT,
    class_prior_predictions,
    constant_point_predictions,
)
from geoloc_core.evaluation.evaluate import VALIDATION, Evaluation, evaluate
from geoloc_core.evaluation.maps import country_map, country_value_map, coverage_map, error_map
from geoloc_core.evaluation.metrics import scores_by
from geoloc_core.evaluation.page import Picture
from geoloc_core.evaluation.predictions import read_predictions
from geoloc_core.evaluation.report import results_report
from geoloc_core.evaluation.tables import table1, table2, table3, to_csv, to_json, to_markdown
from geoloc_core.experiments import continents, read_anchors
from geoloc_core.geography.boundaries import BoundarySet, read_boundaries
from geoloc_core.layout import Layout
from geoloc_core.photos.rows import read_rows
from geoloc_core.photos.warehouse import Warehouse
from geoloc_core.profile import Profile
from geoloc_core.storage import read_json, write_bytes, write_text


@dataclass(frozen=True)
class WrittenResults:
    """Every file written, the HTML report among them, and the tables as Markdown by name."""

    files: list[Path]
    report: Path
    tables: dict[str, str]


def write_results(profile: Profile, layout: Layout, warehouse: Warehouse) -> WrittenResults:
    """Gather the reports of all experiments, put the two honest rows beside them, and write everything people look at."""
    boundaries = read_boundaries(layout.regions)
    training = warehouse.read_table("training_photos")
    distribution = read_rows(layout.home / "class_distribution" / "class_distribution.parquet")
    evaluations = gather_evaluations(profile, layout, training, warehouse, boundaries)
    on_validation = [item for item in evaluations if item.photos == VALIDATION]
    on_benchmarks = [item for item in evaluations if item.photos != VALIDATION]
    tables = {
        "table1": table1(distribution),
        "table2": table2(on_validation).drop(columns="benchmark"),
        "table3": table3(on_benchmarks),
    }
    folder = layout.results
    files: list[Path] = []
    markdown = {name: f"{TITLES[name]}\n\n{to_markdown(table)}" for name, table in tables.items()}
    for name, table in tables.items():
        for suffix, text in (("md", markdown[name]), ("csv", to_csv(table)), ("json", to_json(table))):
            files.append(folder / f"{name}.{suffix}")
            write_text(files[-1], text)
    pictures = _maps(profile, layout, training, boundaries, best_experiment(on_validation))
    for name, picture in pictures.items():
        files.append(folder / f"{name}.png")
        write_bytes(files[-1], picture.content)
    facts = {
        "Profile": profile.name,
        "Boundaries": f"{boundaries.name} ({boundaries.attribution})",
        "Training photos": f"{int((training['split'] == 'train').sum()):,}",
        "Validation photos": f"{int((training['split'] == 'validation').sum()):,}, of other authors",
        "Point of a region": profile.anchor,
        "Seed": str(profile.seed),
    }
    report = folder / "report.html"
    page = results_report(
        notice=profile.notice,
        distribution=distribution,
        evaluations=evaluations,
        pictures=list(pictures.values()),
        facts=facts,
        title=f"geoloc: results of the profile {profile.name}",
    )
    write_text(report, page)
    return WrittenResults([*files, report], report, markdown)


TITLES = {
    "table1": "**Table 1.** Photos of each country: the largest, the smallest, mean and median.",
    "table2": "**Table 2.** Validation photos, of authors never learned from. In brackets: 95 % interval over authors.",
    "table3": "**Table 3.** Per cent of the benchmark's photos answered within a distance; missing photos count as wrong.",
}


def gather_evaluations(
    profile: Profile, layout: Layout, training: pd.DataFrame, warehouse: Warehouse, boundaries: BoundarySet
) -> list[Evaluation]:
    """The evaluations of all experiments on all sets of photos, and of the class prior and the best constant point."""
    keys = profile.experiment_keys()
    found = [_read(layout.validation_report(key)) for key in keys]
    anchors = read_anchors(layout)["country"]
    centroids = anchors[anchors["kind"] == "centroid"]
    names = continents(boundaries)
    validation = training[training["split"] == "validation"].reset_index(drop=True)
    found += _honest_rows(training, validation, centroids, names, VALIDATION, layout.validation_report(keys[0]))
    labeled = warehouse.read_table("labeled_photos", {"shard": list(profile.benchmark_names())})
    for benchmark in profile.benchmark_names():
        found += [_read(layout.benchmark_report(key, benchmark)) for key in keys]
        photos = labeled[labeled["shard"] == benchmark].reset_index(drop=True)
        folder = layout.benchmark_report(keys[0], benchmark)
        found += _honest_rows(training, photos, centroids, names, benchmark, folder)
    return found


def _read(folder: Path) -> Evaluation:
    return Evaluation.from_json(read_json(folder / "evaluation.json"))


def _honest_rows(
    training: pd.DataFrame,
    photos: pd.DataFrame,
    centroids: pd.DataFrame,
    names: Mapping[str, str],
    called: str,
    folder: Path,
) -> list[Evaluation]:
    """What can be scored without looking, over the same photos; one without a picture is missing for them as well."""
    asked = read_predictions(folder / "predictions.parquet").set_index("photo_id")["status"]
    status = asked.reindex(photos["photo_id"]).tolist()
    prior = class_prior_predictions(training, photos, centroids, continents=names, status=status)
    point = constant_point_predictions(training, photos, continents=names, status=status)
    return [
        evaluate(CLASS_PRIOR, prior, photos=called, kind="baseline"),
        evaluate(CONSTANT_POINT, point, photos=called, kind="baseline"),
    ]


def best_experiment(evaluations: list[Evaluation]) -> str:
    """The experiment with the highest accuracy; of equals the first."""
    return max(
        (item for item in evaluations if item.kind == "experiment"), key=lambda item: item.scores["accuracy"]
    ).name


def _maps(
    profile: Profile, layout: Layout, training: pd.DataFrame, boundaries: BoundarySet, best: str
) -> dict[str, Picture]:
    pictures = {
        "map_coverage": Picture(
            "Where the photos were taken that heads learn from and are validated on.",
            coverage_map(
                training["latitude"].to_numpy(), training["longitude"].to_numpy(), boundaries, "Training photos"
            ),
            "World map of the density of training photos",
        ),
        f"map_{profile.map_country}": Picture(
            f"{profile.map_country}, its sub-divisions and their centroids, and the photos taken there.",
            country_map(
                boundaries, profile.map_country, photos=training[training["country_id"] == profile.map_country]
            ),
            f"Map of {profile.map_country} with sub-divisions",
        ),
    }
    validation = read_predictions(layout.validation_report(best) / "predictions.parquet")
    recall = scores_by(validation, "country_id").set_index("country_id")["accuracy"]
    pictures["map_recall"] = Picture(
        f"Share of the validation photos of each country that `{best}` puts there.",
        country_value_map(recall, boundaries, f"Recall by country, {best}", "per cent"),
        "World map of recall by country",
    )
    for benchmark in profile.benchmark_names():
        predictions = read_predictions(layout.benchmark_report(best, benchmark) / "predictions.parquet")
        pictures[f"map_errors_{benchmark}"] = Picture(
            f"Errors of `{best}` on {benchmark}: a line leads from where a photo was taken to where it was put.",
            error_map(predictions, boundaries, f"{benchmark}, {best}"),
            f"World map of the errors on {benchmark}",
        )
    return pictures

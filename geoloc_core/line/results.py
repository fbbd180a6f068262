"""Tables 1, 2 and 3, the maps and the HTML report of a project, from the reports of its experiments."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from geoloc_core.answers.kinds import ANCHOR_OF_RULE
from geoloc_core.errors import StaleArtifactError
from geoloc_core.evaluation import result_tables
from geoloc_core.evaluation.baselines import CLASS_PRIOR, PERFECT, baseline_predictions, perfect_predictions
from geoloc_core.evaluation.certainty import Certainty
from geoloc_core.evaluation.comparison import comparison_table
from geoloc_core.evaluation.evaluate import VALIDATION, PhotoSet, evaluate_set
from geoloc_core.evaluation.fairness import recall_by_country
from geoloc_core.evaluation.maps import country_map, country_value_map, coverage_map, error_map
from geoloc_core.evaluation.predictions import continents, read_predictions
from geoloc_core.evaluation.published import thesis_rows
from geoloc_core.evaluation.report import results_report
from geoloc_core.evaluation.result_tables import TABLE2_METRICS, TABLE3_METRICS, scores_table
from geoloc_core.geography.boundaries import BoundarySet, read_boundaries
from geoloc_core.geography.cells import ROOT
from geoloc_core.line.inputs import LEARNED_FROM, forget_vectors, read_one_point
from geoloc_core.line.layout import Layout
from geoloc_core.line.profile import Profile
from geoloc_core.line.project import picture_folder_of
from geoloc_core.line.zero_shot_baseline import ZeroShot, zero_shot_heads, zero_shot_predictions
from geoloc_core.photos.rows import read_rows
from geoloc_core.photos.warehouse import Warehouse
from geoloc_core.storage import read_json, write_bytes, write_text

TITLES = {
    "table1": "**Table 1.** Photos of each country: the largest, the smallest, mean and median.",
    "table2": "**Table 2.** Validation photos, of authors never learned from. In brackets: 95 % interval over authors.",
    "comparison": "**Differences** on the validation photos, paired: the same photos, the same resamples of authors. One whose "
    "95 % interval holds zero is a tie.",
    "table3": "**Table 3.** Per cent of the benchmark's photos answered within a distance; missing photos count as wrong.",
}


@dataclass(frozen=True)
class WrittenResults:
    """Every file written, the HTML report among them, and the tables as Markdown by name."""

    files: list[Path]
    report: Path
    tables: dict[str, str]


def write_results(profile: Profile, layout: Layout, warehouse: Warehouse, checkpoints: Path) -> WrittenResults:
    """Gather the reports of all experiments, put baselines and ceilings beside them, and write all that people look at."""
    # All heads are trained and reported on: their vectors make room for the resamples.
    forget_vectors()
    boundaries = read_boundaries(layout.regions)
    training = warehouse.read_table("training_photos", columns=LEARNED_FROM)
    distribution = read_rows(layout.home / "class_distribution" / "class_distribution.parquet")
    zero_shot = zero_shot_heads(profile, checkpoints, boundaries)
    photo_sets = _photo_sets(profile, layout, training, warehouse, boundaries, zero_shot)
    features = {name: [profile.backbone(each) for each in names] for name, names in profile.features.items()}
    datasets = [dataset.name for dataset in profile.training] + (["sample"] if profile.drawn else [])
    evaluations = []
    for name, photos in photo_sets.items():
        evaluations += evaluate_set(name, photos.experiments, photos.baselines, photos.ceilings)
        evaluations += thesis_rows(name, datasets, features)
    on_validation = [item for item in evaluations if item.photos == VALIDATION]
    candidates = [item for item in on_validation if item.kind == "experiment"]
    best = max(candidates, key=lambda item: item.scores["accuracy"]).name
    comparisons = _comparisons(profile, photo_sets[VALIDATION])
    tables = {
        "table1": result_tables.table1(distribution),
        "table2": scores_table(on_validation, TABLE2_METRICS).drop(columns="benchmark"),
        "table3": scores_table([item for item in evaluations if item.photos != VALIDATION], TABLE3_METRICS),
        "comparison": pd.concat([table for table, _ in comparisons.values()], ignore_index=True),
    }
    markdown = {name: f"{TITLES[name]}\n\n{result_tables.to_markdown(table)}" for name, table in tables.items()}
    sentences = [f"- {words}\n" for _, of_reference in comparisons.values() for words in of_reference]
    markdown["comparison"] += "\n" + "".join(sentences)
    files: list[Path] = []
    for name, table in tables.items():
        texts = {
            "md": markdown[name],
            "csv": table.to_csv(index=False),
            "json": result_tables.to_json(table),
        }
        for suffix, text in texts.items():
            files.append(layout.results / f"{name}.{suffix}")
            write_text(files[-1], text)
    maps = _maps(training, boundaries, profile.map_country, photo_sets, best)
    benchmarks = profile.benchmark_names()
    for name, content in maps.items():
        files.append(layout.results / f"map_{name}.png")
        write_bytes(files[-1], content)
    page = results_report(
        title=f"geoloc: results of the profile {profile.name}",
        notice=profile.notice,
        facts={
            "Profile": profile.name,
            "Boundaries": f"{boundaries.name} ({boundaries.attribution})",
            "Training photos": f"{int((training['split'] == 'train').sum()):,}",
            "Validation photos": f"{int((training['split'] == 'validation').sum()):,}, of other authors",
            "Point of an answer": "; ".join(f"{key}: {profile.answer_of(key)}" for key in profile.experiment_keys()),
            "Seed": str(profile.seed),
            **{f"No zero-shot row for {name}": why for name, why in zero_shot.left_out.items()},
        },
        distribution=distribution,
        evaluations=evaluations,
        photo_sets=photo_sets,
        comparisons=comparisons,
        certainties=_certainties(profile, layout),
        best=best,
        training=training,
        boundaries=boundaries,
        maps={
            "coverage": maps["coverage"],
            "country_id": profile.map_country,
            "country": maps[profile.map_country],
            "recall": maps["recall"],
            "errors": {name: maps[f"errors_{name}"] for name in benchmarks},
        },
        files=_picture_files(profile, layout, benchmarks[0]) if benchmarks else {},
        limits=profile.images,
    )
    report = layout.results / "report.html"
    write_text(report, page)
    return WrittenResults([*files, report], report, markdown)


def _photo_sets(
    profile: Profile,
    layout: Layout,
    training: pd.DataFrame,
    warehouse: Warehouse,
    boundaries: BoundarySet,
    zero_shot: ZeroShot,
) -> dict[str, PhotoSet]:
    """For the validation photos and each benchmark: the answers of experiments, baselines and ceilings."""
    prior_points = read_one_point(layout)[ROOT]
    # The ceiling of every kind of point that an experiment answers with.
    kinds = dict.fromkeys(ANCHOR_OF_RULE.get(how, how) for how in map(profile.answer_of, profile.experiment_keys()))
    ceilings = {
        f"{PERFECT}, {level}, {kind}": (level, points)
        for kind in kinds
        for level, points in read_one_point(layout, kind).items()
    }
    labeled = warehouse.read_table("labeled_photos", {"shard": list(profile.benchmark_names())})
    photos_of = {VALIDATION: training[training["split"] == "validation"].reset_index(drop=True)}
    photos_of |= {name: labeled[labeled["shard"] == name].reset_index(drop=True) for name in profile.benchmark_names()}
    photo_sets = {}
    for name, photos in photos_of.items():
        reports = _reports(profile, layout, name)
        experiments = {key: read_predictions(folder / "predictions.parquet") for key, folder in reports.items()}
        # A photo without a picture is missing as well for those that do not look at it.
        first = next(iter(experiments.values()))
        if not np.array_equal(first["photo_id"], photos["photo_id"]):
            raise StaleArtifactError(f"the report on {name} is of other photos than there are; run `geoloc refresh`")
        shards = profile.training_shards() if name == VALIDATION else (name,)
        others: dict[str, Any] = {"continents": continents(boundaries), "status": first["status"].tolist()}
        baselines = baseline_predictions(training, photos, prior_points, **others)
        baselines |= zero_shot_predictions(zero_shot, layout, photos, shards, prior_points, boundaries)
        perfect = {
            row: perfect_predictions(photos, points, level=level, **others) for row, (level, points) in ceilings.items()
        }
        photo_sets[name] = PhotoSet(experiments, baselines, perfect)
    return photo_sets


def _reports(profile: Profile, layout: Layout, photos: str) -> dict[str, Path]:
    """Folder of each experiment's report on a set of photos."""
    return {
        key: layout.validation_report(key) if photos == VALIDATION else layout.benchmark_report(key, photos)
        for key in profile.experiment_keys()
    }


def _certainties(profile: Profile, layout: Layout) -> dict[str, dict[str, Certainty]]:
    """For each set of photos what each experiment promised of its certainty, and kept."""
    return {
        photos: {
            key: Certainty.model_validate(read_json(folder / "certainty.json"))
            for key, folder in _reports(profile, layout, photos).items()
            if (folder / "certainty.json").is_file()
        }
        for photos in (VALIDATION, *profile.benchmark_names())
    }


def _comparisons(profile: Profile, validation: PhotoSet) -> dict[str, tuple[pd.DataFrame, list[str]]]:
    """By name of the reference: all against the class prior, and against the best experiment of the thesis's recipe."""
    references = {CLASS_PRIOR: {**validation.experiments, CLASS_PRIOR: validation.baselines[CLASS_PRIOR]}}
    of_thesis = [key for key in validation.experiments if profile.experiment(key).recipe == "thesis"]
    if of_thesis and len(validation.experiments) > 1:
        best = max(of_thesis, key=lambda key: float((validation.experiments[key]["rank"] == 1).mean()))
        references[best] = dict(validation.experiments)
    return {name: comparison_table(frames, name) for name, frames in references.items()}


def _maps(
    training: pd.DataFrame, boundaries: BoundarySet, country: str, photo_sets: dict[str, PhotoSet], best: str
) -> dict[str, bytes]:
    """PNGs by name: coverage, one country, recall of the best experiment, and its errors on each benchmark."""
    recall = recall_by_country(photo_sets[VALIDATION].experiments[best], {}).set_index("country_id")["recall"]
    errors = {
        f"errors_{name}": error_map(photos.experiments[best], boundaries, f"{name}, {best}")
        for name, photos in photo_sets.items()
        if name != VALIDATION
    }
    return {
        "coverage": coverage_map(training, boundaries, "Training photos"),
        country: country_map(boundaries, country, photos=training[training["country_id"] == country]),
        "recall": country_value_map(recall, boundaries, f"Recall by country, {best}", "per cent"),
        **errors,
    }


def _picture_files(profile: Profile, layout: Layout, shard: str) -> dict[str, Path]:
    """The picture of each photo of a shard."""
    manifest, root = read_rows(layout.images(shard)), picture_folder_of(profile, layout, shard)
    return {name: root / path for name, path in zip(manifest["photo_id"], manifest["image_path"], strict=True)}

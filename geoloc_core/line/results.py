"""Tables 1, 2 and 3, the maps and the HTML report of a project, from the reports of its experiments."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from geoloc_core.answers.answer import ANCHOR_OF_RULE
from geoloc_core.errors import StaleArtifactError
from geoloc_core.evaluation.baselines import (
    CLASS_PRIOR,
    CONSTANT_POINT,
    PERFECT,
    RANDOM_PHOTO,
    class_prior_predictions,
    constant_point_predictions,
    perfect_predictions,
    random_photo_predictions,
)
from geoloc_core.evaluation.certainty import Certainty
from geoloc_core.evaluation.details import (
    certainty_section,
    comparison_section,
    comparison_table,
    confusion_section,
    distance_section,
    fairness_section,
    mistakes_section,
    verdict_sentences,
)
from geoloc_core.evaluation.evaluate import VALIDATION, Evaluation, evaluate_set
from geoloc_core.evaluation.maps import country_map, country_value_map, coverage_map, error_map
from geoloc_core.evaluation.metrics import scores_by
from geoloc_core.evaluation.page import Picture, Section
from geoloc_core.evaluation.predictions import read_predictions
from geoloc_core.evaluation.published import thesis_rows
from geoloc_core.evaluation.report import results_report
from geoloc_core.evaluation.tables import table1, table2, table3, to_csv, to_json, to_markdown
from geoloc_core.geography.boundaries import BoundarySet, read_boundaries
from geoloc_core.line.experiments import LEARNED_FROM, continents, read_one_point
from geoloc_core.line.layout import Layout
from geoloc_core.line.profile import Profile
from geoloc_core.line.project import picture_folder_of
from geoloc_core.line.vectors import forget_vectors
from geoloc_core.line.zero_shot_baseline import ZeroShot, zero_shot_heads, zero_shot_predictions
from geoloc_core.photos.rows import read_rows
from geoloc_core.photos.warehouse import Warehouse
from geoloc_core.storage import read_json, write_bytes, write_text


@dataclass(frozen=True)
class SetOfPhotos:
    """Predictions over the same photos, by name."""

    experiments: dict[str, pd.DataFrame]
    baselines: dict[str, pd.DataFrame]
    ceilings: dict[str, pd.DataFrame]


@dataclass(frozen=True)
class WrittenResults:
    """Every file written, the HTML report among them, and the tables as Markdown by name."""

    files: list[Path]
    report: Path
    tables: dict[str, str]


def write_results(profile: Profile, layout: Layout, warehouse: Warehouse, checkpoints: Path) -> WrittenResults:
    """Gather the reports of all experiments, put the two honest rows beside them, and write everything people look at."""
    # All heads are trained and reported on: their vectors make room for the resamples.
    forget_vectors()
    boundaries = read_boundaries(layout.regions)
    training = warehouse.read_table("training_photos", columns=LEARNED_FROM)
    distribution = read_rows(layout.home / "class_distribution" / "class_distribution.parquet")
    zero_shot = zero_shot_heads(profile, checkpoints, boundaries)
    gathered = gather_predictions(profile, layout, training, warehouse, boundaries, zero_shot)
    evaluations = [
        row
        for called, photos in gathered.items()
        for row in [
            *evaluate_set(called, photos.experiments, photos.baselines, photos.ceilings),
            *thesis_figures(profile, called),
        ]
    ]
    on_validation = [item for item in evaluations if item.photos == VALIDATION]
    on_benchmarks = [item for item in evaluations if item.photos != VALIDATION]
    tables = {
        "table1": table1(distribution),
        "table2": table2(on_validation).drop(columns="benchmark"),
        "table3": table3(on_benchmarks),
    }
    tables["comparison"], verdicts = compared(profile, gathered[VALIDATION])
    folder = layout.results
    files: list[Path] = []
    markdown = {name: f"{TITLES[name]}\n\n{to_markdown(table)}" for name, table in tables.items()}
    markdown["comparison"] += f"\n{verdicts}\n"
    for name, table in tables.items():
        for suffix, text in (("md", markdown[name]), ("csv", to_csv(table)), ("json", to_json(table))):
            files.append(folder / f"{name}.{suffix}")
            write_text(files[-1], text)
    best = best_experiment(on_validation)
    pictures = _maps(profile, training, boundaries, gathered, best)
    for name, picture in pictures.items():
        files.append(folder / f"{name}.png")
        write_bytes(files[-1], picture.content)
    facts = {
        "Profile": profile.name,
        "Boundaries": f"{boundaries.name} ({boundaries.attribution})",
        "Training photos": f"{int((training['split'] == 'train').sum()):,}",
        "Validation photos": f"{int((training['split'] == 'validation').sum()):,}, of other authors",
        "Point of an answer": "; ".join(f"{key}: {profile.answer_of(key)}" for key in profile.experiment_keys()),
        "Seed": str(profile.seed),
        **{f"No zero-shot row for {name}": why for name, why in zero_shot.left_out.items()},
    }
    report = folder / "report.html"
    page = results_report(
        notice=profile.notice,
        distribution=distribution,
        evaluations=evaluations,
        pictures=list(pictures.values()),
        sections=_details(profile, layout, training, boundaries, gathered, best),
        facts=facts,
        title=f"geoloc: results of the profile {profile.name}",
    )
    write_text(report, page)
    return WrittenResults([*files, report], report, markdown)


TITLES = {
    "table1": "**Table 1.** Photos of each country: the largest, the smallest, mean and median.",
    "table2": "**Table 2.** Validation photos, of authors never learned from. In brackets: 95 % interval over authors.",
    "comparison": "**Differences** on the validation photos, paired: the same photos, the same resamples of authors. One whose "
    "95 % interval holds zero is a tie.",
    "table3": "**Table 3.** Per cent of the benchmark's photos answered within a distance; missing photos count as wrong.",
}


def gather_predictions(
    profile: Profile,
    layout: Layout,
    training: pd.DataFrame,
    warehouse: Warehouse,
    boundaries: BoundarySet,
    zero_shot: ZeroShot,
) -> dict[str, SetOfPhotos]:
    """For the validation photos and each benchmark: who answered what, the baselines and the ceiling among them."""
    keys = profile.experiment_keys()
    prior_points = read_one_point(layout)["country"]
    # The ceiling of every kind of point that an experiment answers with.
    kinds = dict.fromkeys(ANCHOR_OF_RULE.get(how, how) for how in map(profile.answer_of, keys))
    ceilings = {kind: read_one_point(layout, kind) for kind in kinds}
    validation = training[training["split"] == "validation"].reset_index(drop=True)
    sets = {VALIDATION: (validation, {key: layout.validation_report(key) for key in keys})}
    labeled = warehouse.read_table("labeled_photos", {"shard": list(profile.benchmark_names())})
    for benchmark in profile.benchmark_names():
        photos = labeled[labeled["shard"] == benchmark].reset_index(drop=True)
        sets[benchmark] = (photos, {key: layout.benchmark_report(key, benchmark) for key in keys})
    shards_of = {VALIDATION: profile.training_shards(), **{name: (name,) for name in profile.benchmark_names()}}
    names = continents(boundaries)
    gathered = {}
    for called, (photos, folders) in sets.items():
        answers = {key: read_predictions(folder / "predictions.parquet") for key, folder in folders.items()}
        # A photo without a picture is missing for those as well that do not look.
        first = answers[keys[0]]
        if not np.array_equal(first["photo_id"], photos["photo_id"]):
            raise StaleArtifactError(
                f"the report on {called} is of other photos than there are now; run `geoloc refresh`"
            )
        status = first["status"].tolist()
        gathered[called] = SetOfPhotos(
            answers,
            {
                CLASS_PRIOR: class_prior_predictions(training, photos, prior_points, continents=names, status=status),
                CONSTANT_POINT: constant_point_predictions(training, photos, continents=names, status=status),
                RANDOM_PHOTO: random_photo_predictions(training, photos, continents=names, status=status),
                **zero_shot_predictions(zero_shot, layout, photos, shards_of[called], prior_points, boundaries),
            },
            {
                f"{PERFECT}, {level}, {kind}": perfect_predictions(
                    photos, point, continents=names, level=level, status=status
                )
                for kind, by_level in ceilings.items()
                for level, point in by_level.items()
            },
        )
    return gathered


def comparisons(profile: Profile, validation: SetOfPhotos) -> dict[str, dict[str, pd.DataFrame]]:
    """What is compared with what: everything with the class prior, and with the best experiment of the thesis's recipe."""
    found = {CLASS_PRIOR: {**validation.experiments, CLASS_PRIOR: validation.baselines[CLASS_PRIOR]}}
    of_thesis = [key for key in validation.experiments if profile.experiment(key).recipe == "thesis"]
    if of_thesis and len(validation.experiments) > 1:
        right = {key: float((validation.experiments[key]["rank"] == 1).mean()) for key in of_thesis}
        found[max(right, key=lambda key: right[key])] = dict(validation.experiments)
    return found


def compared(profile: Profile, validation: SetOfPhotos) -> tuple[pd.DataFrame, str]:
    """All comparisons in one table, and what they say in words."""
    tables: list[pd.DataFrame] = []
    words: list[str] = []
    for reference, frames in comparisons(profile, validation).items():
        table, said = comparison_table(frames, reference)
        tables.append(table)
        words += verdict_sentences(said, reference)
    return pd.concat(tables, ignore_index=True), "\n".join(f"- {sentence}" for sentence in words)


def read_certainties(layout: Layout, profile: Profile) -> dict[str, dict[str, Certainty]]:
    """For the validation photos and each benchmark: what each experiment promised of its certainty, and kept."""
    folders = {VALIDATION: {key: layout.validation_report(key) for key in profile.experiment_keys()}}
    for benchmark in profile.benchmark_names():
        folders[benchmark] = {key: layout.benchmark_report(key, benchmark) for key in profile.experiment_keys()}
    return {
        called: {
            key: Certainty.from_json(read_json(folder / "certainty.json"))
            for key, folder in by_key.items()
            if (folder / "certainty.json").is_file()
        }
        for called, by_key in folders.items()
    }


def thesis_figures(profile: Profile, called: str) -> list[Evaluation]:
    """The thesis's own rows, where dataset and weights are the thesis's; elsewhere none."""
    features = {name: [profile.backbone(each) for each in names] for name, names in profile.features.items()}
    datasets = [dataset.name for dataset in profile.training] + (["sample"] if profile.drawn else [])
    return thesis_rows(called, datasets, features)


def best_experiment(evaluations: list[Evaluation]) -> str:
    """The experiment with the highest accuracy; of equals the first."""
    return max(
        (item for item in evaluations if item.kind == "experiment"), key=lambda item: item.scores["accuracy"]
    ).name


def _maps(
    profile: Profile, training: pd.DataFrame, boundaries: BoundarySet, gathered: dict[str, SetOfPhotos], best: str
) -> dict[str, Picture]:
    latitude, longitude = training["latitude"].to_numpy(), training["longitude"].to_numpy()
    of_country = training[training["country_id"] == profile.map_country]
    pictures = {
        "map_coverage": Picture(
            "Where the photos were taken that heads learn from and are validated on.",
            coverage_map(latitude, longitude, boundaries, "Training photos"),
            "World map of the density of training photos",
        ),
        f"map_{profile.map_country}": Picture(
            f"{profile.map_country}, its sub-divisions and their centroids, and the photos taken there.",
            country_map(boundaries, profile.map_country, photos=of_country),
            f"Map of {profile.map_country} with sub-divisions",
        ),
    }
    recall = scores_by(gathered[VALIDATION].experiments[best], "country_id").set_index("country_id")["accuracy"]
    pictures["map_recall"] = Picture(
        f"Share of the validation photos of each country that {best} puts there.",
        country_value_map(recall, boundaries, f"Recall by country, {best}", "per cent"),
        "World map of recall by country",
    )
    for benchmark in profile.benchmark_names():
        pictures[f"map_errors_{benchmark}"] = Picture(
            f"Errors of {best} on {benchmark}: a line leads from where a photo was taken to where it was put.",
            error_map(gathered[benchmark].experiments[best], boundaries, f"{benchmark}, {best}"),
            f"World map of the errors on {benchmark}",
        )
    return pictures


def _details(
    profile: Profile,
    layout: Layout,
    training: pd.DataFrame,
    boundaries: BoundarySet,
    gathered: dict[str, SetOfPhotos],
    best: str,
) -> list[Section]:
    """What stands behind the tables."""
    validation = gathered[VALIDATION]
    curves = {
        called: {best: photos.experiments[best], **photos.baselines}
        for called, photos in gathered.items()
        if called != VALIDATION
    }
    sections = [
        *(comparison_section(frames, reference) for reference, frames in comparisons(profile, validation).items()),
        certainty_section(best, validation.experiments, read_certainties(layout, profile)),
        fairness_section(best, validation.experiments[best], training, boundaries),
        confusion_section(best, validation.experiments[best], boundaries),
    ]
    if curves:
        sections.append(distance_section(curves))
        shown = profile.benchmark_names()[0]
        manifest = read_rows(layout.images(shown))
        root = picture_folder_of(profile, layout, shown)
        photos = {name: root / path for name, path in zip(manifest["photo_id"], manifest["image_path"], strict=True)}
        limits = profile.images
        sections.append(mistakes_section(best, shown, gathered[shown].experiments[best], boundaries, photos, limits))
    return sections

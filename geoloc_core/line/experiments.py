"""An experiment from files to files: train, answer, report.

Each function reads the artifacts that its target is made from, by the paths of `Layout`, and writes its own. The rooms
below know nothing of profiles or paths of artifacts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from geoloc_core.answers.answer import Answerer, Places, anchor_points
from geoloc_core.answers.decide import photo_cells
from geoloc_core.answers.kinds import NEAREST_ANSWER
from geoloc_core.errors import StaleArtifactError
from geoloc_core.evaluation.certainty import certainty
from geoloc_core.evaluation.evaluate import VALIDATION, evaluate
from geoloc_core.evaluation.predictions import bootstrap_units, continents, predictions_frame, write_predictions
from geoloc_core.features.shards import shard_metadata
from geoloc_core.geography.anchors import region_anchors
from geoloc_core.geography.boundaries import read_boundaries
from geoloc_core.geography.cells import LEVELS
from geoloc_core.learning.data import TrainingData, encode_labels
from geoloc_core.learning.head_files import load_head, read_references, save_head
from geoloc_core.learning.recipes import head_spec, recipe
from geoloc_core.learning.refine import References, choose_references
from geoloc_core.learning.train import train_head
from geoloc_core.learning.weights import CLASS_WEIGHT_SCHEMES, label_column
from geoloc_core.line.layout import Layout
from geoloc_core.line.profile import Profile
from geoloc_core.line.vectors import read_blocks
from geoloc_core.photos.rows import read_rows, write_rows
from geoloc_core.photos.warehouse import Warehouse
from geoloc_core.storage import write_json

OK = "ok"
NO_VECTOR = "no_vector"
# What a head needs to know of a photo: columns that it does not need are not held for millions of photos.
LEARNED_FROM = ("shard", "photo_id", "author_id", "latitude", "longitude", "country_id", "subdivision_id", "split")
# The class prior answers with this anchor: of those there are, the one with the highest GeoScore, so that the bar is high.
BASELINE_ANCHOR = "geoscore"


@dataclass(frozen=True)
class TrainedExperiment:
    """What came of training one head; `history` has one row for each epoch."""

    classes: int
    n_train: int
    n_without_vector: int
    parameters: dict[str, Any]
    metrics: dict[str, float]
    history: pd.DataFrame


def places_of(layout: Layout, warehouse: Warehouse, level: str) -> Places:
    """Where all regions of a level may be answered, from the photos of the training split alone."""
    boundaries = read_boundaries(layout.regions)
    column = label_column(level)
    photos = warehouse.read_table("training_photos", {"split": "train"}, columns=[column, "latitude", "longitude"])
    photos = photos[photos[column] != ""].rename(columns={column: "region_id"})
    anchors = region_anchors(photos, boundaries.countries if level == "country" else boundaries.subdivisions)
    return Places(anchors, photo_cells(photos))


def write_places(layout: Layout, level: str, places: Places) -> list[Path]:
    """Keep the places of a level; the files written."""
    paths = [layout.region_anchors(level), layout.region_cells(level)]
    for frame, path in zip((places.anchors, places.cells), paths, strict=True):
        write_rows(frame, path)
    return paths


def read_places(layout: Layout) -> dict[str, Places]:
    """Places by level."""
    return {
        level: Places(read_rows(layout.region_anchors(level)), read_rows(layout.region_cells(level)))
        for level in LEVELS
    }


def read_one_point(layout: Layout, kind: str = BASELINE_ANCHOR) -> dict[str, pd.DataFrame]:
    """By level, region_id, latitude and longitude: the one point that each region answers with, by kind of anchor."""
    found = {}
    for level, places in read_places(layout).items():
        ids = sorted(places.anchors["region_id"].unique())
        points = anchor_points(places.anchors, ids, kind)
        found[level] = pd.DataFrame({"region_id": ids, "latitude": points[:, 0], "longitude": points[:, 1]})
    return found


def train_experiment(profile: Profile, layout: Layout, warehouse: Warehouse, key: str) -> TrainedExperiment:
    """Train the head of an experiment and keep it in its folder."""
    experiment = profile.experiment(key)
    names, shards = profile.features[experiment.features], profile.training_shards()
    photos = warehouse.read_table("training_photos", columns=LEARNED_FROM)
    blocks, found = read_blocks(layout, names, shards, photos, keep=True)
    column = label_column(experiment.level)
    is_train = (photos["split"] == "train").to_numpy()
    # A photo without a vector keeps its row, lest the matrices be copied; without a label nobody ever reads that row.
    region_ids = np.where(found, photos[column].to_numpy(dtype=object), "")
    classes, labels = encode_labels(region_ids, is_train)
    parent_of = dict(zip(photos[column], photos["country_id"], strict=True))
    level = "country" if experiment.level == "country" else "subdivision"
    weights = read_rows(layout.class_weights(level)).set_index("region_id")
    data = TrainingData(
        blocks=blocks,
        labels=labels,
        is_train=is_train,
        latitude=photos["latitude"].to_numpy(),
        longitude=photos["longitude"].to_numpy(),
        author_id=photos["author_id"].to_numpy(dtype=object),
        class_weights={scheme: weights.loc[classes, scheme].to_numpy() for scheme in CLASS_WEIGHT_SCHEMES},
    )
    trained = train_head(
        data,
        head_spec(experiment.head),
        recipe(experiment.recipe),
        classes,
        level=experiment.level,
        parents=[parent_of[name] for name in classes],
        seed=profile.seed,
        device=profile.device,
    )
    features = [
        {
            "backbone": name,
            "version": shard_metadata(layout.embeddings(name, shards[0]))["identity"]["version"],
            "dimension": int(block.shape[1]),
        }
        for name, block in zip(names, blocks, strict=True)
    ]
    chosen = choose_references(np.where(is_train, labels, -1), seed=profile.seed)
    references = References.of(
        [block[chosen] for block in blocks], labels[chosen], data.latitude[chosen], data.longitude[chosen], len(classes)
    )
    kept = {"experiment": key, "features": features, "references_sha256": references.save(layout.head(key))}
    save_head(layout.head(key), trained, kept)
    measured = {name: value for name, value in trained.head.calibration.items() if isinstance(value, int | float)}
    return TrainedExperiment(
        classes=len(classes),
        n_train=int((is_train & found).sum()),
        n_without_vector=int((~found).sum()),
        parameters={
            **trained.recipe.as_dict(),
            "head": experiment.head,
            "features": experiment.features,
            "level": experiment.level,
        },
        metrics={"best_epoch": trained.best_epoch, **{name: float(value) for name, value in measured.items()}},
        history=trained.history,
    )


def report_validation(profile: Profile, layout: Layout, warehouse: Warehouse, key: str) -> list[Path]:
    """Predictions and scores of an experiment on the validation photos; the files written."""
    photos = warehouse.read_table("training_photos", {"split": "validation"})
    shards = profile.training_shards()
    vectors = read_blocks(layout, profile.features[profile.experiment(key).features], shards, photos, keep=True)
    folder = layout.validation_report(key)
    return _report(profile, layout, key, photos, vectors, shards, VALIDATION, folder)


def report_benchmark(profile: Profile, layout: Layout, warehouse: Warehouse, key: str, benchmark: str) -> list[Path]:
    """Predictions and scores of an experiment on all photos of a benchmark; the files written."""
    photos = warehouse.read_table("labeled_photos", {"shard": benchmark})
    vectors = read_blocks(layout, profile.features[profile.experiment(key).features], (benchmark,), photos)
    folder = layout.benchmark_report(key, benchmark)
    return _report(profile, layout, key, photos, vectors, (benchmark,), benchmark, folder)


def _report(
    profile: Profile,
    layout: Layout,
    key: str,
    photos: pd.DataFrame,
    vectors: tuple[list[np.ndarray], np.ndarray],
    shards: tuple[str, ...],
    called: str,
    folder: Path,
) -> list[Path]:
    if photos.empty:
        raise StaleArtifactError(
            f"{called} has no photo to report on; look at the rejected rows of {', '.join(shards)}"
        )
    head = load_head(layout.head(key))
    blocks, found = vectors
    _check_versions(layout, head.features, shards)
    answer = profile.answer_of(key)
    references = read_references(layout.head(key), head) if answer == NEAREST_ANSWER else None
    answers = Answerer(head, read_places(layout), answer, references=references).answers(blocks)
    predictions = predictions_frame(
        photos,
        answers.country_posterior,
        answers.countries,
        answers.points,
        continents=continents(read_boundaries(layout.regions)),
        status=picture_status(layout, photos, found),
        predicted_cells=answers.predicted_cells,
    )
    paths = [folder / "predictions.parquet", folder / "evaluation.json"]
    write_predictions(paths[0], predictions)
    write_json(paths[1], evaluate(key, predictions, photos=called).to_json())
    if found.any():
        truth, authors = predictions["country_id"].to_numpy(object), bootstrap_units(predictions)
        before = answers.best_before, answers.probability_before
        kept = certainty(head, answers.country_posterior, before, truth, authors, found)
        paths.append(folder / "certainty.json")
        write_json(paths[-1], kept.to_json())
    return paths


def _check_versions(layout: Layout, features: list[dict[str, Any]], shards: tuple[str, ...]) -> None:
    """A head answers only for vectors of the very checkpoints that it was trained on."""
    for feature in features:
        for shard in shards:
            path = layout.embeddings(feature["backbone"], shard)
            if shard_metadata(path)["identity"]["version"] != feature["version"]:
                raise StaleArtifactError(
                    f"{path} was made by another checkpoint of {feature['backbone']} than the head was trained on; "
                    "`geoloc refresh` brings the two together"
                )


def picture_status(layout: Layout, photos: pd.DataFrame, found: np.ndarray) -> list[str]:
    """The word "ok" where there is a vector; elsewhere the manifest's reason, or that the encoder gave none."""
    reasons: dict[tuple[str, str], str] = {}
    for shard in photos["shard"].unique():
        manifest = read_rows(layout.images(shard))
        reasons.update(
            ((shard, photo), reason) for photo, reason in zip(manifest["photo_id"], manifest["status"], strict=True)
        )
    status = []
    for shard, photo_id, there in zip(photos["shard"], photos["photo_id"], found, strict=True):
        reason = reasons.get((shard, photo_id), NO_VECTOR)
        status.append(OK if there else NO_VECTOR if reason == OK else reason)
    return status

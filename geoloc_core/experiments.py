"""An experiment from files to files: train, answer, report.

Each function reads the artifacts that its target is made from, by the paths of `Layout`, and writes its own. The rooms
below know nothing of profiles or paths of artifacts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from geoloc_core.answering import answer
from geoloc_core.errors import StaleArtifactError
from geoloc_core.evaluation.evaluate import VALIDATION, evaluate
from geoloc_core.evaluation.predictions import predictions_frame, write_predictions
from geoloc_core.features.shards import open_matrix, shard_metadata
from geoloc_core.geography.anchors import region_anchors
from geoloc_core.geography.boundaries import BoundarySet, read_boundaries
from geoloc_core.layout import Layout
from geoloc_core.learning.data import TrainingData, encode_labels
from geoloc_core.learning.head_files import load_head, save_head
from geoloc_core.learning.recipes import head_spec, recipe
from geoloc_core.learning.train import train_head
from geoloc_core.learning.weights import CLASS_WEIGHT_SCHEMES, label_column
from geoloc_core.photos.rows import read_rows
from geoloc_core.photos.warehouse import Warehouse
from geoloc_core.profile import REGION_LEVELS, Profile
from geoloc_core.storage import write_json

OK = "ok"
NO_VECTOR = "no_vector"
# What a head needs to know of a photo: columns that it does not need are not held for millions of photos.
LEARNED_FROM = ("shard", "photo_id", "author_id", "latitude", "longitude", "country_id", "subdivision_id", "split")


@dataclass(frozen=True)
class TrainedExperiment:
    """What came of training one head; `history` has one row for each epoch."""

    classes: int
    n_train: int
    n_without_vector: int
    parameters: dict[str, Any]
    metrics: dict[str, float]
    history: pd.DataFrame


def anchors_of(layout: Layout, warehouse: Warehouse, level: str) -> pd.DataFrame:
    """The anchors of all regions of a level, fitted to the photos of the training split alone."""
    boundaries = read_boundaries(layout.regions)
    column = label_column(level)
    photos = warehouse.read_table("training_photos", {"split": "train"}, columns=[column, "latitude", "longitude"])
    photos = photos[photos[column] != ""].rename(columns={column: "region_id"})
    return region_anchors(photos, boundaries.countries if level == "country" else boundaries.subdivisions)


def read_anchors(layout: Layout) -> dict[str, pd.DataFrame]:
    """Anchors by level."""
    return {level: read_rows(layout.region_anchors(level)) for level in REGION_LEVELS}


def train_experiment(profile: Profile, layout: Layout, warehouse: Warehouse, key: str) -> TrainedExperiment:
    """Train the head of an experiment and keep it in its folder."""
    experiment = profile.experiment(key)
    names, shards = profile.features[experiment.features], profile.training_shards()
    photos = warehouse.read_table("training_photos", columns=LEARNED_FROM)
    blocks, found = read_blocks(layout, names, shards, photos)
    kept = photos[found].reset_index(drop=True)
    column = label_column(experiment.level)
    is_train = (kept["split"] == "train").to_numpy()
    classes, labels = encode_labels(kept[column].to_numpy(dtype=object), is_train)
    parent_of = dict(zip(kept[column], kept["country_id"], strict=True))
    level = "country" if experiment.level == "country" else "subdivision"
    weights = read_rows(layout.class_weights(level)).set_index("region_id")
    data = TrainingData(
        blocks=[block[found] for block in blocks],
        labels=labels,
        is_train=is_train,
        latitude=kept["latitude"].to_numpy(),
        longitude=kept["longitude"].to_numpy(),
        author_id=kept["author_id"].to_numpy(dtype=object),
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
    save_head(layout.head(key), trained, {"experiment": key, "features": features})
    measured = {name: value for name, value in trained.head.calibration.items() if isinstance(value, int | float)}
    return TrainedExperiment(
        classes=len(classes),
        n_train=int(is_train.sum()),
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


def read_blocks(
    layout: Layout, backbones: tuple[str, ...], shards: tuple[str, ...], photos: pd.DataFrame
) -> tuple[list[np.ndarray], np.ndarray]:
    """One float16 matrix (n, D_i) for each backbone, and which of the n photos have a vector in all of them.

    `photos` names each photo by `photo_id` and `shard`, which is one of `shards`.
    """
    blocks, found = [], np.ones(len(photos), dtype=bool)
    shard_of = pd.Index(shards).get_indexer(pd.Index(photos["shard"]))
    for name in backbones:
        paths = [layout.embeddings(name, shard) for shard in shards]
        matrix, there = open_matrix(paths, photos["photo_id"].tolist(), shard_of=shard_of)
        blocks.append(matrix)
        found &= there
    return blocks, found


def report_validation(profile: Profile, layout: Layout, warehouse: Warehouse, key: str) -> list[Path]:
    """Predictions and scores of an experiment on the validation photos; the files written."""
    photos = warehouse.read_table("training_photos", {"split": "validation"})
    return _report(profile, layout, key, photos, profile.training_shards(), VALIDATION, layout.validation_report(key))


def report_benchmark(profile: Profile, layout: Layout, warehouse: Warehouse, key: str, benchmark: str) -> list[Path]:
    """Predictions and scores of an experiment on all photos of a benchmark; the files written."""
    photos = warehouse.read_table("labeled_photos", {"shard": benchmark})
    return _report(profile, layout, key, photos, (benchmark,), benchmark, layout.benchmark_report(key, benchmark))


def _report(
    profile: Profile,
    layout: Layout,
    key: str,
    photos: pd.DataFrame,
    shards: tuple[str, ...],
    called: str,
    folder: Path,
) -> list[Path]:
    if photos.empty:
        raise StaleArtifactError(
            f"{called} has no photo to report on; look at the rejected rows of {', '.join(shards)}"
        )
    experiment = profile.experiment(key)
    head = load_head(layout.head(key))
    blocks, found = read_blocks(layout, profile.features[experiment.features], shards, photos)
    _check_versions(layout, head.features, shards)
    answers = answer(head, blocks, read_anchors(layout), profile.anchor)
    predictions = predictions_frame(
        photos,
        answers.country_posterior,
        answers.countries,
        answers.points,
        continents=continents(read_boundaries(layout.regions)),
        status=picture_status(layout, photos, found),
        predicted_subdivisions=None if answers.subdivision_ids is None else answers.subdivision_ids.tolist(),
    )
    paths = [folder / "predictions.parquet", folder / "evaluation.json"]
    write_predictions(paths[0], predictions)
    write_json(paths[1], evaluate(key, predictions, photos=called).to_json())
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


def continents(boundaries: BoundarySet) -> Mapping[str, str]:
    """Continent of each country."""
    return dict(zip(boundaries.countries["region_id"], boundaries.countries["continent"], strict=True))

"""From vectors to probabilities: class weights, the points that regions answer with, and the heads."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pandas as pd

from geoloc_core.answers.decide import photo_cells
from geoloc_core.devices import fallback, pick_device
from geoloc_core.features.shards import shard_metadata
from geoloc_core.geography.anchors import region_anchors as anchors_of
from geoloc_core.geography.boundaries import read_boundaries
from geoloc_core.geography.cells import KINDS, LEVELS, ROOT, id_column
from geoloc_core.learning.data import TrainingData, encode_labels
from geoloc_core.learning.head_files import save_head
from geoloc_core.learning.recipes import head_spec, recipe
from geoloc_core.learning.refine import References, choose_references
from geoloc_core.learning.train import train_head
from geoloc_core.learning.weights import CLASS_WEIGHT_SCHEMES, class_weight_table
from geoloc_core.line.inputs import LEARNED_FROM, read_blocks
from geoloc_core.line.steps import Job, Output, files_version
from geoloc_core.photos.rows import read_rows, write_rows
from geoloc_core.storage import file_sha256

# What a head answers, not how its training went, is what downstream is made from.
CONTENT = ("head.safetensors", "references.safetensors", "head.json")


def class_weights(job: Job) -> Output:
    """How much one photo of each region counts in the loss, by scheme: inverse frequency (the thesis), its square root,
    the effective number of samples, none.
    """
    photos = job.project.warehouse().read_table("training_photos", columns=(*map(id_column, LEVELS), "split"))
    table = class_weight_table(photos, job.key)
    path = job.layout.class_weights(job.key)
    write_rows(table, path)
    facts = {
        "rows": len(table),
        "smallest_class": int(table["n_photos"].min()),
        "largest_class": int(table["n_photos"].max()),
        "largest_inverse_weight": float(table["inverse"].max()),
        "ratio_of_inverse_weights": float(table["inverse"].max() / table["inverse"].min()),
    }
    return Output(file_sha256(path), [path], facts=facts)


def region_anchors(job: Job) -> Output:
    """The coordinates that a region answers with: the polygon's centroid (the thesis), and points fitted to the
    training photos: mean, medoid, the best point by GeoScore, within 200 km and within 750 km; and where in each
    region the training photos are, for answers from the whole posterior.
    """
    kind, columns = KINDS[job.key], [*map(id_column, LEVELS), "latitude", "longitude"]
    photos = job.project.warehouse().read_table("training_photos", {"split": "train"}, columns=columns)
    cells = kind.cells(read_boundaries(job.layout.regions), photos)
    photos = photos.assign(region_id=kind.of_photos(cells, photos))
    photos = photos.loc[photos["region_id"] != "", ["region_id", "latitude", "longitude"]]
    anchors, places = anchors_of(photos, cells), photo_cells(photos)
    files = [job.layout.region_anchors(job.key), job.layout.region_cells(job.key)]
    for frame, path in zip((anchors, places), files, strict=True):
        write_rows(frame, path)
    facts = {
        "rows": len(anchors),
        "regions": int(anchors["region_id"].nunique()),
        "regions_with_photos": int(anchors.loc[anchors["kind"] == "medoid", "region_id"].nunique()),
        "cells_with_photos": len(places),
    }
    return Output(files_version(files), files, facts=facts)


def heads(job: Job) -> Output:
    """A small classifier on frozen vectors: given a photo's vector, how probable is each region.

    Its partition reads features.head.level.recipe: which backbones, which network, which cells, how it is trained.
    """
    if slower := fallback(job.profile.device):
        job.warn(slower)
    experiment, layout = job.profile.experiment(job.key), job.layout
    names, shards = job.profile.backbones_of(job.key), job.profile.training_shards()
    photos = job.project.warehouse().read_table("training_photos", columns=LEARNED_FROM)
    blocks, present = read_blocks(layout, names, shards, photos, keep=True)
    weights = read_rows(layout.class_weights(experiment.cells)).set_index("region_id")
    classes, data = training_data(photos, blocks, present, experiment.cells, weights)
    parent_of = dict(zip(photos[id_column(experiment.cells)], photos[id_column(ROOT)], strict=True))
    trained = train_head(
        data,
        head_spec(experiment.head),
        recipe(experiment.recipe),
        classes,
        level=experiment.level,
        parents=[parent_of[name] for name in classes],
        seed=job.profile.seed,
        device=job.profile.device,
    )
    versions = [shard_metadata(layout.embeddings(name, shards[0]))["identity"]["version"] for name in names]
    features = [
        {"backbone": name, "version": version, "dimension": int(block.shape[1])}
        for name, version, block in zip(names, versions, blocks, strict=True)
    ]
    rows = choose_references(np.where(data.is_train, data.labels, -1), seed=job.profile.seed)
    references = References.of(
        [block[rows] for block in blocks], data.labels[rows], data.latitude[rows], data.longitude[rows], len(classes)
    )
    folder = layout.head(job.key)
    description = {"experiment": job.key, "features": features, "references_sha256": references.save(folder)}
    save_head(folder, trained, description)
    numbers = {name: value for name, value in trained.head.calibration.items() if isinstance(value, int | float)}
    shape = {"head": experiment.head, "features": experiment.features, "level": experiment.level}
    facts = {
        "classes": len(classes),
        "training_photos": int((data.is_train & present).sum()),
        "photos_without_vector": int((~present).sum()),
        "device": str(pick_device(job.profile.device)),
        "validation_best_epoch": trained.best_epoch,
        **{f"validation_{name}": float(value) for name, value in numbers.items()},
        "recipe": {**asdict(trained.recipe), **shape},
    }
    return Output(files_version([folder / name for name in CONTENT]), sorted(folder.iterdir()), facts=facts)


def training_data(
    photos: pd.DataFrame, blocks: list[np.ndarray], present: np.ndarray, level: str, weights: pd.DataFrame
) -> tuple[list[str], TrainingData]:
    """The classes that occur among n training photos (columns `LEARNED_FROM`), and everything that a head learns from.

    `blocks` has a float16 matrix (n, D) for each backbone, `present`, bool (n,), says which photos have a vector in all of
    them, and `weights` is the table of class weights, by `region_id`.
    """
    is_train = (photos["split"] == "train").to_numpy()
    # A photo without a vector keeps its row, so that the matrices need no copy; without a label nobody reads that row.
    cells = np.where(present, photos[id_column(level)].to_numpy(dtype=object), "")
    classes, labels = encode_labels(cells, is_train)
    data = TrainingData(
        blocks=blocks,
        labels=labels,
        is_train=is_train,
        latitude=photos["latitude"].to_numpy(),
        longitude=photos["longitude"].to_numpy(),
        author_id=photos["author_id"].to_numpy(dtype=object),
        class_weights={scheme: weights.loc[classes, scheme].to_numpy() for scheme in CLASS_WEIGHT_SCHEMES},
    )
    return classes, data

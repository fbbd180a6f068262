"""From vectors to probabilities: class weights, the points that regions answer with, and the heads."""

from __future__ import annotations

from geoloc_core.devices import fallback, pick_device
from geoloc_core.geography.cells import LEVELS, id_column
from geoloc_core.learning.weights import class_weight_table
from geoloc_core.line.experiments import places_of, train_experiment, write_places
from geoloc_core.line.steps import Job, Output, files_version
from geoloc_core.photos.rows import write_rows
from geoloc_core.storage import file_sha256

# What a head answers, not how its training went, is what downstream is made from.
CONTENT = ("head.safetensors", "references.safetensors", "head.json")


def class_weights(job: Job) -> Output:
    """The weight of one photo of each class of a level, by scheme."""
    columns = (*map(id_column, LEVELS), "split")
    table = class_weight_table(job.project.warehouse().read_table("training_photos", columns=columns), job.key)
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
    """The points that the regions of a level answer with, and where their photos are."""
    places = places_of(job.layout, job.project.warehouse(), job.key)
    files, anchors = write_places(job.layout, job.key, places), places.anchors
    facts = {
        "rows": len(anchors),
        "regions": int(anchors["region_id"].nunique()),
        "regions_with_photos": int(anchors.loc[anchors["kind"] == "medoid", "region_id"].nunique()),
        "cells_with_photos": len(places.cells),
    }
    return Output(files_version(files), files, facts=facts)


def heads(job: Job) -> Output:
    """Train the head of an experiment."""
    if slower := fallback(job.profile.device):
        job.warn(slower)
    trained = train_experiment(job.profile, job.layout, job.project.warehouse(), job.key)
    folder = job.layout.head(job.key)
    facts = {
        "classes": trained.classes,
        "training_photos": trained.n_train,
        "photos_without_vector": trained.n_without_vector,
        "device": str(pick_device(job.profile.device)),
        **{f"validation_{name}": value for name, value in trained.metrics.items()},
        "recipe": trained.parameters,
    }
    return Output(files_version([folder / name for name in CONTENT]), sorted(folder.iterdir()), facts=facts)

"""A small packed model: untrained heads of three countries and their sub-divisions, on a seeded backbone."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from geoloc_core.answers.package import pack
from geoloc_core.features.backbones import backbone
from geoloc_core.features.checkpoints import open_checkpoint
from geoloc_core.geography.anchors import polygon_centroids
from geoloc_core.geography.boundaries import load_boundaries
from geoloc_core.learning.head_files import save_head
from geoloc_core.learning.heads import build_head
from geoloc_core.learning.posterior import Head
from geoloc_core.learning.recipes import HeadSpec, recipe
from geoloc_core.learning.train import TrainedHead
from geoloc_core.photos.rows import write_rows

COUNTRIES = ["DEU", "FRA", "USA"]


def pack_small(folder: Path) -> Path:
    """Make `folder/checkpoints` and pack `folder/model`, a head of countries with a companion; the model's folder."""
    spec = backbone("tiny-clip")
    identity = open_checkpoint(spec, folder / "checkpoints").identity
    boundaries = load_boundaries()
    finer = boundaries.subdivisions[boundaries.subdivisions["parent_id"].isin(COUNTRIES)].groupby("parent_id").head(3)
    regions = {
        "country": boundaries.countries[boundaries.countries["region_id"].isin(COUNTRIES)].assign(parent_id=COUNTRIES),
        "subdivision": finer.sort_values("region_id"),
    }
    features = [{"backbone": spec.name, "version": identity.version, "dimension": spec.dimension}]
    places = {}
    for level, cells in regions.items():
        centroids = polygon_centroids(cells)
        places[level] = (folder / f"anchors_{level}.parquet", folder / f"cells_{level}.parquet")
        write_rows(centroids.assign(kind="centroid", n_photos=0), places[level][0])
        write_rows(centroids.assign(photos=1), places[level][1])
        torch.manual_seed(1)
        state = build_head(HeadSpec("linear"), (spec.dimension,), len(cells)).state_dict()
        ids, parents = cells["region_id"].tolist(), cells["parent_id"].tolist()
        counts = np.full(len(ids), 5)
        head = Head(HeadSpec("linear"), (spec.dimension,), state, level, ids, parents, counts, features=features)
        save_head(folder / level, TrainedHead(head, recipe("default"), pd.DataFrame({"epoch": [1]}), 1, 0))
    description = {
        "profile": "small",
        "notice": "",
        "answer": "expected_geoscore",
        "experiment": "clip.linear.country.default",
        "companion": "clip.linear.subdivision.default",
        "split": {"key": "geoloc"},
        "backbones": {spec.name: identity.as_dict()},
        "specifications": {spec.name: asdict(spec)},
        "validation": {"accuracy": 50.0, "n": 4},
    }
    pack(folder / "model", folder / "country", folder / "subdivision", places, boundaries, description)
    return folder / "model"

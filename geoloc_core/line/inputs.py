"""What several steps read: the vectors of photos, where regions may be answered, why a photo has no vector.

`geoloc refresh` trains every head in one process, one target after another: the six experiments of Table 2 share three
backbones, and each of these is read once. The matrix lies in memory, or, where it is larger, in a mapped file without a
name, which the system keeps in memory as far as there is room. A run of its own (a sensor's, another machine's) reads what
it needs itself.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from geoloc_core.answers.answer import Places, anchor_points
from geoloc_core.features.shards import open_matrix
from geoloc_core.geography.cells import LEVELS, id_column
from geoloc_core.line.layout import Layout
from geoloc_core.photos.rows import frame_version, read_rows

OK = "ok"
NO_VECTOR = "no_vector"
# What a head needs to know of a photo: columns that it does not need are not held for millions of photos.
LEARNED_FROM = ("shard", "photo_id", "author_id", "latitude", "longitude", *map(id_column, LEVELS), "split")
# The class prior answers with this anchor: of those there are, the one with the highest GeoScore, so that the bar is high.
BASELINE_ANCHOR = "geoscore"

CACHE_SIZE = 4
# Of the machine's memory; a larger matrix is mapped. Four of them together leave half of it to everything else.
IN_MEMORY_SHARE = 0.125

Vectors = tuple[np.ndarray, np.ndarray]
"""float16 (n, D), and which of the n photos have a vector, bool (n,)."""

_cache: OrderedDict[tuple[object, ...], Vectors] = OrderedDict()


def read_blocks(
    layout: Layout, backbones: Sequence[str], shards: Sequence[str], photos: pd.DataFrame, *, keep: bool = False
) -> tuple[list[np.ndarray], np.ndarray]:
    """One float16 matrix (n, D_i) for each backbone, and which of the n photos have a vector in all of them.

    `photos` names each photo by `photo_id` and `shard`, which is one of `shards`. With `keep`, what was read stays for the
    next who asks for the same photos of the same files; nobody may write to it.
    """
    blocks, present = [], np.ones(len(photos), dtype=bool)
    for name in backbones:
        paths = [layout.embeddings(name, shard) for shard in shards]
        matrix, there = _keeping(paths, shards, photos) if keep else _read(paths, shards, photos, None)
        blocks.append(matrix)
        present &= there
    return blocks, present


def forget_vectors() -> None:
    """Give back the vectors that `read_blocks` keeps."""
    _cache.clear()


def _read(paths: Sequence[Path], shards: Sequence[str], photos: pd.DataFrame, in_memory_bytes: int | None) -> Vectors:
    shard_of = pd.Index(shards).get_indexer(pd.Index(photos["shard"]))
    return open_matrix(paths, photos["photo_id"].tolist(), shard_of=shard_of, in_memory_bytes=in_memory_bytes)


def _keeping(paths: Sequence[Path], shards: Sequence[str], photos: pd.DataFrame) -> Vectors:
    # A file that was written again has another time or size; the photos are identified by their names.
    files = tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in paths if path.is_file())
    key = (files, frame_version(photos[["photo_id", "shard"]]))
    if key not in _cache:
        bound = int(IN_MEMORY_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        matrix, present = _read(paths, shards, photos, bound)
        matrix.flags.writeable = False
        _cache[key] = matrix, present
        while len(_cache) > CACHE_SIZE:
            _cache.popitem(last=False)
    _cache.move_to_end(key)
    return _cache[key]


def read_places(layout: Layout, levels: Sequence[str] = LEVELS) -> dict[str, Places]:
    """Where the regions of each level may be answered."""
    return {one: Places(read_rows(layout.region_anchors(one)), read_rows(layout.region_cells(one))) for one in levels}


def read_one_point(layout: Layout, kind: str = BASELINE_ANCHOR) -> dict[str, pd.DataFrame]:
    """By level, region_id, latitude and longitude: the one point that each region answers with, by kind of anchor."""
    points = {}
    for level, places in read_places(layout).items():
        ids = sorted(places.anchors["region_id"].unique())
        latitude, longitude = anchor_points(places.anchors, ids, kind).T
        points[level] = pd.DataFrame({"region_id": ids, "latitude": latitude, "longitude": longitude})
    return points


def picture_status(layout: Layout, photos: pd.DataFrame, present: np.ndarray) -> list[str]:
    """The word "ok" where there is a vector (n,); elsewhere the manifest's reason, or that the encoder gave none."""
    manifests = [read_rows(layout.images(shard)).assign(shard=shard) for shard in photos["shard"].unique()]
    columns = pd.concat(manifests) if manifests else pd.DataFrame(columns=["shard", "photo_id", "status"])
    reasons = photos[["shard", "photo_id"]].merge(columns, on=["shard", "photo_id"], how="left")["status"]
    return list(reasons.replace(OK, NO_VECTOR).fillna(NO_VECTOR).where(~present, OK))

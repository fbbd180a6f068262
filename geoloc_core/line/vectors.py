"""Vectors of photos from their shards of embeddings; those that heads learn from are read once in a process.

`geoloc refresh` trains every head in one process, one target after another: the six experiments of Table 2 share three
backbones, and each of these is read once. What is read lies in memory, or, where it is larger, in a mapped file without a
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

from geoloc_core.features.shards import open_matrix
from geoloc_core.line.layout import Layout
from geoloc_core.photos.rows import frame_version

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

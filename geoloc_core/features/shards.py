"""Embeddings on disk: one Parquet file per shard and backbone, and many of them as one matrix.

Columns: photo_id (string), vector (fixed-size list of float16; where a photo has none, its elements are null, since
pyarrow cannot read back a fixed-size list that is null itself), status (string), image_sha256 (string). The file's
metadata carry the identity of the checkpoint, counts, and checksums.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from geoloc_core.errors import StaleArtifactError
from geoloc_core.features.checkpoints import CheckpointIdentity
from geoloc_core.features.extract import EmbeddingBlock
from geoloc_core.features.parquet_vectors import (
    OK,
    ROWS_PER_GROUP,
    ContentDigest,
    Rows,
    ShardWriter,
    file_metadata,
    vector_groups,
)
from geoloc_core.storage import replacing_path

IN_MEMORY_SHARE = 0.5
"""A matrix larger than this share of the machine's memory is kept in a file instead."""

READERS = 4
"""Shards that are read at once: checksums, copies and fresh memory are more than one processor keeps up with."""


def write_shard(path: Path | str, block: EmbeddingBlock, identity: CheckpointIdentity) -> None:
    """Write `block` to `path` atomically, with the identity of the checkpoint that made it."""
    n, dimension = block.vectors.shape
    if dimension != identity.dimension:
        raise ValueError(f"vectors of {dimension} numbers cannot be the work of {identity.name} ({identity.dimension})")
    hashes = block.image_sha256 or [""] * n
    with replacing_path(path) as temporary, ShardWriter(temporary, dimension, identity.as_dict()) as writer:
        for start in range(0, n, ROWS_PER_GROUP):
            some = slice(start, start + ROWS_PER_GROUP)
            writer.write(Rows(block.photo_ids[some], block.vectors[some], block.status[some], hashes[some]))


def read_shard(path: Path | str) -> tuple[EmbeddingBlock, dict[str, Any]]:
    """(block, metadata) of a shard, every byte checked. Raises StaleArtifactError where it is missing or damaged."""
    _, metadata = file_metadata(path)
    try:
        table = pq.read_table(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise StaleArtifactError(f"the embeddings in {path} cannot be read; materialize them again") from error
    flat = table["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    rows = Rows(
        table["photo_id"].to_pylist(),
        flat.astype(np.float16, copy=False).reshape(table.num_rows, metadata["identity"]["dimension"]),
        table["status"].to_pylist(),
        table["image_sha256"].to_pylist(),
    )
    block = EmbeddingBlock(rows.photo_ids, rows.vectors, rows.status, rows.image_sha256)
    digest = ContentDigest()
    digest.update(rows, np.ascontiguousarray(block.vectors[block.ok]))
    if digest.hexdigest() != metadata["content_sha256"]:
        raise StaleArtifactError(
            f"the embeddings in {path} are damaged (their checksum differs); materialize them again"
        )
    return block, metadata


def shard_metadata(path: Path | str) -> dict[str, Any]:
    """The metadata of a shard ("identity", "n", "n_ok", "content_sha256", ...), without reading its vectors."""
    return file_metadata(path)[1]


def open_matrix(
    paths: Sequence[Path | str],
    photo_ids: Sequence[str],
    *,
    shard_of: Sequence[int] | np.ndarray | None = None,
    verify: bool = True,
    in_memory_bytes: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of `photo_ids` from all shards of one backbone, each copied once from the mapped file.

    Returns (matrix float16 (n, D), found bool (n,)), rows in the order of `photo_ids`; rows that no shard has a vector
    for are zeros with `found` False. `shard_of` gives, for each photo, the position in `paths` of the one shard that it
    is taken from, as photos of two datasets may have the same id. A matrix of more than `in_memory_bytes` (half of the
    memory) is an array over a file without a name, which the system writes out and reads back as it needs. Raises
    StaleArtifactError when the shards were made by different checkpoints, or, with `verify`, when their bytes are not
    those that were written.
    """
    identities = [shard_metadata(path)["identity"] for path in paths]
    versions = {identity["version"] for identity in identities}
    if len(versions) != 1:
        raise StaleArtifactError(
            f"{len(paths)} shards of embeddings were made by {len(versions)} checkpoints; materialize them again"
        )
    if in_memory_bytes is None:
        in_memory_bytes = int(IN_MEMORY_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    matrix = _zeros((len(photo_ids), identities[0]["dimension"]), in_memory_bytes)
    found = np.zeros(len(photo_ids), dtype=bool)
    wanted = pa.array(photo_ids, type=pa.string())

    def read(number: int) -> None:
        path = paths[number]
        try:
            columns = pq.read_table(path, columns=["photo_id", "status"], page_checksum_verification=True)
        except (OSError, pa.ArrowException) as error:
            raise StaleArtifactError(f"the embeddings in {path} cannot be read; materialize them again") from error
        own = wanted if shard_of is None else wanted.take(pa.array(rows_here := np.flatnonzero(shard_of == number)))
        target = pc.fill_null(pc.index_in(columns["photo_id"], value_set=own), -1).to_numpy()
        if shard_of is not None:
            target = np.append(rows_here, -1)[target]  # -1 stays -1
        ok = pc.equal(columns["status"], OK).to_numpy()
        for rows, vectors in vector_groups(path, ok, verify=verify):
            into = target[rows][ok[rows]]
            _place(vectors, into, matrix)
            found[into[into >= 0]] = True

    # Where a photo may be in several shards the last one's vector is taken, so those are read one after the other.
    readers = 1 if shard_of is None else min(READERS, os.cpu_count() or 1)
    with ThreadPoolExecutor(readers) as pool:
        for _ in pool.map(read, range(len(paths))):
            pass
    return matrix, found


def _zeros(shape: tuple[int, int], in_memory_bytes: int) -> np.ndarray:
    if 2 * shape[0] * shape[1] <= in_memory_bytes:
        return np.zeros(shape, np.float16)
    with tempfile.TemporaryFile(prefix="geoloc-matrix-") as file:
        return np.memmap(file, np.float16, "w+", shape=shape)


def _place(vectors: np.ndarray, into: np.ndarray, matrix: np.ndarray) -> None:
    """Row i of `vectors` to row `into[i]` of `matrix`; -1 goes nowhere."""
    taken = np.flatnonzero(into >= 0)
    if not len(taken):
        return
    first, last = int(into[taken[0]]), int(into[taken[-1]])
    if last - first == len(taken) - 1 and (np.diff(into[taken]) == 1).all():
        if len(taken) == len(into):
            matrix[first : last + 1] = vectors
        else:
            np.take(vectors, taken, axis=0, out=matrix[first : last + 1], mode="clip")
    elif len(taken) == len(into):
        matrix[into] = vectors
    else:
        matrix[into[taken]] = vectors[taken]

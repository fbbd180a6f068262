"""Embeddings on disk: one Parquet file per shard and backbone, and many of them as one matrix.

Columns: photo_id (string), vector (fixed_size_binary(2 D): D little-endian float16, NaN for a photo that has none),
status (string), image_sha256 (string). Nothing is compressed, and each page has a checksum. The file's metadata carry the
identity of the checkpoint, counts, and a hash of the content. Without this module:

    frame = pandas.read_parquet(path)  # or duckdb.sql(f"from '{path}'").df()
    matrix = numpy.frombuffer(b"".join(frame["vector"]), "<f2").reshape(len(frame), -1)
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from geoloc_core.errors import StaleArtifactError
from geoloc_core.features.checkpoints import CheckpointIdentity
from geoloc_core.features.extract import OK, EmbeddingBlock
from geoloc_core.storage import replacing_path

METADATA_KEY = b"geoloc"
ROWS_PER_GROUP = 8192
NAMES = ("photo_id", "status", "image_sha256")

IN_MEMORY_SHARE = 0.5
"""A matrix larger than this share of the machine's memory is kept in a file instead."""
READERS = 4
"""Shards that are read at once: checksums, copies and fresh memory are more than one processor keeps up with."""


def write_shard(path: Path | str, block: EmbeddingBlock, identity: CheckpointIdentity) -> None:
    """Write `block` to `path` atomically, with the identity of the checkpoint that made it. Equal content, equal bytes."""
    n, dimension = block.vectors.shape
    if dimension != identity.dimension:
        raise ValueError(f"vectors of {dimension} numbers cannot be the work of {identity.name} ({identity.dimension})")
    block = EmbeddingBlock(block.photo_ids, block.vectors, block.status, block.image_sha256 or [""] * n)
    values = np.ascontiguousarray(block.vectors, dtype="<f2")
    columns = {
        "photo_id": pa.array(block.photo_ids, pa.string()),
        "vector": pa.FixedSizeBinaryArray.from_buffers(pa.binary(2 * dimension), n, [None, pa.py_buffer(values)]),
        "status": pa.array(block.status, pa.string()),
        "image_sha256": pa.array(block.image_sha256, pa.string()),
    }
    counts = {"n": n, "n_ok": int(block.ok.sum())}
    metadata = {"identity": identity.as_dict(), **counts, "content_sha256": _content_sha256(block)}
    table = pa.table(columns).replace_schema_metadata({METADATA_KEY: json.dumps(metadata, sort_keys=True)})
    layout = {"row_group_size": ROWS_PER_GROUP, "data_page_size": 2**31 - 1, "write_page_checksum": True}
    with replacing_path(path) as temporary:
        pq.write_table(table, temporary, compression="none", use_dictionary=False, write_statistics=False, **layout)


def read_shard(path: Path | str) -> tuple[EmbeddingBlock, dict[str, Any]]:
    """(block, metadata) of a shard, every byte checked. Raises StaleArtifactError if it is missing or damaged."""
    metadata = shard_metadata(path)
    with _readable(path):
        names = pq.read_table(path, columns=list(NAMES), page_checksum_verification=True)
        vectors = np.empty((names.num_rows, metadata["identity"]["dimension"]), np.float16)
        for rows, values in _vector_groups(path):
            vectors[rows] = values
        photo_ids, status, hashes = (names[name].to_pylist() for name in NAMES)
        block = EmbeddingBlock(photo_ids, vectors, status, hashes)
        if _content_sha256(block) != metadata["content_sha256"]:
            raise ValueError("CRC of the content differs")
    return block, metadata


def shard_metadata(path: Path | str) -> dict[str, Any]:
    """The metadata of a shard ("identity", "n", "n_ok", "content_sha256"), without reading its vectors."""
    with _readable(path):
        metadata = json.loads((pq.read_schema(path).metadata or {}).get(METADATA_KEY, b"null"))
    if metadata is None:
        raise StaleArtifactError(f"{path} is no shard of embeddings; materialize it again")
    return metadata


def open_matrix(
    paths: Sequence[Path | str], photo_ids: Sequence[str], shard_of: np.ndarray, in_memory_bytes: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of `photo_ids` from all shards of one backbone, a row group of each reader in memory beside them.

    `shard_of` gives the position in `paths` of each photo's shard, as photos of two datasets may have the same id. Returns
    (matrix float16 (n, D), present bool (n,)); rows without a vector are zeros. A matrix of more than `in_memory_bytes`
    (half of the memory) is an array over a nameless file. Raises StaleArtifactError when the shards were made by different
    checkpoints or their bytes are damaged.
    """
    identities = [shard_metadata(path)["identity"] for path in paths]
    versions = {identity["version"] for identity in identities}
    if len(versions) != 1:
        raise StaleArtifactError(
            f"{len(paths)} shards of embeddings were made by {len(versions)} checkpoints; materialize them again"
        )
    if in_memory_bytes is None:
        in_memory_bytes = int(IN_MEMORY_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    shape = (len(photo_ids), identities[0]["dimension"])
    if 2 * shape[0] * shape[1] <= in_memory_bytes:
        matrix = np.zeros(shape, np.float16)
    else:
        with tempfile.TemporaryFile(prefix="geoloc-matrix-") as file:
            matrix = np.memmap(file, np.float16, "w+", shape=shape)
    present = np.zeros(len(photo_ids), dtype=bool)
    ids = pa.array(photo_ids, type=pa.string())

    def read(number: int) -> None:
        with _readable(paths[number]):
            names = pq.read_table(paths[number], columns=["photo_id", "status"], page_checksum_verification=True)
            here = np.flatnonzero(np.equal(shard_of, number))
            place = pc.fill_null(pc.index_in(names["photo_id"], value_set=ids.take(pa.array(here))), -1).to_numpy()
            target = np.append(here, -1)[place]  # -1, for photos that were not asked for, stays -1
            target[pc.not_equal(names["status"], OK).to_numpy()] = -1
            for rows, vectors in _vector_groups(paths[number]):
                _copy_rows(vectors, target[rows], matrix)
            present[target[target >= 0]] = True

    with ThreadPoolExecutor(READERS) as pool:
        list(pool.map(read, range(len(paths))))
    return matrix, present


def _vector_groups(path: Path | str) -> Iterator[tuple[slice, np.ndarray]]:
    """(rows, float16 (m, D)) of a shard, a row group at a time, checksums verified."""
    with pq.ParquetFile(path, memory_map=True, page_checksum_verification=True) as file:
        first = 0
        for number in range(file.num_row_groups):
            for chunk in file.read_row_group(number, columns=["vector"])["vector"].chunks:
                width = chunk.type.byte_width // 2
                values = np.frombuffer(chunk.buffers()[1], "<f2", len(chunk) * width, 2 * chunk.offset * width)
                yield slice(first, first + len(chunk)), values.reshape(len(chunk), width)
                first += len(chunk)


def _content_sha256(block: EmbeddingBlock) -> str:
    digest = hashlib.sha256(json.dumps([block.photo_ids, block.status, block.image_sha256]).encode("ascii"))
    digest.update(np.ascontiguousarray(block.vectors, dtype="<f2").data)
    return digest.hexdigest()


@contextmanager
def _readable(path: Path | str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        problem = "are damaged (their checksum differs)" if "CRC" in str(error) else "cannot be read"
        raise StaleArtifactError(f"the embeddings in {path} {problem}; materialize them again") from error


def _copy_rows(vectors: np.ndarray, target: np.ndarray, matrix: np.ndarray) -> None:
    """Row i of `vectors` to row `target[i]` of `matrix`; those with -1 are left out."""
    if (target < 0).any():
        vectors, target = vectors[target >= 0], target[target >= 0]
    if len(target) and (np.diff(target) == 1).all():
        matrix[target[0] : target[-1] + 1] = vectors  # several times as fast as by index
    else:
        matrix[target] = vectors

"""Embeddings on disk: one Parquet file per shard and backbone, and many of them as one matrix.

Columns: photo_id (string), vector (fixed-size list of float16; where a photo has none, its elements are null, since
pyarrow cannot read back a fixed-size list that is null itself), status (string). The file's metadata carry the identity
of the checkpoint, counts, and the SHA-256 of the content.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from geoloc_core.errors import StaleArtifactError
from geoloc_core.features.checkpoints import CheckpointIdentity
from geoloc_core.features.extract import EmbeddingBlock
from geoloc_core.storage import replacing_path

METADATA_KEY = b"geoloc"


def write_shard(path: Path | str, block: EmbeddingBlock, identity: CheckpointIdentity) -> None:
    """Write `block` to `path` atomically, with the identity of the checkpoint that made it."""
    n, dimension = block.vectors.shape
    if dimension != identity.dimension:
        raise ValueError(f"vectors of {dimension} numbers cannot be the work of {identity.name} ({identity.dimension})")
    ok = block.ok
    values = pa.array(block.vectors.reshape(-1), type=pa.float16(), mask=np.repeat(~ok, dimension))
    table = pa.table(
        {
            "photo_id": pa.array(block.photo_ids, type=pa.string()),
            "vector": pa.FixedSizeListArray.from_arrays(values, dimension),
            "status": pa.array(block.status, type=pa.string()),
        }
    )
    metadata = {
        "identity": identity.as_dict(),
        "n": n,
        "n_ok": int(ok.sum()),
        "content_sha256": content_sha256(block),
    }
    table = table.replace_schema_metadata({METADATA_KEY: json.dumps(metadata, sort_keys=True).encode("utf-8")})
    with replacing_path(path) as temporary:
        pq.write_table(table, temporary, compression="none", use_dictionary=["status"], write_page_checksum=True)


def read_shard(path: Path | str) -> tuple[EmbeddingBlock, dict[str, Any]]:
    """(block, metadata) of a shard. Raises StaleArtifactError where the file is missing, damaged, or no shard."""
    try:
        table = pq.read_table(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise StaleArtifactError(f"the embeddings in {path} cannot be read; materialize them again") from error
    metadata = _metadata(table.schema, path)
    dimension = metadata["identity"]["dimension"]
    status = table["status"].to_pylist()
    flat = table["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    vectors = flat.astype(np.float16, copy=False).reshape(len(status), dimension)
    block = EmbeddingBlock(table["photo_id"].to_pylist(), vectors, status)
    if content_sha256(block) != metadata["content_sha256"]:
        raise StaleArtifactError(
            f"the embeddings in {path} are damaged (their checksum differs); materialize them again"
        )
    return block, metadata


def shard_metadata(path: Path | str) -> dict[str, Any]:
    """The metadata of a shard ("identity", "n", "n_ok", "content_sha256"), without reading its vectors."""
    try:
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise StaleArtifactError(f"the embeddings in {path} cannot be read; materialize them again") from error
    return _metadata(schema, path)


def open_matrix(paths: Sequence[Path | str], photo_ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of `photo_ids` from all shards of one backbone.

    Returns (matrix float16 (n, D), found bool (n,)), rows in the order of `photo_ids`; rows that no shard has a vector
    for are zeros with `found` False. Raises StaleArtifactError when the shards were made by different checkpoints.
    """
    versions = {shard_metadata(path)["identity"]["version"] for path in paths}
    if len(versions) != 1:
        raise StaleArtifactError(
            f"{len(paths)} shards of embeddings were made by {len(versions)} checkpoints; materialize them again"
        )
    row_of = {photo_id: row for row, photo_id in enumerate(photo_ids)}
    matrix: np.ndarray | None = None
    found = np.zeros(len(row_of), dtype=bool)
    for path in paths:
        block, metadata = read_shard(path)
        if matrix is None:
            matrix = np.zeros((len(row_of), metadata["identity"]["dimension"]), np.float16)
        rows = np.array([row_of.get(photo_id, -1) for photo_id in block.photo_ids], dtype=np.int64)
        wanted = (rows >= 0) & block.ok
        matrix[rows[wanted]] = block.vectors[wanted]
        found[rows[wanted]] = True
    assert matrix is not None
    return matrix, found


def content_sha256(block: EmbeddingBlock) -> str:
    """Hex SHA-256 of ids, status and vectors; two blocks with equal content have equal hashes."""
    digest = hashlib.sha256()
    digest.update(json.dumps([block.photo_ids, block.status], ensure_ascii=True, separators=(",", ":")).encode("ascii"))
    digest.update(np.ascontiguousarray(block.vectors[block.ok]).tobytes())
    return digest.hexdigest()


def _metadata(schema: pa.Schema, path: Path | str) -> dict[str, Any]:
    raw = (schema.metadata or {}).get(METADATA_KEY)
    if raw is None:
        raise StaleArtifactError(f"{path} is no shard of embeddings; materialize it again")
    return json.loads(raw)

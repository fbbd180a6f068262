"""The Parquet layout of a shard, and its vectors straight from the file.

Decoding a list column reaches about 0.1 GB/s, so shards are written such that nothing needs decoding: uncompressed,
plain, one data page for each row group. A plain page ends with its values, one after the other (Parquet format, "Data
Pages" and "Plain encoding"), so the last n * D * 2 bytes of the column's chunk are the float16 matrix of the row
group's n vectors. Each of these stretches has its CRC-32 in the file's metadata.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from geoloc_core.errors import StaleArtifactError

METADATA_KEY = "geoloc"
ROWS_PER_GROUP = 8192
OK = "ok"
VALUE_COLUMN = "vector.list.element"


@dataclass(frozen=True)
class Rows:
    """Some rows of a shard: ids, float16 (n, D), status, and the hash of each picture's file."""

    photo_ids: list[str]
    vectors: np.ndarray
    status: list[str]
    image_sha256: list[str]


class ShardWriter:
    """Writes rows, `ROWS_PER_GROUP` at a time, then the metadata; use it in a `with` block."""

    def __init__(self, sink: BinaryIO | Path, dimension: int, identity: Mapping[str, Any]) -> None:
        self._dimension, self._identity = dimension, dict(identity)
        self._schema = pa.schema(
            [
                ("photo_id", pa.string()),
                ("vector", pa.list_(pa.float16(), dimension)),
                ("status", pa.string()),
                ("image_sha256", pa.string()),
            ]
        )
        self._writer = pq.ParquetWriter(
            sink,
            self._schema,
            compression="none",
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=True,
            data_page_size=2**31 - 1,
            max_rows_per_page=2**31 - 1,
        )
        self._digest = ContentDigest()
        self._checksums: list[int] = []
        self._n = self._n_ok = 0

    def write(self, rows: Rows) -> None:
        """Append one row group: at most `ROWS_PER_GROUP` rows."""
        ok = np.array([reason == OK for reason in rows.status], dtype=bool)
        values = pa.array(rows.vectors.reshape(-1), type=pa.float16(), mask=np.repeat(~ok, self._dimension))
        columns = [
            pa.array(rows.photo_ids, type=pa.string()),
            pa.FixedSizeListArray.from_arrays(values, self._dimension),
            pa.array(rows.status, type=pa.string()),
            pa.array(rows.image_sha256, type=pa.string()),
        ]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema), row_group_size=ROWS_PER_GROUP)
        kept = np.ascontiguousarray(rows.vectors[ok])
        self._checksums.append(zlib.crc32(kept.data))
        self._digest.update(rows, kept)
        self._n += len(ok)
        self._n_ok += int(ok.sum())

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            metadata = {
                "identity": self._identity,
                "n": self._n,
                "n_ok": self._n_ok,
                "content_sha256": self._digest.hexdigest(),
                "vector_crc32": self._checksums,
            }
            self._writer.add_key_value_metadata({METADATA_KEY: json.dumps(metadata, sort_keys=True)})
        self._writer.close()


class ContentDigest:
    """SHA-256 over ids, status, picture hashes and vectors, fed a part at a time; the parts' sizes do not matter."""

    def __init__(self) -> None:
        self._names, self._values = hashlib.sha256(), hashlib.sha256()

    def update(self, rows: Rows, kept: np.ndarray) -> None:
        """Add rows; `kept` are the vectors of those that have one."""
        for described in zip(rows.photo_ids, rows.status, rows.image_sha256, strict=True):
            self._names.update(json.dumps(described).encode("ascii"))
        self._values.update(kept.data)

    def hexdigest(self) -> str:
        """The hash of everything so far."""
        return hashlib.sha256(self._names.digest() + self._values.digest()).hexdigest()


def file_metadata(path: Path | str) -> tuple[pq.FileMetaData, dict[str, Any]]:
    """Parquet's metadata and ours. Raises StaleArtifactError where the file is missing, damaged, or no shard."""
    try:
        parquet = pq.read_metadata(path)
        ours = (parquet.metadata or {}).get(METADATA_KEY.encode("ascii"))
        described = None if ours is None else json.loads(ours)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise StaleArtifactError(f"the embeddings in {path} cannot be read; materialize them again") from error
    if described is None:
        raise StaleArtifactError(f"{path} is no shard of embeddings; materialize it again")
    return parquet, described


def vector_groups(path: Path | str, ok: np.ndarray, *, verify: bool = True) -> Iterator[tuple[slice, np.ndarray]]:
    """The vectors of a shard, mapped from the file, a row group at a time.

    ok: (n,) bool, the rows that have a vector. Yields (rows of the shard, float16 (m, D)), where m counts the rows with
    a vector among them. Raises StaleArtifactError where the bytes are not those that were written.
    """
    parquet, described = file_metadata(path)
    dimension = described["identity"]["dimension"]
    mapped = np.memmap(path, mode="r")
    first = 0
    for number, checksum in zip(range(parquet.num_row_groups), described["vector_crc32"], strict=True):
        group = parquet.row_group(number)
        rows = slice(first, first + group.num_rows)
        first = rows.stop
        kept = int(ok[rows].sum())
        chunk = group.column(_value_column(group))
        end = chunk.data_page_offset + chunk.total_compressed_size
        begin = end - kept * dimension * 2
        if begin < chunk.data_page_offset or end > mapped.size:
            raise _damaged(path)
        stretch = mapped[begin:end]
        if verify and zlib.crc32(stretch.data) != checksum:
            raise _damaged(path)
        yield rows, stretch.view(np.float16).reshape(kept, dimension)


def _value_column(group: pq.RowGroupMetaData) -> int:
    for index in range(group.num_columns):
        if group.column(index).path_in_schema == VALUE_COLUMN:
            return index
    raise StaleArtifactError("a shard of embeddings has lost its column of vectors; materialize it again")


def _damaged(path: Path | str) -> StaleArtifactError:
    return StaleArtifactError(f"the embeddings in {path} are damaged (their checksum differs); materialize them again")

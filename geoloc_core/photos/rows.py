"""Frames of rows as Parquet files, whose bytes are the same for the same rows."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from geoloc_core.storage import replacing_path, unreadable


def write_rows(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame as Parquet, atomically; equal frames become equal bytes."""
    with replacing_path(path) as temporary:
        table = pa.Table.from_pandas(frame, preserve_index=False)
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def read_rows(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """A frame, or some of its columns, written by `write_rows`; a file that is missing or damaged is named."""
    try:
        return pq.read_table(path, columns=columns, page_checksum_verification=True).to_pandas()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise unreadable(path, error) from error


def frame_version(frame: pd.DataFrame) -> str:
    """Hex SHA-256 of a frame's columns, types and values, in order; the index does not count."""
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None).combine_chunks()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return hashlib.sha256(sink.getvalue()).hexdigest()


def tally(values: Iterable[str]) -> dict[str, int]:
    """How often each text occurs, the most frequent first."""
    return {str(value): int(count) for value, count in pd.Series(values).value_counts().items()}

"""Rows of photos on disk: which rows of a delivery belong to a shard, and frames as Parquet files."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from geoloc_core.errors import StaleArtifactError
from geoloc_core.line.layout import Layout
from geoloc_core.line.profile import Profile
from geoloc_core.photos.cutting import cut_shard, read_dataset
from geoloc_core.photos.schemas import RawPhotos, RejectedRows, validate
from geoloc_core.photos.sources.base import SourceBatch
from geoloc_core.photos.sources.registry import read_metadata
from geoloc_core.storage import replacing_path, unreadable


def read_shard_rows(profile: Profile, shard: str, layout: Layout, reader_version: str = "1") -> SourceBatch:
    """The rows of one shard, accepted and rejected.

    A drawn shard is the whole of its delivery. A dataset's shard `i` is the rows `i * rows_per_shard + 1` to
    `(i + 1) * rows_per_shard` of its file, and the last one all that follow: every row belongs to one shard.
    `reader_version` changes when the code that reads changes; rows cut by another are not used.
    """
    of = profile.dataset_of(shard)
    if of is None:
        return _joined(list(read_metadata(layout.delivery(shard) / "metadata.csv", "sample")))
    dataset, number = of
    if dataset.shards == 1:
        return _joined(list(read_dataset(dataset)))
    cache = layout.cut(dataset.name)
    try:
        batch = SourceBatch(*map(read_rows, cut_shard(dataset, number, cache, reader_version)))
    except StaleArtifactError:
        # No receipt watches over a cache: what is damaged in it is cut once more.
        shutil.rmtree(cache)
        batch = SourceBatch(*map(read_rows, cut_shard(dataset, number, cache, reader_version)))
    return _joined([batch])


def _joined(batches: list[SourceBatch]) -> SourceBatch:
    accepted = pd.concat([batch.accepted for batch in batches], ignore_index=True) if batches else pd.DataFrame()
    rejected = pd.concat([batch.rejected for batch in batches], ignore_index=True) if batches else pd.DataFrame()
    return SourceBatch(validate(RawPhotos, accepted, "raw_photos"), validate(RejectedRows, rejected, "rejected rows"))


def write_rows(frame: pd.DataFrame, path: Path) -> None:
    """Keep a frame as Parquet, atomically; equal frames become equal bytes."""
    with replacing_path(path) as temporary:
        table = pa.Table.from_pandas(frame, preserve_index=False)
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def read_rows(path: Path) -> pd.DataFrame:
    """A frame kept by `write_rows`; a file that is missing or damaged is named."""
    try:
        return pq.read_table(path, page_checksum_verification=True).to_pandas()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise unreadable(path, error) from error


def frame_version(frame: pd.DataFrame) -> str:
    """Hex SHA-256 of a frame's columns, types and values, in order; the index does not count."""
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None).combine_chunks()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return hashlib.sha256(sink.getvalue()).hexdigest()


def tally(values: pd.Series) -> dict[str, int]:
    """How often each text occurs, the most frequent first."""
    return {str(value): int(count) for value, count in values.value_counts().items()}

"""A dataset of many shards is read once: its rows, cut by shard, wait in the cache until each shard is asked for.

Without that, shard i of a file would be found by reading the file from its start, and the 48 shards of MP-16 would read
it 24 times over. A row may also be a duplicate of one in an earlier shard, so a reading can begin nowhere but at the start.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from geoloc_core.line.profile import Dataset
from geoloc_core.photos.delivery import store_delivery
from geoloc_core.photos.sources.base import SourceBatch
from geoloc_core.photos.sources.columns import ColumnMapping, ColumnsSource
from geoloc_core.photos.sources.registry import read_metadata
from geoloc_core.storage import one_at_a_time, value_sha256, write_text

_COMPLETE = "complete"


def read_dataset(dataset: Dataset) -> Iterator[SourceBatch]:
    """The rows of a dataset's metadata, in batches, by its `source` or its `columns`."""
    source = ColumnsSource(ColumnMapping(**dataset.columns)) if dataset.columns else dataset.source
    return read_metadata(Path(dataset.metadata), dataset.name, source)


def cut_shard(dataset: Dataset, number: int, cache: Path, reader_version: str) -> tuple[Path, Path]:
    """Parquet files of the accepted and the rejected rows of shard `number`, cut now or before.

    `cache` is the dataset's own folder. What was cut from another state of the file, with other settings or by another
    `reader_version`, is made anew. One process cuts; others wait for it.
    """
    with one_at_a_time(cache.with_name(f"{cache.name}.lock")):
        folder = cache / _state(dataset, reader_version)
        if not (folder / _COMPLETE).is_file():
            shutil.rmtree(cache, ignore_errors=True)
            _cut(dataset, folder)
            write_text(folder / _COMPLETE, "")
    return _files(folder, number)


def _cut(dataset: Dataset, folder: Path) -> None:
    written = set()
    for number, pieces in itertools.groupby(_pieces(read_dataset(dataset), dataset), key=lambda piece: piece[0]):
        store_delivery((batch for _, batch in pieces), *_files(folder, number))
        written.add(number)
    for number in set(range(dataset.shards)) - written:
        store_delivery([], *_files(folder, number))


def _pieces(batches: Iterable[SourceBatch], dataset: Dataset) -> Iterator[tuple[int, SourceBatch]]:
    """Each batch divided at the borders of shards; the numbers of the shards never fall."""
    for batch in batches:
        accepted, rejected = (_shard_numbers(frame, dataset) for frame in (batch.accepted, batch.rejected))
        for number in sorted({*accepted, *rejected}):
            yield number, SourceBatch(batch.accepted[accepted == number], batch.rejected[rejected == number])


def _shard_numbers(frame: pd.DataFrame, dataset: Dataset) -> pd.Series:
    """Which shard each row belongs to; the last takes all that is left."""
    return ((frame["row_number"] - 1) // dataset.rows_per_shard).clip(upper=dataset.shards - 1)


def _files(folder: Path, number: int) -> tuple[Path, Path]:
    return folder / f"{number:05d}.parquet", folder / f"{number:05d}.rejected.parquet"


def _state(dataset: Dataset, reader_version: str) -> str:
    path = Path(dataset.metadata)
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    stamps = [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    settings = {
        name: value for name, value in dataset.model_dump().items() if name not in {"images", "layout", "fetch"}
    }
    return value_sha256([reader_version, settings, stamps])[:16]

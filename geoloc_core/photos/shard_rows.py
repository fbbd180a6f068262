"""Which rows of a dataset belong to a shard.

A dataset of many shards is read once, as a row may be a duplicate of one in an earlier shard: the rows, cut by shard, lie
in a cache until each shard is asked for.
"""

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path

from geoloc_core.errors import StaleArtifactError
from geoloc_core.photos.rows import read_rows, write_rows
from geoloc_core.photos.schemas import RawPhotos, RejectedRows
from geoloc_core.photos.settings import Dataset, ImageLimits, RowChoice
from geoloc_core.photos.sources.base import ROWS_PER_BATCH, SourceBatch, collect
from geoloc_core.photos.sources.mapped_table import mapped_table
from geoloc_core.photos.sources.registry import read_metadata
from geoloc_core.storage import changed_fields, one_at_a_time, value_sha256, write_text
from geoloc_core.tables import validate

_COMPLETE = "complete"


def read_shard_rows(
    dataset: Dataset, number: int, cache: Path, reader_version: str = "1", limits: ImageLimits | None = None
) -> SourceBatch:
    """The accepted and the rejected rows of shard `number` of a dataset.

    Shard `i` is the rows `i * rows_per_shard + 1` to `(i + 1) * rows_per_shard` of its file, and the last also all that
    follow. `cache` is a folder for this dataset alone; rows that another `reader_version` cut, or that were cut with other
    `limits` of pictures, are not used.
    """
    limits = limits or ImageLimits()
    if dataset.shards == 1:
        batch = collect(read_dataset(dataset, limits))
    else:
        try:
            batch = _read_cut(dataset, number, cache, reader_version, limits)
        except StaleArtifactError:
            # No receipt covers a cache: what is damaged in it is cut once more.
            shutil.rmtree(cache)
            batch = _read_cut(dataset, number, cache, reader_version, limits)
    return SourceBatch(
        validate(RawPhotos, batch.accepted, "raw_photos"), validate(RejectedRows, batch.rejected, "rejected rows")
    )


def read_dataset(dataset: Dataset, limits: ImageLimits, rows_per_batch: int = ROWS_PER_BATCH) -> Iterator[SourceBatch]:
    """The rows of a dataset's metadata, in batches, by its `source` or its `columns`, `rows` and `url`."""
    own = dataset.columns or dataset.url or dataset.rows != RowChoice()
    source = mapped_table(dataset.columns or None, dataset.rows, dataset.url) if own else dataset.source
    return read_metadata(Path(dataset.metadata), dataset.name, source, rows_per_batch, limits=limits)


def refused_whole(dataset: Dataset, limits: ImageLimits, most_batches: int = 10) -> dict[str, int]:
    """Why every row of a dataset is refused, by reason; {} where one is accepted, or there are more rows than are looked at."""
    batches = read_dataset(dataset, limits, 2_000)
    looked_at = list(islice(batches, most_batches))
    if next(batches, None) is not None or any(len(batch.accepted) for batch in looked_at):
        return {}
    return dict(Counter(reason for batch in looked_at for reason in batch.rejected["reason"]))


def _read_cut(dataset: Dataset, number: int, cache: Path, reader_version: str, limits: ImageLimits) -> SourceBatch:
    """One shard from the cache, which is filled where it has another state of the file, the settings or the reader."""
    with one_at_a_time(cache.with_name(f"{cache.name}.lock")):
        folder = cache / _state(dataset, reader_version, limits)
        if not (folder / _COMPLETE).is_file():
            shutil.rmtree(cache, ignore_errors=True)
            _cut(dataset, folder, limits)
            write_text(folder / _COMPLETE, "")
    return SourceBatch(*map(read_rows, _files(folder, number)))


def _cut(dataset: Dataset, folder: Path, limits: ImageLimits) -> None:
    """Write every shard; one shard of rows is held at a time."""
    for number, pieces in groupby(_pieces(read_dataset(dataset, limits), dataset), key=itemgetter(0)):
        _write_shard([batch for _, batch in pieces], _files(folder, number))
    for number in range(dataset.shards):
        if not _files(folder, number)[0].is_file():
            _write_shard([], _files(folder, number))


def _write_shard(batches: list[SourceBatch], files: tuple[Path, Path]) -> None:
    batch = collect(batches)
    write_rows(batch.accepted, files[0])
    write_rows(batch.rejected, files[1])


def _pieces(batches: Iterable[SourceBatch], dataset: Dataset) -> Iterator[tuple[int, SourceBatch]]:
    """Each batch divided at the borders of shards, of which the last takes all that is left; the numbers never fall."""
    for batch in batches:
        accepted, rejected = (
            ((frame["row_number"] - 1) // dataset.rows_per_shard).clip(upper=dataset.shards - 1)
            for frame in (batch.accepted, batch.rejected)
        )
        for number in sorted({*accepted, *rejected}):
            yield number, SourceBatch(batch.accepted[accepted == number], batch.rejected[rejected == number])


def _files(folder: Path, number: int) -> tuple[Path, Path]:
    return folder / f"{number:05d}.parquet", folder / f"{number:05d}.rejected.parquet"


def _state(dataset: Dataset, reader_version: str, limits: ImageLimits) -> str:
    path = Path(dataset.metadata)
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    stamps = [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    settings = dataset.model_dump(exclude={"images", "layout", "fetch"})
    # Limits that are the usual ones leave the state of earlier caches as it is.
    others = changed_fields(limits)
    return value_sha256([reader_version, settings, stamps, *([others] if others else [])])[:16]

"""A delivery on its way into Parquet, in bounded memory: the photos, and beside them the rejected rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pandera.pandas as pandera
import pyarrow as pa
import pyarrow.parquet as pq

from geoloc_core.photos.schemas import RawPhotos, RejectedRows, validate
from geoloc_core.photos.sources.base import SourceBatch
from geoloc_core.progress import bar
from geoloc_core.storage import replacing


@dataclass(frozen=True)
class DeliveryCounts:
    """What became of a delivery's rows; `accepted + rejected` are the rows that came in."""

    accepted: int
    rejected: int
    reasons: Mapping[str, int]

    @property
    def rows(self) -> int:
        """Rows that came in."""
        return self.accepted + self.rejected


def store_delivery(
    batches: Iterable[SourceBatch], accepted_path: Path | str, rejected_path: Path | str
) -> DeliveryCounts:
    """Write the batches of a source to two Parquet files; both appear when the last batch is in, or neither does."""
    accepted = rejected = 0
    reasons: Counter[str] = Counter()
    with ExitStack() as stack:
        photos = stack.enter_context(_TableFile(accepted_path, RawPhotos))
        refused = stack.enter_context(_TableFile(rejected_path, RejectedRows))
        shown = stack.enter_context(bar("metadata", unit="row"))
        for batch in batches:
            photos.write(batch.accepted, f"the photos for {accepted_path}")
            refused.write(batch.rejected, f"the rejected rows for {rejected_path}")
            accepted += len(batch.accepted)
            rejected += len(batch.rejected)
            reasons.update(batch.rejected["reason"])
            shown.update(len(batch.accepted) + len(batch.rejected))
    return DeliveryCounts(accepted, rejected, dict(sorted(reasons.items())))


class _TableFile:
    """A Parquet file of one table, written batch by batch and put in place when its block ends well."""

    def __init__(self, path: Path | str, model: type[pandera.DataFrameModel]) -> None:
        self._model = model
        self._schema = arrow_schema(model)
        self._stack = ExitStack()
        self._path = path

    def __enter__(self) -> _TableFile:
        file = self._stack.enter_context(replacing(self._path))
        self._writer = self._stack.enter_context(pq.ParquetWriter(file, self._schema, compression="zstd"))
        return self

    def write(self, frame: pd.DataFrame, what: str) -> None:
        if not frame.empty:
            checked = validate(self._model, frame, what)
            self._writer.write_table(pa.Table.from_pandas(checked, schema=self._schema, preserve_index=False))

    def __exit__(self, *problem: object) -> bool | None:
        return self._stack.__exit__(*problem)  # type: ignore[arg-type]


def arrow_schema(model: type[pandera.DataFrameModel]) -> pa.Schema:
    """The Arrow schema of a table; text stays text where a frame has no rows to tell it from."""
    fields = []
    for name, column in model.to_schema().columns.items():
        kind = str(column.dtype)
        fields.append((name, pa.string() if kind in ("object", "str") else pa.from_numpy_dtype(kind)))
    return pa.schema(fields)

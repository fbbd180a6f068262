"""The table of predictions, declared once: its columns, what they mean and come from, and what must hold of them.

The Parquet schema, the check before writing and the descriptions that people read are all derived from `Predictions`. In an
origin, "{photos}" stands for the table of photos that was predicted: training_photos, or labeled_photos for a benchmark.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pyarrow
from pandera.typing.pandas import Series

from geoloc_core.geography.cells import LEVELS, id_column

# Probabilities are kept in 32 bits, and a softmax may add up to slightly more than 1.
ROUNDING = 1e-4
VECTOR = "embeddings.vector"
COUNTRY = "{photos}.country_id"
POINT = f"{VECTOR} region_anchors.latitude region_anchors.longitude"
NOT_EMPTY: dict[str, Any] = {"str_length": {"min_value": 1}}
LATITUDE: dict[str, Any] = {"ge": -90.0, "le": 90.0}
LONGITUDE: dict[str, Any] = {"ge": -180.0, "le": 180.0}
PROBABILITY: dict[str, Any] = {"ge": 0.0, "le": 1.0 + ROUNDING, "nullable": True}


def _column(
    name: str, dtype: Any, description: str, made_from: str, items: str = "", **rules: Any
) -> tuple[str, Any, Any]:
    """A column: its type, what it means, the upstream columns that it is made from, the type of a list's items, its rules."""
    metadata = {"made_from": tuple(made_from.split()), "items": items}
    return name, Series[dtype], pa.Field(description=description, metadata=metadata, **rules)


# fmt: off
COLUMNS = [
    _column("photo_id", str, "Name of the photo, unique within its dataset", "{photos}.photo_id", **NOT_EMPTY),
    _column("author_id", str, "Who took the photo; the split keeps an author on one side", "{photos}.author_id"),
    _column("latitude", np.float64, "Degrees north, WGS 84: where the photo was taken", "{photos}.latitude", **LATITUDE),
    _column("longitude", np.float64, "Degrees east, WGS 84: where the photo was taken", "{photos}.longitude", **LONGITUDE),
    _column("country_id", str, "The true country; empty where there is none", COUNTRY),
    _column("continent", str, "Continent of the true country", COUNTRY),
    _column("predicted_country_id", str, "The most probable country", VECTOR),
    _column("probability", np.float32, "Its probability", VECTOR, **PROBABILITY),
    _column("rank", np.int32, "Rank of the true country among all, from 1", f"{VECTOR} {COUNTRY}", ge=1),
    _column("topk_ids", object, "The most probable countries, best first", VECTOR, items="string"),
    _column("topk_probabilities", object, "Their probabilities", VECTOR, items="float32"),
    _column("predicted_latitude", np.float64, "Degrees north of the answered point", POINT, **LATITUDE, nullable=True),
    _column("predicted_longitude", np.float64, "Degrees east of the answered point", POINT, **LONGITUDE, nullable=True),
    _column("distance_km", np.float64, "Great-circle kilometres from the true place to the answered point",
            f"{POINT} {{photos}}.latitude {{photos}}.longitude", ge=0.0, le=20_015.1, nullable=True),
    _column("status", str, "ok, or why there is no answer", "embeddings.status", **NOT_EMPTY),
    *(column for level in LEVELS[1:] for column in (
        _column(id_column(level), str, f"The true {level}; empty where there is none", f"{{photos}}.{id_column(level)}"),
        _column(f"predicted_{id_column(level)}", str, f"The most probable {level} of the answered country", VECTOR))),
    _column("truth_probability", np.float32, "Probability of the true country", f"{VECTOR} {COUNTRY}", **PROBABILITY),
    _column("brier", np.float32, "Brier score of the photo, 0 to 2", f"{VECTOR} {COUNTRY}",
            ge=-ROUNDING, le=2.0 + ROUNDING, nullable=True),
]
# fmt: on
_Columns = type(
    "_Columns",
    (pa.DataFrameModel,),
    {**{name: field for name, _, field in COLUMNS}, "__annotations__": {name: dtype for name, dtype, _ in COLUMNS}},
)


class Predictions(_Columns):  # type: ignore[valid-type, misc]
    """One row for each photo to be located: the truth, the answer, the distance between, or why there is no answer."""

    class Config:
        """pandera's own settings."""

        strict = True
        ordered = True
        coerce = True

    @pa.dataframe_check(
        error="a photo has a country, a probability, a point and a distance exactly when its status is 'ok'"
    )
    def _ok_means_answered(cls, frame: pd.DataFrame) -> pd.Series:
        ok = frame["status"] == "ok"
        consistent = ok == (frame["predicted_country_id"] != "")
        for name in ("probability", "predicted_latitude", "predicted_longitude", "distance_km", "brier"):
            consistent &= ok == frame[name].notna()
        return consistent & (ok == (frame["topk_ids"].map(len) > 0))

    @pa.dataframe_check(
        error="the most probable countries begin with the answer and are as many as their probabilities"
    )
    def _best_first(cls, frame: pd.DataFrame) -> pd.Series:
        first = frame["topk_ids"].map(lambda ids: ids[0] if len(ids) else "")
        same_length = frame["topk_ids"].map(len) == frame["topk_probabilities"].map(len)
        return same_length & (first == frame["predicted_country_id"])

    @pa.dataframe_check(error="a photo in no country, or without an answer, has no rank")
    def _rank_means_class(cls, frame: pd.DataFrame) -> pd.Series:
        never = frame["rank"] == np.iinfo(np.int32).max
        return never | ((frame["status"] == "ok") & (frame["country_id"] != ""))


def parquet_schema() -> pyarrow.Schema:
    """The types of the Parquet file, from the columns of `Predictions`."""

    def arrow_type(column: Any) -> pyarrow.DataType:
        items = column.metadata["items"]
        if items:
            return pyarrow.list_(pyarrow.type_for_alias(items))
        return pyarrow.type_for_alias(str(column.dtype).replace("str", "string"))

    return pyarrow.schema([(name, arrow_type(column)) for name, column in Predictions.to_schema().columns.items()])

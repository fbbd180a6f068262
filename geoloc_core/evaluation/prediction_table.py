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
POINT = (VECTOR, "region_anchors.latitude", "region_anchors.longitude")


def _column(description: str, *made_from: str, items: str = "", **rules: Any) -> Any:
    """A column: what it means, the upstream columns that it is made from, the type of a list's items, and its rules."""
    return pa.Field(description=description, metadata={"made_from": made_from, "items": items}, **rules)


def _degrees(description: str, *made_from: str, largest: float, nullable: bool = False) -> Any:
    return _column(description, *made_from, ge=-largest, le=largest, nullable=nullable)


class _TruthAndAnswer(pa.DataFrameModel):
    photo_id: Series[str] = _column(
        "Name of the photo, unique within its dataset", "{photos}.photo_id", str_length={"min_value": 1}
    )
    author_id: Series[str] = _column(
        "Who took the photo, as the delivery says; the split keeps an author on one side", "{photos}.author_id"
    )
    latitude: Series[np.float64] = _degrees(
        "Degrees north, WGS 84: where the photo was taken", "{photos}.latitude", largest=90.0
    )
    longitude: Series[np.float64] = _degrees(
        "Degrees east, WGS 84: where the photo was taken", "{photos}.longitude", largest=180.0
    )
    country_id: Series[str] = _column("The true country; empty where there is none", COUNTRY)
    continent: Series[str] = _column("Continent of the true country", COUNTRY)
    predicted_country_id: Series[str] = _column("The most probable country", VECTOR)
    probability: Series[np.float32] = _column("Its probability", VECTOR, ge=0.0, le=1.0 + ROUNDING, nullable=True)
    rank: Series[np.int32] = _column("Rank of the true country among all, from 1", VECTOR, COUNTRY, ge=1)
    topk_ids: Series[object] = _column("The most probable countries, best first", VECTOR, items="string")
    topk_probabilities: Series[object] = _column("Their probabilities", VECTOR, items="float32")
    predicted_latitude: Series[np.float64] = _degrees(
        "Degrees north of the answered point", *POINT, largest=90.0, nullable=True
    )
    predicted_longitude: Series[np.float64] = _degrees(
        "Degrees east of the answered point", *POINT, largest=180.0, nullable=True
    )
    distance_km: Series[np.float64] = _column(
        "Great-circle kilometres from the true place to the answered point",
        *POINT,
        "{photos}.latitude",
        "{photos}.longitude",
        ge=0.0,
        le=20_015.1,
        nullable=True,
    )
    status: Series[str] = _column("ok, or why there is no answer", "embeddings.status", str_length={"min_value": 1})


def _finer_levels() -> dict[str, Any]:
    columns = {}
    for level in LEVELS[1:]:
        truth = id_column(level)
        columns[truth] = _column(f"The true {level}; empty where there is none", f"{{photos}}.{truth}")
        columns[f"predicted_{truth}"] = _column(f"The most probable {level} of the answered country", VECTOR)
    return {**columns, "__module__": __name__, "__annotations__": dict.fromkeys(columns, Series[str])}


_WithFinerLevels = type("_WithFinerLevels", (_TruthAndAnswer,), _finer_levels())


class Predictions(_WithFinerLevels):  # type: ignore[valid-type, misc]
    """One row for each photo to be located: the truth, the answer, the distance between, or why there is no answer."""

    truth_probability: Series[np.float32] = _column(
        "Probability of the true country", VECTOR, COUNTRY, ge=0.0, le=1.0 + ROUNDING, nullable=True
    )
    brier: Series[np.float32] = _column(
        "Brier score of the photo, 0 to 2", VECTOR, COUNTRY, ge=-ROUNDING, le=2.0 + ROUNDING, nullable=True
    )

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

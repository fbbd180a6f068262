"""The contract of the predictions table: what must hold of it before it is written."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandera.typing.pandas import Series

# Probabilities are kept in 32 bits, and a softmax may add up to a hair more than 1.
HAIR = 1e-4


class Predictions(pa.DataFrameModel):
    """One row for each photo that was asked: the truth, the answer, the distance between, or why there is no answer."""

    photo_id: Series[str] = pa.Field(str_length={"min_value": 1})
    author_id: Series[str]
    latitude: Series[np.float64] = pa.Field(ge=-90.0, le=90.0)
    longitude: Series[np.float64] = pa.Field(ge=-180.0, le=180.0)
    country_id: Series[str]
    continent: Series[str]
    predicted_country_id: Series[str]
    probability: Series[np.float32] = pa.Field(ge=0.0, le=1.0 + HAIR, nullable=True)
    rank: Series[np.int32] = pa.Field(ge=1)
    topk_ids: Series[object]
    topk_probabilities: Series[object]
    predicted_latitude: Series[np.float64] = pa.Field(ge=-90.0, le=90.0, nullable=True)
    predicted_longitude: Series[np.float64] = pa.Field(ge=-180.0, le=180.0, nullable=True)
    distance_km: Series[np.float64] = pa.Field(ge=0.0, le=20_015.1, nullable=True)
    status: Series[str] = pa.Field(str_length={"min_value": 1})
    subdivision_id: Series[str]
    predicted_subdivision_id: Series[str]
    truth_probability: Series[np.float32] = pa.Field(ge=0.0, le=1.0 + HAIR, nullable=True)
    brier: Series[np.float32] = pa.Field(ge=-HAIR, le=2.0 + HAIR, nullable=True)

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
        told = ok == (frame["predicted_country_id"] != "")
        for name in ("probability", "predicted_latitude", "predicted_longitude", "distance_km", "brier"):
            told &= ok == frame[name].notna()
        return told & (ok == (frame["topk_ids"].map(len) > 0))

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

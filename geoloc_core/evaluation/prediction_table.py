"""The table of predictions: its columns, what they mean and come from, and what must hold of them.

In an origin, "{photos}" stands for the table of photos that was predicted: training_photos, or labeled_photos for a benchmark.
"""

from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pyarrow

from geoloc_core.geography.cells import LEVELS, id_column
from geoloc_core.tables import column, latitude, longitude, number, table, text

# Probabilities are kept in 32 bits, and a softmax may add up to slightly more than 1.
ROUNDING = 1e-4
VECTOR, COUNTRY = "embeddings.vector", "{photos}.country_id"
PLACE = ("{photos}.latitude", "{photos}.longitude")
POINT = (VECTOR, "region_anchors.latitude", "region_anchors.longitude")
PROBABILITY: dict[str, Any] = {"low": 0.0, "high": 1.0 + ROUNDING, "nullable": True}
LISTS = {"topk_ids": pyarrow.list_(pyarrow.string()), "topk_probabilities": pyarrow.list_(pyarrow.float32())}


def _ok_means_answered(frame: pd.DataFrame) -> pd.Series:
    ok = frame["status"] == "ok"
    consistent = (ok == (frame["predicted_country_id"] != "")) & (ok == (frame["topk_ids"].map(len) > 0))
    for name in ("probability", "predicted_latitude", "predicted_longitude", "distance_km", "brier"):
        consistent &= ok == frame[name].notna()
    return consistent


def _best_first(frame: pd.DataFrame) -> pd.Series:
    first = frame["topk_ids"].map(lambda ids: ids[0] if len(ids) else "")
    same_length = frame["topk_ids"].map(len) == frame["topk_probabilities"].map(len)
    return same_length & (first == frame["predicted_country_id"])


def _rank_means_class(frame: pd.DataFrame) -> pd.Series:
    never = frame["rank"] == np.iinfo(np.int32).max
    return never | ((frame["status"] == "ok") & (frame["country_id"] != ""))


RULES = {
    "a photo has a country, a probability, a point and a distance exactly when its status is 'ok'": _ok_means_answered,
    "the most probable countries begin with the answer and are as many as their probabilities": _best_first,
    "a photo in no country, or without an answer, has no rank": _rank_means_class,
}
# fmt: off
Predictions = table(
    "Predictions",
    "One row for each photo to be located: the truth, the answer, the distance between, or why there is no answer.",
    {
        "photo_id": text("Name of the photo, unique within its dataset", "{photos}.photo_id", filled=True),
        "author_id": text("Who took the photo; the split keeps an author on one side", "{photos}.author_id"),
        "latitude": latitude("Degrees north, WGS 84: where the photo was taken", PLACE[0]),
        "longitude": longitude("Degrees east, WGS 84: where the photo was taken", PLACE[1]),
        "country_id": text("The true country; empty where there is none", COUNTRY),
        "continent": text("Continent of the true country", COUNTRY),
        "predicted_country_id": text("The most probable country", VECTOR),
        "predicted_continent": text("Its continent", VECTOR),
        "probability": number(np.float32, "Its probability", VECTOR, **PROBABILITY),
        "rank": number(np.int32, "Rank of the true country among all, from 1", VECTOR, COUNTRY, low=1),
        "topk_ids": column(object, "The most probable countries, best first", VECTOR),
        "topk_probabilities": column(object, "Their probabilities", VECTOR),
        "predicted_latitude": latitude("Degrees north of the answered point", *POINT, nullable=True),
        "predicted_longitude": longitude("Degrees east of the answered point", *POINT, nullable=True),
        "distance_km": number(np.float64, "Great-circle kilometres from the true place to the answered point",
                              *POINT, *PLACE, low=0.0, high=20_015.1, nullable=True),
        "status": text("ok, or why there is no answer", "embeddings.status", filled=True),
        **{name: of_level for level in LEVELS[1:] for name, of_level in {
            id_column(level): text(f"The true {level}; empty where there is none", f"{{photos}}.{id_column(level)}"),
            f"predicted_{id_column(level)}": text(f"The most probable {level} of the answered country", VECTOR),
        }.items()},
        "truth_probability": number(np.float32, "Probability of the true country", VECTOR, COUNTRY, **PROBABILITY),
        "brier": number(np.float32, "Brier score of the photo, 0 to 2", VECTOR, COUNTRY,
                        low=-ROUNDING, high=2.0 + ROUNDING, nullable=True),
    },
    checks=[pa.Check(rule, error=words) for words, rule in RULES.items()],
)
# fmt: on


def parquet_schema() -> pyarrow.Schema:
    """The types of the Parquet file, from the columns of `Predictions`."""
    types = {name: str(column.dtype).replace("str", "string") for name, column in Predictions.columns.items()}
    return pyarrow.schema([(name, LISTS.get(name) or pyarrow.type_for_alias(type_)) for name, type_ in types.items()])

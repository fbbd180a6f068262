"""The predictions frame: one row for every photo to be located, with the truth, the answer and the distance between.

It is the one input of everything else in this room. A photo that could not be answered (its file is missing or broken)
keeps its row, with the reason in `status`: it counts as wrong wherever something is counted. `prediction_table.Predictions`
declares the columns; it is imported where a file is written or read, as pandera takes most of a second to load.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from geoloc_core.errors import InputError
from geoloc_core.geography.cells import LEVELS, id_column
from geoloc_core.geography.sphere import haversine_km
from geoloc_core.storage import replacing_path, unreadable

if TYPE_CHECKING:
    from geoloc_core.geography.boundaries import BoundarySet

ANSWERED = "ok"
# Rank of a truth that is not among the classes (never seen in training), or of a photo without an answer.
NEVER = np.iinfo(np.int32).max
ROWS_AT_ONCE = 16_384


def predictions_frame(
    photos: pd.DataFrame,
    posterior: np.ndarray,
    classes: Sequence[str],
    points: np.ndarray,
    *,
    continents: Mapping[str, str],
    status: Sequence[str] | None = None,
    predicted_cells: Mapping[str, Sequence[str]] | None = None,
    top_k: int = 10,
) -> pd.DataFrame:
    """Put truths and answers side by side.

    photos: n rows with photo_id, author_id, latitude, longitude (degrees), country_id ("" where the truth lies in no country)
    and the ids of finer levels where there are any; posterior: (n, K) over the country ids `classes`, not read where the
    status is not "ok"; points: (n, 2) latitude and longitude of the answers; continents: by country id; status: n times "ok" or
    why there is no answer, None where all have one; predicted_cells: n ids for each finer level that the head knows; top_k: how
    many of the best countries to keep.

    Returns the columns of `prediction_table.Predictions`, among them truth_probability, that of the true country (0 where it
    is no class), and brier, sum_k (p_k - [k is the truth])^2 (Brier, 1950). Equal probabilities are ordered by country id, so
    that neither the order of the classes nor the sorting algorithm can change a rank.
    """
    n, classes_array = len(photos), np.asarray(classes, dtype=object)
    posterior, points = np.asarray(posterior), np.asarray(points, dtype=np.float64)
    if n == 0:
        raise InputError("there is no photo to evaluate; give at least one")
    for what, parts, width in (("posterior", posterior, len(classes)), ("points", points, 2)):
        if parts.shape != (n, width) or not width:
            raise InputError(
                f"the {what} have shape {parts.shape}, but there are {n} photos and {len(classes)} classes"
            )
    for what, given in {"status": status, **(predicted_cells or {})}.items():
        if given is not None and len(given) != n:
            raise InputError(f"there are {len(given)} values of {what} for {n} photos")
    reasons = np.array([ANSWERED] * n if status is None else status, dtype=object)
    answered = reasons == ANSWERED
    if not np.isfinite(posterior[answered]).all() or not np.isfinite(points[answered]).all():
        raise InputError("an answered photo has no finite probability or point; give its row a status other than 'ok'")

    truth = photos["country_id"].to_numpy(dtype=object)
    by_id = np.argsort(classes_array.astype(str), kind="stable")
    ids = classes_array[by_id]
    rank = np.full(n, NEVER, dtype=np.int32)
    best_ids = np.full(n, "", dtype=object)
    best_probability, truth_probability, brier = (np.full(n, np.nan, dtype=np.float32) for _ in range(3))
    topk_ids: list[list[str]] = [[] for _ in range(n)]
    topk_probabilities: list[list[float]] = [[] for _ in range(n)]
    truth_column = np.where(truth == "", -1, pd.Index(ids).get_indexer(pd.Index(truth)))
    rows_answered = np.flatnonzero(answered)
    for start in range(0, len(rows_answered), ROWS_AT_ONCE):
        rows = rows_answered[start : start + ROWS_AT_ONCE]
        block = posterior[rows][:, by_id]
        order = np.argsort(-block, axis=1, kind="stable")  # equal probabilities in the order of the ids
        column = truth_column[rows]
        is_class = column >= 0
        rank[rows] = np.where(is_class, 1 + (order == column[:, None]).argmax(axis=1), NEVER)
        of_truth = np.where(is_class, block[np.arange(len(rows)), column].astype(np.float64), 0.0)
        order = order[:, :top_k]
        values = np.take_along_axis(block, order, axis=1)
        best_ids[rows], best_probability[rows], truth_probability[rows] = ids[order[:, 0]], values[:, 0], of_truth
        brier[rows] = np.square(block, dtype=np.float64).sum(axis=1) - 2.0 * of_truth + 1.0
        for row, names, numbers in zip(rows, ids[order].tolist(), values.tolist(), strict=True):
            topk_ids[row], topk_probabilities[row] = names, numbers

    latitude, longitude = (photos[name].to_numpy(dtype=np.float64) for name in ("latitude", "longitude"))
    answer = np.where(answered[:, None], points, np.nan)
    finer = {}
    for level in LEVELS[1:]:
        name, empty = id_column(level), np.full(n, "", dtype=object)
        finer[name] = photos[name].to_numpy(dtype=object) if name in photos else empty
        predicted = np.asarray((predicted_cells or {}).get(level, empty), dtype=object)
        finer[f"predicted_{name}"] = np.where(answered, predicted, "")
    return pd.DataFrame(
        {
            "photo_id": photos["photo_id"].to_numpy(dtype=object),
            "author_id": photos["author_id"].to_numpy(dtype=object),
            "latitude": latitude,
            "longitude": longitude,
            "country_id": truth,
            "continent": np.array([continents.get(name, "") for name in truth], dtype=object),
            "predicted_country_id": best_ids,
            "predicted_continent": np.array([continents.get(name, "") for name in best_ids], dtype=object),
            "probability": best_probability,
            "rank": rank,
            "topk_ids": topk_ids,
            "topk_probabilities": topk_probabilities,
            "predicted_latitude": answer[:, 0],
            "predicted_longitude": answer[:, 1],
            "distance_km": haversine_km(latitude, longitude, answer[:, 0], answer[:, 1]),
            "status": reasons,
            **finer,
            "truth_probability": truth_probability,
            "brier": brier,
        }
    )


def bootstrap_units(predictions: pd.DataFrame) -> np.ndarray:
    """(n,) the author of each photo; a photo without author stands for its own author, as in the split."""
    authors = predictions["author_id"].to_numpy(dtype=object)
    own = "photo:" + predictions["photo_id"].astype(str).to_numpy(dtype=object)
    return np.where(authors == "", own, authors)


def continents(boundaries: BoundarySet) -> dict[str, str]:
    """Continent of each country of a boundary set."""
    return dict(zip(boundaries.countries["region_id"], boundaries.countries["continent"], strict=True))


def write_predictions(path: str | os.PathLike[str], predictions: pd.DataFrame) -> None:
    """Check a predictions frame and keep it as Parquet, atomically; equal frames give equal bytes."""
    from geoloc_core.evaluation.prediction_table import Predictions, parquet_schema
    from geoloc_core.tables import validate

    checked = validate(Predictions, predictions, os.fspath(path))
    table = pa.Table.from_pandas(checked, schema=parquet_schema(), preserve_index=False)
    with replacing_path(path) as temporary:
        pq.write_table(table.replace_schema_metadata(None), temporary, compression="zstd", write_page_checksum=True)


def read_predictions(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read what `write_predictions` kept; InputError or StaleArtifactError names a file that is missing or damaged."""
    from geoloc_core.evaluation.prediction_table import parquet_schema

    try:
        table = pq.read_table(path, page_checksum_verification=True)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise unreadable(path, error) from error
    schema = parquet_schema()
    if missing := [name for name in schema.names if name not in table.column_names]:
        words = f"{path} is not a predictions file: it has no column {missing[0]!r}; evaluate again to write it anew"
        raise InputError(words)
    frame = table.select(schema.names).to_pandas()
    for field in schema:
        if pa.types.is_list(field.type):
            frame[field.name] = [list(values) for values in frame[field.name]]
    return frame

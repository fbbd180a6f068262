"""What can be scored without looking at a photo: the bar that any model must pass, and the ceiling that it cannot.

The baselines know the training photos and nothing else. They give no answer where the models could not (`status`), so that a
row of a table differs from the next by its answers alone. In every function `others` are `continents` and `status` of
`predictions_frame`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from geoloc_core.errors import InputError
from geoloc_core.evaluation.metrics import geoscore
from geoloc_core.evaluation.predictions import ANSWERED, predictions_frame
from geoloc_core.geography.cells import LEVELS, ROOT, id_column
from geoloc_core.geography.sphere import haversine_km, pairwise_haversine_km

CLASS_PRIOR = "class prior"
CONSTANT_POINT = "best constant point"
RANDOM_PHOTO = "random photo"
PERFECT = "perfect classifier"

# Training photos are gathered in cells of this size, so that four million of them cost no more than their places do.
CELL_DEGREES = 0.1
CANDIDATES = 1_500
PAIRS_AT_ONCE = 4_000_000


def baseline_predictions(
    training: pd.DataFrame, photos: pd.DataFrame, anchors: pd.DataFrame, **others: Any
) -> dict[str, pd.DataFrame]:
    """The predictions of the three baselines by name."""
    return {
        CLASS_PRIOR: class_prior_predictions(training, photos, anchors, **others),
        CONSTANT_POINT: constant_point_predictions(training, photos, **others),
        RANDOM_PHOTO: random_photo_predictions(training, photos, **others),
    }


def class_shares(training: pd.DataFrame) -> tuple[list[str], np.ndarray]:
    """The countries of the training photos in order of id, and the share of the photos that each has (sums to 1)."""
    counts = _labelled(training)["country_id"].value_counts()
    shares = (counts / counts.sum()).sort_index()
    return [str(name) for name in shares.index], shares.to_numpy(dtype=np.float64)


def class_prior_predictions(
    training: pd.DataFrame, photos: pd.DataFrame, anchors: pd.DataFrame, **others: Any
) -> pd.DataFrame:
    """For every photo the country shares of the training photos, and the commonest sub-division of the commonest country.

    anchors: one for each country (region_id, its point).
    """
    classes, shares = class_shares(training)
    best = classes[int(np.argmax(shares))]
    point = anchors.loc[anchors["region_id"] == best, ["latitude", "longitude"]].to_numpy(dtype=np.float64)
    posterior = np.broadcast_to(shares, (len(photos), len(classes)))
    rows = _labelled(training)
    cells = _cells_of(rows[rows["country_id"] == best])
    others["predicted_cells"] = {level: [pd.Series(ids).mode()[0]] * len(photos) for level, ids in cells.items()}
    return predictions_frame(photos, posterior, classes, np.repeat(point, len(photos), axis=0), **others)


def constant_point_predictions(training: pd.DataFrame, photos: pd.DataFrame, **others: Any) -> pd.DataFrame:
    """For every photo the one point that serves the training photos best (`best_constant_point`).

    A point names one country, that of the training photo nearest to it, so its top-5 and top-10 are its accuracy.
    """
    rows, labelled = training[training["split"] == "train"], _labelled(training)
    point = best_constant_point(rows["latitude"].to_numpy(), rows["longitude"].to_numpy())
    distance = haversine_km(point[0], point[1], labelled["latitude"].to_numpy(), labelled["longitude"].to_numpy())
    nearest = labelled.iloc[np.repeat(np.argmin(distance), len(photos))]
    country = str(nearest["country_id"].iloc[0])
    others["predicted_cells"] = _cells_of(nearest)
    points = np.broadcast_to(np.array(point), (len(photos), 2))
    return predictions_frame(photos, np.ones((len(photos), 1)), [country], points, **others)


def random_photo_predictions(
    training: pd.DataFrame, photos: pd.DataFrame, seed: int = 0, **others: Any
) -> pd.DataFrame:
    """For every photo the place and the country of a training photo drawn at random (all equally likely)."""
    labelled = _labelled(training)
    drawn = labelled.iloc[np.random.default_rng(seed).integers(len(labelled), size=len(photos))]
    classes, column = np.unique(drawn["country_id"].to_numpy(dtype=str), return_inverse=True)
    posterior = np.zeros((len(photos), len(classes)))
    posterior[np.arange(len(photos)), column] = 1.0
    points = drawn[["latitude", "longitude"]].to_numpy(dtype=np.float64)
    others["predicted_cells"] = _cells_of(drawn)
    return predictions_frame(photos, posterior, [str(name) for name in classes], points, **others)


def perfect_predictions(
    photos: pd.DataFrame,
    anchors: pd.DataFrame,
    *,
    level: str = ROOT,
    status: Sequence[str] | None = None,
    **others: Any,
) -> pd.DataFrame:
    """The ceiling: every region of the level named rightly, answered with its own anchor (region_id, latitude, longitude).

    What is lost is lost by the anchors alone. A photo in no region, or in one without anchor, cannot be answered even
    by a perfect classifier: it keeps its row, with the status "no_region".
    """
    place = anchors.set_index("region_id")[["latitude", "longitude"]]
    points = place.reindex(photos[id_column(level)].to_numpy(dtype=object)).to_numpy(dtype=np.float64)
    country = photos["country_id"].to_numpy(dtype=object)
    reasons = np.array([ANSWERED] * len(photos) if status is None else status, dtype=object)
    reasons[(reasons == ANSWERED) & (np.isnan(points[:, 0]) | (country == ""))] = "no_region"
    classes = sorted({name for name in country if name != ""}) or ["none"]
    posterior = (country[:, None] == np.array(classes, dtype=object)[None, :]).astype(np.float64)
    if level != ROOT:
        others["predicted_cells"] = _cells_of(photos)
    return predictions_frame(photos, posterior, classes, points, status=list(reasons), **others)


def best_constant_point(latitude: np.ndarray, longitude: np.ndarray) -> tuple[float, float]:
    """The point (latitude, longitude) with the highest GeoScore when it answers for all photos at (n,) degrees.

    Candidates are the places with most photos and a grid of 10 degrees; the best is moved in ever smaller steps while
    that helps. The result is a local optimum next to the best of all candidates, found the same way every time.
    """
    cells, coarse = _cells(latitude, longitude, CELL_DEGREES), _cells(latitude, longitude, 1.0)
    heaviest = np.argsort(-coarse[2], kind="stable")[:CANDIDATES]
    grid = np.array([(lat, lon) for lat in range(-80, 90, 10) for lon in range(-180, 180, 10)], dtype=np.float64)
    candidates = np.vstack([np.column_stack([coarse[0][heaviest], coarse[1][heaviest]]), grid])
    # The cells of the first look are coarse: the best few are compared again on the fine ones.
    shortlist = candidates[np.argsort(-_total_geoscore(candidates, *coarse), kind="stable")[:20]]
    total = _total_geoscore(shortlist, *cells)
    point, best = shortlist[int(np.argmax(total))], float(total.max())
    step = 8.0
    while step > CELL_DEGREES / 4:
        around = _neighbours(point, step)
        total = _total_geoscore(around, *cells)
        if total.max() > best:
            point, best = around[int(np.argmax(total))], float(total.max())
        else:
            step /= 2
    return float(point[0]), float(point[1])


def _total_geoscore(points: np.ndarray, latitude: np.ndarray, longitude: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(m,) GeoScore of each of m points, summed over the weighted places."""
    blocks = np.array_split(points, -(-len(points) // max(1, PAIRS_AT_ONCE // len(latitude))))
    distances = (pairwise_haversine_km(block[:, 0], block[:, 1], latitude, longitude) for block in blocks)
    return np.concatenate([geoscore(distance) @ weight for distance in distances])


def _cells(latitude: np.ndarray, longitude: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Photos gathered in cells: mean latitude and longitude of each occupied cell, and its number of photos."""
    row, column = np.floor(latitude / degrees).astype(np.int64), np.floor(longitude / degrees).astype(np.int64)
    _, inverse, count = np.unique(row * 1_000_000 + column, return_inverse=True, return_counts=True)
    # A cell never crosses the antimeridian, so its mean is a plain mean.
    return np.bincount(inverse, latitude) / count, np.bincount(inverse, longitude) / count, count.astype(np.float64)


def _neighbours(point: np.ndarray, step: float) -> np.ndarray:
    """(8, 2) points around one, `step` degrees of arc away along each axis; kept on the globe."""
    east = step / max(np.cos(np.radians(point[0])), 0.05)
    moves = np.array([(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0)])
    latitude, longitude = (point + moves * (step, east)).T
    return np.column_stack([np.clip(latitude, -90.0, 90.0), (longitude + 180.0) % 360.0 - 180.0])


def _cells_of(photos: pd.DataFrame) -> dict[str, np.ndarray]:
    """The ids of the finer levels, as far as there are any."""
    return {level: photos[id_column(level)].to_numpy(object) for level in LEVELS[1:] if id_column(level) in photos}


def _labelled(training: pd.DataFrame) -> pd.DataFrame:
    """The training photos that lie in a country."""
    rows = training[(training["split"] == "train") & (training["country_id"] != "")]
    if rows.empty:
        raise InputError("there is no training photo in a country, so no baseline can be fitted")
    return rows

"""What can be scored without looking at a photo: the bar that any model must pass.

All of them know the training photos and nothing else. They give no answer where the models could not (`status`), so
that a row of a table differs from the next by its answers alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from geoloc_core.errors import InputError
from geoloc_core.evaluation.metrics import geoscore
from geoloc_core.evaluation.predictions import predictions_frame
from geoloc_core.geography.sphere import haversine_km, pairwise_haversine_km

CLASS_PRIOR = "class prior"
CONSTANT_POINT = "best constant point"
RANDOM_PHOTO = "random photo"
PERFECT = "perfect classifier"

# Training photos are gathered in cells of this size, so that four million of them cost no more than their places do.
CELL_DEGREES = 0.1
CANDIDATES = 1_500
PAIRS_AT_ONCE = 4_000_000


def class_shares(training: pd.DataFrame) -> tuple[list[str], np.ndarray]:
    """The countries of the training photos in order of id, and the share of the photos that each has (sums to 1)."""
    counts = _in_countries(_train_rows(training))["country_id"].value_counts()
    shares = (counts / counts.sum()).sort_index()
    return [str(name) for name in shares.index], shares.to_numpy(dtype=np.float64)


def class_prior_predictions(
    training: pd.DataFrame,
    photos: pd.DataFrame,
    anchors: pd.DataFrame,
    *,
    continents: Mapping[str, str],
    status: Sequence[str] | None = None,
) -> pd.DataFrame:
    """For every photo the same posterior: the share of each country among the training photos.

    Args:
        training: photos with country_id, latitude, longitude; rows whose `split` is not "train" are not used.
        photos, continents, status: as in `predictions_frame`.
        anchors: region_id, latitude, longitude: the points that the models answer with, one for each country.
    """
    classes, shares = class_shares(training)
    best = classes[int(np.argmax(shares))]
    place = anchors.loc[anchors["region_id"] == best, ["latitude", "longitude"]].to_numpy(dtype=np.float64)
    if len(place) != 1:
        raise InputError(f"there are {len(place)} anchors for {best!r}; give exactly one point for each country")
    posterior = np.broadcast_to(shares, (len(photos), len(classes)))
    points = np.broadcast_to(place[0], (len(photos), 2))
    return predictions_frame(photos, posterior, classes, points, continents=continents, status=status)


def constant_point_predictions(
    training: pd.DataFrame,
    photos: pd.DataFrame,
    *,
    continents: Mapping[str, str],
    objective: str = "geoscore",
    status: Sequence[str] | None = None,
) -> pd.DataFrame:
    """For every photo the one point that serves the training photos best (`best_constant_point`).

    A point names one country, that of the training photo nearest to it, so its top-5 and top-10 are its accuracy.
    """
    rows = _train_rows(training)
    point = best_constant_point(rows["latitude"].to_numpy(), rows["longitude"].to_numpy(), objective)
    labelled = _in_countries(rows)
    distance = haversine_km(point[0], point[1], labelled["latitude"].to_numpy(), labelled["longitude"].to_numpy())
    country = str(labelled["country_id"].iloc[int(np.argmin(distance))])
    points = np.broadcast_to(np.array(point), (len(photos), 2))
    return predictions_frame(photos, np.ones((len(photos), 1)), [country], points, continents=continents, status=status)


def random_photo_predictions(
    training: pd.DataFrame,
    photos: pd.DataFrame,
    *,
    continents: Mapping[str, str],
    seed: int = 0,
    status: Sequence[str] | None = None,
) -> pd.DataFrame:
    """For every photo the place and the country of a training photo drawn at random (all alike likely)."""
    labelled = _in_countries(_train_rows(training))
    drawn = labelled.iloc[np.random.default_rng(seed).integers(len(labelled), size=len(photos))]
    classes, column = np.unique(drawn["country_id"].to_numpy(dtype=str), return_inverse=True)
    posterior = np.zeros((len(photos), len(classes)))
    posterior[np.arange(len(photos)), column] = 1.0
    points = drawn[["latitude", "longitude"]].to_numpy(dtype=np.float64)
    return predictions_frame(photos, posterior, [str(c) for c in classes], points, continents=continents, status=status)


def perfect_predictions(
    photos: pd.DataFrame,
    anchors: pd.DataFrame,
    *,
    continents: Mapping[str, str],
    level: str = "country",
    status: Sequence[str] | None = None,
) -> pd.DataFrame:
    """The ceiling: every region named rightly, answered with the region's own anchor.

    What is lost is lost by the anchors alone. A photo in no region, or in one without anchor, cannot be answered even
    by a perfect classifier: it keeps its row, with the status "no_region".

    Args:
        photos: as in `predictions_frame`, with country_id and, for the level "subdivision", subdivision_id.
        anchors: region_id, latitude, longitude, one point for each region of the level.
    """
    place = anchors.set_index("region_id")[["latitude", "longitude"]]
    if not place.index.is_unique:
        raise InputError("a region has two anchors; choose one kind of anchor first")
    truth = photos[f"{level}_id"].to_numpy(dtype=object)
    points = place.reindex(truth).to_numpy(dtype=np.float64)
    country = photos["country_id"].to_numpy(dtype=object)
    reasons = np.full(len(photos), "ok", dtype=object) if status is None else np.asarray(status, dtype=object).copy()
    reasons[(reasons == "ok") & (np.isnan(points[:, 0]) | (country == ""))] = "no_region"
    classes = sorted({name for name in country if name != ""}) or ["none"]
    posterior = (country[:, None] == np.array(classes, dtype=object)[None, :]).astype(np.float64)
    return predictions_frame(photos, posterior, classes, points, continents=continents, status=list(reasons))


def best_constant_point(
    latitude: np.ndarray, longitude: np.ndarray, objective: str = "geoscore"
) -> tuple[float, float]:
    """The point (latitude, longitude) that serves given photos best when it answers for all of them.

    Args:
        latitude, longitude: (n,) degrees.
        objective: "geoscore" (most points), "mean_km" (least mean distance: the spherical geometric median) or
            "within_R" (most photos within R km).

    Candidates are the places with most photos and a grid of 10 degrees; the best is moved in ever smaller steps while
    that helps. The result is a local optimum next to the best of all candidates, found the same way every time.
    """
    if len(latitude) == 0:
        raise InputError("there is no training photo to fit a point to")
    cell_lat, cell_lon, weight = _cells(np.asarray(latitude, float), np.asarray(longitude, float), CELL_DEGREES)
    coarse_lat, coarse_lon, coarse_weight = _cells(np.asarray(latitude, float), np.asarray(longitude, float), 1.0)
    heaviest = np.argsort(-coarse_weight, kind="stable")[:CANDIDATES]
    grid = np.array([(lat, lon) for lat in range(-80, 90, 10) for lon in range(-180, 180, 10)], dtype=np.float64)
    candidates = np.vstack([np.column_stack([coarse_lat[heaviest], coarse_lon[heaviest]]), grid])
    gain = _gain(candidates, coarse_lat, coarse_lon, coarse_weight, objective)
    # The cells of the first look are coarse: the best few are compared again on the fine ones.
    shortlist = candidates[np.argsort(-gain, kind="stable")[:20]]
    gain = _gain(shortlist, cell_lat, cell_lon, weight, objective)
    point, best = shortlist[int(np.argmax(gain))], float(gain.max())
    step = 8.0
    while step > CELL_DEGREES / 4:
        around = _neighbours(point, step)
        gain = _gain(around, cell_lat, cell_lon, weight, objective)
        if gain.max() > best:
            point, best = around[int(np.argmax(gain))], float(gain.max())
        else:
            step /= 2
    return float(point[0]), float(point[1])


def _gain(
    points: np.ndarray, latitude: np.ndarray, longitude: np.ndarray, weight: np.ndarray, objective: str
) -> np.ndarray:
    """(m,) how well each of m points serves the weighted places; more is better."""
    result = np.empty(len(points))
    rows = max(1, PAIRS_AT_ONCE // len(latitude))
    for start in range(0, len(points), rows):
        block = points[start : start + rows]
        distance = pairwise_haversine_km(block[:, 0], block[:, 1], latitude, longitude)
        result[start : start + rows] = _worth(distance, objective) @ weight
    return result


def _worth(distance_km: np.ndarray, objective: str) -> np.ndarray:
    if objective == "geoscore":
        return geoscore(distance_km)
    if objective == "mean_km":
        return -distance_km
    if objective.startswith("within_") and objective[7:].isdigit():
        return (distance_km <= float(objective[7:])).astype(np.float64)
    raise InputError(
        f"objective {objective!r} is not known; choose geoscore, mean_km or within_R, for example within_200"
    )


def _cells(latitude: np.ndarray, longitude: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Photos gathered in cells: mean latitude and longitude of each occupied cell, and its number of photos."""
    row, column = np.floor(latitude / degrees).astype(np.int64), np.floor(longitude / degrees).astype(np.int64)
    _, inverse, count = np.unique(row * 1_000_000 + column, return_inverse=True, return_counts=True)
    # A cell never crosses the antimeridian, so its mean is a plain mean.
    return (
        np.bincount(inverse, latitude) / count,
        np.bincount(inverse, longitude) / count,
        count.astype(np.float64),
    )


def _neighbours(point: np.ndarray, step: float) -> np.ndarray:
    """(8, 2) points around one, `step` degrees of arc away along each axis; kept on the globe."""
    east = step / max(np.cos(np.radians(point[0])), 0.05)
    moves = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0)]
    around = np.array([(point[0] + a * step, point[1] + b * east) for a, b in moves])
    around[:, 0] = np.clip(around[:, 0], -90.0, 90.0)
    around[:, 1] = (around[:, 1] + 180.0) % 360.0 - 180.0
    return around


def _train_rows(training: pd.DataFrame) -> pd.DataFrame:
    rows = training[training["split"] == "train"] if "split" in training else training
    if rows.empty:
        raise InputError("there is no training photo, so no baseline can be fitted")
    return rows


def _in_countries(rows: pd.DataFrame) -> pd.DataFrame:
    labelled = rows[rows["country_id"] != ""]
    if labelled.empty:
        raise InputError("no training photo lies in a country, so no baseline can name one")
    return labelled

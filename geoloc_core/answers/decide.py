"""From a posterior over regions to one point on the Earth.

Two Bayes decisions: of all points, the one with the least expected distance or with the most expected GeoScore, where the
expectation is over the whole posterior. If France has 40 %, Belgium 30 % and the Netherlands 30 %, the least expected
distance is not in the middle of France. Where in a region its probability lies is a `Mass`: spread as its training photos are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse

from geoloc_core.errors import InputError
from geoloc_core.evaluation.metrics import geoscore
from geoloc_core.geography.sphere import EARTH_RADIUS_KM, latitude_longitude, unit_vectors

RULES = ("expected_distance", "expected_geoscore")
ROWS_AT_ONCE = 1_024
PAIRS_AT_ONCE = 4_000_000
MAXIMUM_CANDIDATES = 4_000
PLACES_WORTH_REFINING = 1_000
# Between anchors lies open country: points all over the Earth, some 500 km apart, are candidates as well.
WORLD_CANDIDATES = 2_000
# Steps of the refinement, km: rings of points around the best candidate, each ring finer than the last.
REFINEMENT_KM = (300.0, 100.0, 30.0, 10.0)
MOVES_PER_STEP = 4
DIRECTIONS = 12


@dataclass(frozen=True)
class Mass:
    """Where the probability of each of K regions lies: m weighted places.

    latitude, longitude: (m,) degrees; region: (m,) position of the place's region among the classes of the posterior; weight:
    (m,) share of its region's probability, so that the weights of each region sum to 1; n_regions: K.
    """

    latitude: np.ndarray
    longitude: np.ndarray
    region: np.ndarray
    weight: np.ndarray
    n_regions: int


def photo_cells(photos: pd.DataFrame, cell_degrees: float = 0.5) -> pd.DataFrame:
    """Where the photos (region_id, latitude, longitude) of each region are: the mean place and the number in each cell.

    Four million photos become some ten thousand places (region_id, latitude, longitude, photos), which a model carries along.
    """
    cells = photos[["region_id", "latitude", "longitude"]].assign(
        row=np.floor(photos["latitude"] / cell_degrees), column=np.floor(photos["longitude"] / cell_degrees)
    )
    places = cells.groupby(["region_id", "row", "column"], sort=True).agg(
        latitude=("latitude", "mean"), longitude=("longitude", "mean"), photos=("latitude", "size")
    )
    return places.reset_index()[["region_id", "latitude", "longitude", "photos"]]


def mass_of_cells(cells: pd.DataFrame, classes: Sequence[str], anchors: np.ndarray) -> Mass:
    """The probability of the K `classes`, spread as their photos are (`photo_cells`), or at the anchor (K, 2) without any."""
    region = pd.Index(classes).get_indexer(pd.Index(cells["region_id"]))
    places = cells.loc[region >= 0, ["latitude", "longitude", "photos"]].to_numpy(dtype=np.float64)
    index = region[region >= 0].astype(np.int64)
    without = np.setdiff1d(np.arange(len(classes)), index)
    index = np.concatenate([index, without])
    places = np.vstack([places, np.column_stack([anchors[without], np.ones(len(without))])])
    latitude, longitude, count = places.T
    return Mass(latitude, longitude, index, count / np.bincount(index, count)[index], len(classes))


@dataclass(frozen=True)
class Decider:
    """Turns posteriors into points; what does not depend on the photo is worked out once (`decider`).

    candidates: (M, 2) points that may be answered, latitude and longitude in degrees; loss: float32 (M, K), the expected loss
    of each candidate when the photo is in each region; refine: whether to look around the best candidate.
    """

    rule: str
    mass: Mass
    candidates: np.ndarray
    loss: np.ndarray
    refine: bool

    def points(self, posterior: np.ndarray) -> np.ndarray:
        """(n, 2) latitude and longitude, degrees, for posteriors (n, K).

        A row that is not finite (a photo without answer) gives (NaN, NaN). Of equally good points the first candidate
        wins, so the answer is the same every time.
        """
        posterior = np.asarray(posterior)
        if posterior.ndim != 2 or posterior.shape[1] != self.mass.n_regions:
            raise InputError(f"the posterior has shape {posterior.shape}, but there are {self.mass.n_regions} anchors")
        points = np.full((len(posterior), 2), np.nan)
        answered = np.flatnonzero(np.isfinite(posterior).all(axis=1))
        for start in range(0, len(answered), ROWS_AT_ONCE):
            rows = answered[start : start + ROWS_AT_ONCE]
            # The one large product, in 32 bits: a GeoScore of 5000 is then right to 0.001, and it takes half the time.
            expected = posterior[rows].astype(np.float32) @ self.loss.T  # (b, M)
            winner = np.argmin(expected, axis=1)
            best = self.candidates[winner]
            if self.refine:
                value = expected[np.arange(len(rows)), winner].astype(np.float64)
                best = _refine(posterior[rows].astype(np.float64), best, value, self.mass, self.rule)
            points[rows] = best
        return points


def decider(anchors: np.ndarray, rule: str, mass: Mass) -> Decider:
    """Prepare to answer by one of `RULES`; anchors: (K, 2) latitude and longitude, degrees, of the posterior's classes.

    With at most `PLACES_WORTH_REFINING` places in `mass` the decider looks around the best candidate in ever finer rings: with
    more the candidates lie so close that it gains nothing (under 0.1 % of the GeoScore with 9,388 places of MP-16-like photos)
    and costs minutes for 3,000 photos.
    """
    candidates = _candidates(anchors, mass)
    loss = expected_loss_by_region(candidates, mass, rule).astype(np.float32)
    return Decider(rule, mass, candidates, loss, refine=len(mass.weight) <= PLACES_WORTH_REFINING)


def expected_loss_by_region(points: np.ndarray, mass: Mass, rule: str) -> np.ndarray:
    """(M, K) loss of answering with each of M points when the photo is in each region, averaged over the region's mass.

    It is the distance in km ("expected_distance") or the GeoScore points given away ("expected_geoscore").
    """
    of_place = (mass.weight, (np.arange(len(mass.weight)), mass.region))
    gather = scipy.sparse.csr_array(of_place, shape=(len(mass.weight), mass.n_regions))
    places = unit_vectors(mass.latitude, mass.longitude)  # (m, 3)
    result = np.empty((len(points), mass.n_regions))
    height = max(1, PAIRS_AT_ONCE // len(places))
    for start in range(0, len(points), height):
        block = points[start : start + height]
        cosine = unit_vectors(block[:, 0], block[:, 1]) @ places.T
        # One matrix product and an arccos in place of a haversine; near 0 km it is off by less than 1 m.
        distance = EARTH_RADIUS_KM * np.arccos(np.clip(cosine, -1.0, 1.0))
        loss = distance if rule == "expected_distance" else -geoscore(distance)
        result[start : start + height] = loss @ gather
    return result


def _refine(posterior: np.ndarray, points: np.ndarray, value: np.ndarray, mass: Mass, rule: str) -> np.ndarray:
    """Move each row's point to better ones around it; rows that stand at the same point share the losses there."""
    points, value = points.copy(), value.copy()
    for radius in REFINEMENT_KM:
        moving = np.arange(len(points))
        for _ in range(MOVES_PER_STEP):
            moving = moving[_move(posterior, points, value, moving, radius, mass, rule)]
    return points


def _move(
    posterior: np.ndarray, points: np.ndarray, value: np.ndarray, rows: np.ndarray, radius: float, mass: Mass, rule: str
) -> np.ndarray:
    """Move `rows` in place to the best point of the ring around each; returns which of them moved."""
    moved = np.zeros(len(rows), dtype=bool)
    spot = np.unique(points[rows], axis=0, return_inverse=True)[1].ravel()
    by_spot = np.argsort(spot, kind="stable")
    for spot_rows in np.split(by_spot, np.flatnonzero(np.diff(spot[by_spot])) + 1) if len(rows) else []:
        here = rows[spot_rows]
        ring = _ring(points[here[0]], radius)
        expected = posterior[here] @ expected_loss_by_region(ring, mass, rule).T  # (r, G)
        winner = np.argmin(expected, axis=1)
        lower = expected[np.arange(len(here)), winner]
        better = lower < value[here]
        points[here[better]] = ring[winner[better]]
        value[here[better]] = lower[better]
        moved[spot_rows[better]] = True
    return moved


def _ring(centre: np.ndarray, radius_km: float) -> np.ndarray:
    """(24, 2) points on circles of a half of and of the whole `radius_km` around `centre` (degrees)."""
    up = unit_vectors(centre[:1], centre[1:])[0]
    # Any direction that is not `up` itself spans the tangent plane; the axis farthest from it does so best.
    east = np.cross(np.eye(3)[int(np.argmin(np.abs(up)))], up)
    east /= np.linalg.norm(east)
    north = np.cross(up, east)
    bearing = np.tile(np.arange(DIRECTIONS) * (2 * np.pi / DIRECTIONS), 2)[:, None]
    arc = np.repeat(np.array([0.5, 1.0]) * radius_km / EARTH_RADIUS_KM, DIRECTIONS)[:, None]
    around = np.cos(arc) * up + np.sin(arc) * (np.cos(bearing) * north + np.sin(bearing) * east)
    return np.column_stack(latitude_longitude(around))


def _candidates(anchors: np.ndarray, mass: Mass) -> np.ndarray:
    """(M, 2) anchors, then places of the mass (the heaviest of each region, the second heaviest, ...), then the grid."""
    order = np.lexsort((-mass.weight, mass.region))
    first_of_region = np.searchsorted(mass.region[order], mass.region[order], side="left")
    place_in_region = np.arange(len(order)) - first_of_region
    heaviest = order[np.argsort(place_in_region, kind="stable")[:MAXIMUM_CANDIDATES]]
    places = np.column_stack([mass.latitude[heaviest], mass.longitude[heaviest]])
    all_points = np.vstack([anchors, places, _world_grid(WORLD_CANDIDATES)])
    _, first = np.unique(all_points, axis=0, return_index=True)
    return all_points[np.sort(first)]


def _world_grid(n: int) -> np.ndarray:
    """(n, 2) points spread evenly over the sphere: the Fibonacci lattice."""
    step = np.arange(n)
    latitude = np.degrees(np.arcsin(1.0 - (2.0 * step + 1.0) / n))
    longitude = (step * 360.0 * (np.sqrt(5.0) - 1.0) / 2.0) % 360.0 - 180.0
    return np.column_stack([latitude, longitude])

"""The point that a cell answers with.

A classifier names a cell; a benchmark asks for coordinates. The thesis answers with the polygon's centroid, which for
many countries is where nobody takes photos. The other kinds come from the cell's training photos:

| kind | the point that |
|---|---|
| centroid | is the polygon's centre of area on the sphere (no photos needed) |
| mean | is the mean direction of the photos |
| medoid | is the photo with the least sum of distances to the others |
| geoscore | maximises the expected GeoScore, the mean of exp(-d / 1492.7 km) (OSV-5M's metric) |
| within200, within750 | has the most photos within 200 or 750 km; among such points the one of the best GeoScore |

Everything is computed on the sphere, so that Fiji, Russia and Kiribati, on both sides of the antimeridian, are no special case.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import shapely
from geopandas import GeoDataFrame
from numpy.typing import NDArray

from geoloc_core.errors import InputError
from geoloc_core.geography.sphere import (
    EARTH_RADIUS_KM,
    latitude_longitude,
    pairwise_haversine_km,
    polygon_moments,
    unit_vectors,
)
from geoloc_core.progress import track

ANCHOR_KINDS = ("centroid", "mean", "medoid", "geoscore", "within200", "within750")
GEOSCORE_SCALE_KM = 1492.7

# More distinct places than this are merged on a grid before all are compared with all.
_MOST_PLACES = 2500
# Up to this many places, every crossing of two circles is tried, which makes the count within a radius exact.
_EXACT_CIRCLES = 48
_STARTS = 6
_MEDOID_CANDIDATES = 64
_GEOSCORE_REACH_KM = 400.0
_FINEST_STEP_KM = 1.0

Points = NDArray[np.float64]
Objective = Callable[[Points], Points]


def polygon_centroids(cells: GeoDataFrame) -> pd.DataFrame:
    """The centre of area of each cell on the sphere: columns region_id, latitude, longitude, one row for each cell.

    It is the direction of ∫ n dA; where that vanishes (a region spread evenly around the globe) it is undefined, and a
    point of the region stands in. Like every centroid it may lie outside its region. A cell without a polygon has NaN.
    """
    geometries = np.asarray(cells.geometry.values)
    area, moment = polygon_moments(geometries)
    latitude, longitude = latitude_longitude(moment)
    undefined = np.linalg.norm(moment, axis=1) <= 1e-9 * np.abs(area)
    stand_in = shapely.point_on_surface(geometries[undefined])
    longitude[undefined], latitude[undefined] = shapely.get_x(stand_in), shapely.get_y(stand_in)
    region_id = cells["region_id"].to_numpy(object)
    return pd.DataFrame({"region_id": region_id, "latitude": latitude, "longitude": longitude})


def region_anchors(photos: pd.DataFrame, cells: GeoDataFrame) -> pd.DataFrame:
    """All anchors of all cells of one kind.

    `photos` has the columns region_id, latitude, longitude in degrees (training photos only, or scores are too high),
    `cells` region_id and geometry. The result has region_id, kind, latitude, longitude, n_photos in the order of
    `cells` and ANCHOR_KINDS: "centroid" for every cell with a polygon, the others for cells with photos. Photos of
    cells that `cells` lacks raise InputError; rows without a cell (region_id "") are ignored.
    """
    photos = photos[photos["region_id"] != ""]
    unknown = set(photos["region_id"]) - set(cells["region_id"])
    if unknown:
        raise InputError(f"photos name the region {sorted(unknown)[0]!r}, which the boundary set does not have.")
    groups = photos.groupby("region_id")[["latitude", "longitude"]]
    points = {region_id: group.to_numpy(np.float64).T for region_id, group in groups}
    centroids = polygon_centroids(cells)
    rows: list[tuple[str, str, float, float, int]] = []
    for region_id, *centroid in track(centroids.itertuples(index=False), "anchors", len(centroids), "regions"):
        n_photos = points[region_id].shape[1] if region_id in points else 0
        if not np.isnan(centroid[0]):
            rows.append((region_id, "centroid", *centroid, n_photos))
        if n_photos:
            rows += [(region_id, kind, *point, n_photos) for kind, point in photo_anchors(*points[region_id])]
    return pd.DataFrame(rows, columns=["region_id", "kind", "latitude", "longitude", "n_photos"]).astype(
        {"n_photos": np.int64}
    )


def photo_anchors(latitude: Points, longitude: Points) -> Iterator[tuple[str, tuple[float, float]]]:
    """The five anchors that photos at `latitude` (n,), `longitude` (n,) determine, n >= 1, as (kind, (lat, lon)).

    Exact are the mean, the medoid of up to 2,500 distinct places and the two counts of up to 48. Beyond that photos are
    gathered in squares of a few kilometres, and the best are climbed from in steps down to a kilometre. Their order
    does not matter.
    """
    places, n_at_place = np.unique(np.stack([latitude, longitude], axis=1), axis=0, return_counts=True)
    counts = n_at_place.astype(np.float64)
    if len(places) == 1:
        yield from ((kind, (float(places[0, 0]), float(places[0, 1]))) for kind in ANCHOR_KINDS[1:])
        return
    vectors = unit_vectors(places[:, 0], places[:, 1])
    coarse, weights = _gather(vectors, counts)
    distances = _kilometres(coarse, coarse)

    medoid = _medoid(places, counts, coarse, distances @ weights)
    direction = counts @ vectors
    balanced = np.linalg.norm(direction) <= 1e-9 * counts.sum()  # antipodal photos have no mean direction
    yield "mean", medoid if balanced else _degrees(direction)
    yield "medoid", medoid

    score = np.exp(-distances / GEOSCORE_SCALE_KM) @ weights
    starts = coarse[_apart(score, distances, _GEOSCORE_REACH_KM)]
    yield "geoscore", _degrees(_climb(starts, _objective(coarse, weights), _GEOSCORE_REACH_KM))
    for radius in (200.0, 750.0):
        objective = _objective(coarse, weights, radius)
        starts = coarse[_apart((distances <= radius) @ weights + score / (2 * weights.sum()), distances, radius)]
        if len(coarse) <= _EXACT_CIRCLES:
            starts = np.concatenate([starts, _crossings(coarse, distances, radius)])
            starts = starts[np.argsort(-objective(starts), kind="stable")[:_STARTS]]
        yield f"within{radius:.0f}", _degrees(_climb(starts, objective, radius))


def _objective(places: Points, weights: Points, radius: float | None = None) -> Objective:
    """For candidate unit vectors (c, 3): the mean of exp(-d / 1492.7 km) over the weighted places; or, with a radius in
    km, the photos within it plus half of that mean, which is below one and so only decides between equals.
    """

    def value(candidates: Points) -> Points:
        distances = _kilometres(candidates, places)
        score = np.exp(-distances / GEOSCORE_SCALE_KM) @ (weights / weights.sum())
        return score if radius is None else (distances <= radius) @ weights + score / 2

    return value


def _kilometres(a: Points, b: Points) -> Points:
    """Distances in km between unit vectors (n, 3) and (m, 3), right to a few centimetres: shape (n, m).

    2 asin(chord / 2) with the chord from the scalar product: several times as fast as haversine over all pairs.
    """
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.clip((1.0 - a @ b.T) / 2, 0.0, 1.0)))


def _climb(starts: Points, objective: Objective, reach_km: float) -> Points:
    """Climb from each start (s, 3) by trying twelve bearings at ever shorter steps; the best unit vector found (3,).

    A step is halved where no bearing improves; the first is half of `reach_km`.
    """
    here, value = starts.copy(), objective(starts)
    step = np.full(len(starts), reach_km / 2)
    while (moving := np.flatnonzero(step >= _FINEST_STEP_KM)).size:
        around = _ring(here[moving], step[moving])  # (m, 12, 3)
        values = objective(around.reshape(-1, 3)).reshape(around.shape[:2])
        best = values.argmax(axis=1)
        better = values[np.arange(len(moving)), best] > value[moving]
        up = moving[better]
        here[up], value[up] = around[better, best[better]], values[better, best[better]]
        step[moving[~better]] /= 2
    return here[int(np.argmax(value))]


def _ring(centres: Points, distance_km: Points) -> Points:
    """Twelve points around each centre (m, 3), at `distance_km` (m,): unit vectors (m, 12, 3)."""
    # Two directions across each centre, stable at the poles too (Duff et al. 2017, "Building an orthonormal basis, revisited").
    x, y, z = centres.T
    sign = np.copysign(1.0, z)
    a = -1.0 / (sign + z)
    across = np.stack([1.0 + sign * x * x * a, sign * x * y * a, -sign * x], axis=-1)
    along = np.stack([x * y * a, sign + y * y * a, -y], axis=-1)
    bearing = np.radians(np.arange(0, 360, 30))[None, :, None]
    tangent = along[:, None, :] * np.cos(bearing) + across[:, None, :] * np.sin(bearing)
    angle = (distance_km / EARTH_RADIUS_KM)[:, None, None]
    return centres[:, None, :] * np.cos(angle) + tangent * np.sin(angle)


def _crossings(places: Points, distances: Points, radius: float) -> Points:
    """Where the circles of `radius` km around two unit vectors cross, drawn in by ten centimetres so that both places count."""
    first, second = np.nonzero(np.triu(distances <= 2 * radius, 1) & (distances > 0))
    a, b = places[first], places[second]
    middle = a + b
    middle /= np.linalg.norm(middle, axis=1, keepdims=True)
    # In the right-angled spherical triangle of place, middle and crossing: cos r = cos(d/2) cos(height).
    cosine = np.cos((radius - 1e-4) / EARTH_RADIUS_KM) / np.cos(distances[first, second] / 2 / EARTH_RADIUS_KM)
    height = np.arccos(np.clip(cosine, -1.0, 1.0))[:, None]
    aside = np.cross(a, b)
    aside /= np.maximum(np.linalg.norm(aside, axis=1, keepdims=True), 1e-300)
    return np.concatenate([middle * np.cos(height) + side * aside * np.sin(height) for side in (1, -1)])


def _apart(value: Points, distances: Points, gap_km: float) -> NDArray[np.int64]:
    """The indices of the best values, each further than `gap_km` from the better ones; _STARTS at most."""
    chosen: list[int] = []
    for index in np.argsort(-value, kind="stable"):
        if len(chosen) < _STARTS and all(distances[index, earlier] > gap_km for earlier in chosen):
            chosen.append(int(index))
    return np.array(chosen)


def _medoid(places: Points, counts: Points, coarse: Points, sums: Points) -> tuple[float, float]:
    """The place (latitude, longitude) with the least sum of distances; `sums` (m,) are those of `coarse` (m, 3)."""
    best = int(np.argmin(sums))
    if len(coarse) < len(places):
        # The merged places only say where to look: the photos nearest to the best one are compared in full.
        middle = np.array([_degrees(coarse[best])])
        nearest = np.argsort(pairwise_haversine_km(*middle.T, *places.T)[0], kind="stable")[:_MEDOID_CANDIDATES]
        full = [pairwise_haversine_km(*place[:, None], *places.T)[0] @ counts for place in places[nearest]]
        best = int(nearest[np.argmin(full)])
    return float(places[best, 0]), float(places[best, 1])


def _gather(vectors: Points, counts: Points) -> tuple[Points, Points]:
    """At most _MOST_PLACES unit vectors: photos in one cube of a grid in space are put at their mean direction."""
    if len(vectors) <= _MOST_PLACES:
        return vectors, counts
    size = 2.0 / EARTH_RADIUS_KM
    while True:
        x, y, z = np.floor(vectors / size).astype(np.int64).T
        _, cube = np.unique((x << 42) + (y << 21) + z, return_inverse=True)
        if cube.max() < _MOST_PLACES:
            break
        size *= 1.4
    sums = np.stack([np.bincount(cube, counts * vectors[:, axis]) for axis in range(3)], axis=1)
    return sums / np.linalg.norm(sums, axis=1, keepdims=True), np.asarray(np.bincount(cube, counts), np.float64)


def _degrees(direction: Points) -> tuple[float, float]:
    """One direction (3,) as latitude and longitude."""
    latitude, longitude = latitude_longitude(direction)
    return float(latitude), float(longitude)

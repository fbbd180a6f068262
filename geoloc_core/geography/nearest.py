"""The nearest border to a point outside all regions, by distance on the sphere.

Borders are cut into pieces of at most a kilometre, and a tree over the pieces' ends in space finds the few that can be
nearest. On so short a piece the straight line in longitude and latitude and the chord in space differ by the sagitta L²
tan φ / 8R, two centimetres at 45°, so the foot of the perpendicular is taken on the chord, which is right across the
antimeridian and near the poles too (the pieces become shorter there: the sagitta stays below ten centimetres as far as
89.9°).
"""

import itertools

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from geoloc_core.geography.sphere import EARTH_RADIUS_KM, Floats, ring_edges, unit_vectors

_PIECE_KM, _SHORTEST_PIECE_KM, _SAGITTA_KM = 1.0, 0.1, 1e-4
_ROUNDING = 1 + 1e-9


class NearestRegion:
    """Finds the region whose border is nearest, within `cap_km`; among regions at equal distance the lowest index.

    `geometries` (k,) are polygons or multipolygons in degrees, one for each region.
    """

    def __init__(self, geometries: NDArray[np.object_], cap_km: float) -> None:
        self.cap_km = cap_km
        start, end, self._region_of_edge = outer_edges(geometries)
        self._ends, self._edge = _cut(start, end)
        self._tree = cKDTree(self._ends, balanced_tree=False, compact_nodes=False)

    def find(self, latitude: Floats, longitude: Floats) -> tuple[NDArray[np.int32], Floats]:
        """For points (n,) outside all regions: the nearest region's index (-1 beyond the cap) and its distance in km."""
        points = unit_vectors(latitude, longitude)
        # A piece that holds the nearest border point has an end within hypot(distance, half a piece) of the query
        # point: the end itself where the foot falls outside the piece, else by Pythagoras. The distance is not known
        # yet, but it is at most that of the nearest end. All in chords of the unit sphere.
        half = _chord(_PIECE_KM) / 2
        furthest = np.hypot(_chord(self.cap_km), half) * _ROUNDING
        nearest_end, _ = self._tree.query(points, distance_upper_bound=furthest)
        within = np.flatnonzero(np.isfinite(nearest_end))
        bound = np.minimum(np.hypot(nearest_end[within], half) * _ROUNDING, furthest)
        ends = self._tree.query_ball_point(points[within], bound)
        row = np.repeat(within, [len(candidates) for candidates in ends])
        index, chord = self._nearest_piece(points, row, np.fromiter(itertools.chain.from_iterable(ends), np.int64))
        distance = 2 * EARTH_RADIUS_KM * np.arcsin(np.minimum(chord / 2, 1.0))
        too_far = ~(distance <= self.cap_km)
        index[too_far], distance[too_far] = -1, np.nan
        return index, distance

    def _nearest_piece(
        self, points: Floats, row: NDArray[np.int64], end: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], Floats]:
        """The nearest region (n,) and its chord (n,), where point `row` is compared with both pieces at `end`."""
        row, first = np.concatenate([row, row]), np.concatenate([end - 1, end])
        real = (first >= 0) & (first + 1 < len(self._ends))
        real[real] = self._edge[first[real]] == self._edge[first[real] + 1]
        row, first = row[real], first[real]
        a, b, p = self._ends[first], self._ends[first + 1], points[row]
        along = b - a
        length = np.einsum("ij,ij->i", along, along)
        t = np.einsum("ij,ij->i", p - a, along) / np.where(length > 0, length, 1.0)
        foot = np.where((t >= 1)[:, None], b, a + np.clip(t, 0.0, 1.0)[:, None] * along)
        gap = p - foot
        chord = np.sqrt(np.einsum("ij,ij->i", gap, gap))
        region = self._region_of_edge[self._edge[first]]
        # For each point the least chord, and among equal chords the lowest region index: the first row after sorting.
        order = np.lexsort((region, chord, row))
        row, leader = np.unique(row[order], return_index=True)
        index, best = np.full(len(points), -1, np.int32), np.full(len(points), np.inf)
        index[row], best[row] = region[order][leader], chord[order][leader]
        return index, best


def outer_edges(geometries: NDArray[np.object_]) -> tuple[Floats, Floats, NDArray[np.int32]]:
    """Edges with no region on their outer side: starts (m, 2), ends (m, 2) in degrees, and the region of each (m,).

    A border that two neighbours share runs once in each direction (rings are oriented first); it cannot be nearest to a
    point outside both, save at its ends, which other edges share.
    """
    start, end, region = ring_edges(shapely.orient_polygons(geometries))
    # Each directed edge as one comparable value of 32 bytes; adding zero makes -0.0 the same as 0.0.
    forward, backward = (
        np.ascontiguousarray(np.hstack(ends) + 0.0).view("V32").ravel() for ends in ((start, end), (end, start))
    )
    outer = ~np.isin(forward, backward)
    return start[outer], end[outer], region[outer]


def _cut(start: Floats, end: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """The ends of all pieces as unit vectors (p, 3), edge after edge, and the edge of each (p,)."""
    delta = end - start
    low, high = np.sort(np.abs([start[:, 1], end[:, 1]]), axis=0)
    widest = np.cos(np.radians(low))
    kilometres = np.radians(np.hypot(delta[:, 1], delta[:, 0] * widest)) * EARTH_RADIUS_KM
    steepest = np.tan(np.radians(np.minimum(high, 89.9999)))
    longest = np.sqrt(8 * EARTH_RADIUS_KM * _SAGITTA_KM / np.maximum(steepest, 1e-3))
    pieces = np.maximum(np.ceil(kilometres / longest.clip(_SHORTEST_PIECE_KM, _PIECE_KM)), 1).astype(np.int64)
    ends = pieces + 1
    edge = np.repeat(np.arange(len(ends)), ends)
    step = np.arange(len(edge)) - np.repeat(np.cumsum(ends) - ends, ends)
    share = (step / pieces[edge])[:, None]
    # The last end is the edge's own end to the last bit, so that neighbours tie exactly where their borders meet.
    place = np.where(share == 1.0, end[edge], start[edge] + delta[edge] * share)
    return unit_vectors(place[:, 1], place[:, 0]), edge


def _chord(kilometres: float) -> float:
    return 2 * np.sin(min(kilometres / (2 * EARTH_RADIUS_KM), np.pi / 2))

"""Polygons as they come, made fit: valid, flat, on the globe, cut at the antimeridian. Every change is reported."""

from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import shapely
import shapely.affinity
from numpy.typing import NDArray

from geoloc_core.errors import InputError
from geoloc_core.geography.sphere import ring_edges

_ROUNDING = 1e-6  # degrees by which a file may overshoot the globe
# GEOS takes a time that grows with the square of these.
MOST_CROSSINGS = 5_000


@dataclass(frozen=True)
class Repair:
    """One change to one region: which, what was done (a short fixed phrase), and figures."""

    level: str
    region_id: str
    what: str
    detail: str = ""


def repair_geometries(frame: gpd.GeoDataFrame, level: str) -> tuple[gpd.GeoDataFrame, list[Repair]]:
    """The rows of `frame` (with a column region_id) that have an area, their geometries repaired, and what was done."""
    frame = frame.reset_index(drop=True)
    ids = frame["region_id"].astype(str).to_numpy()
    shapes = shapely.force_2d(np.asarray(frame.geometry.values, object))
    report: list[Repair] = []
    for i in np.flatnonzero(~shapely.is_missing(shapes) & ~np.isin(shapely.get_type_id(shapes), (3, 6))):
        shapes[i] = _polygons_of(shapes[i])
        report.append(Repair(level, ids[i], "lines and points left out"))
    for i in np.flatnonzero(_needs_cutting(shapes)):
        shapes[i] = cut_at_antimeridian(shapes[i])
        report.append(Repair(level, ids[i], "cut at the antimeridian"))
    for i in np.flatnonzero(~shapely.is_valid(shapes) & ~shapely.is_missing(shapes)):
        if _crossings(shapes[i]) > MOST_CROSSINGS:
            raise InputError(
                f"the polygon of {ids[i][:60]} crosses itself more than {MOST_CROSSINGS} times; mend it first"
            )
        reason, before = shapely.is_valid_reason(shapes[i]), shapely.area(shapes[i])
        shapes[i] = _valid(shapes[i])
        detail = f"{reason}; area {before:.6f} -> {shapely.area(shapes[i]):.6f} square degrees"
        report.append(Repair(level, ids[i], "invalid ring repaired", detail))
    west, south, east, north = shapely.bounds(shapes).reshape(-1, 4).T
    over = np.max([-180 - west, east - 180, -90 - south, north - 90], axis=0)
    for i in np.flatnonzero(over > 0):
        shapes[i] = _valid(shapely.transform(shapes[i], lambda points: points.clip([-180, -90], [180, 90])))
        if over[i] > _ROUNDING:
            report.append(Repair(level, ids[i], "clipped to the globe", f"{over[i]:.6f} degrees over"))
    empty = shapely.is_missing(shapes) | (shapely.area(shapes) == 0)
    report += [Repair(level, region, "left out: no area") for region in ids[empty]]
    frame = frame.set_geometry(gpd.GeoSeries(shapes, index=frame.index, crs=frame.crs))
    return frame[~empty].reset_index(drop=True), report


def cut_at_antimeridian(shape: shapely.Geometry) -> shapely.Geometry:
    """A polygon that leaves [-180, 180] or jumps across its end, as polygons within it.

    A jump is an edge over more than half the globe, unless it runs along the end itself from -180 to 180 (as maps of
    Antarctica do): between two vertices the shorter way is meant. A ring that so goes once around the globe encloses a
    pole, and is closed over it.
    """
    pieces = []
    for part in shapely.get_parts(shape):
        shell = _unwrapped(shapely.get_coordinates(part.exterior))
        holes = [_unwrapped(shapely.get_coordinates(hole)) for hole in part.interiors]
        middle = (shell[:, 0].min() + shell[:, 0].max()) / 2
        holes = [np.add(hole, [360 * round((middle - hole[:, 0].mean()) / 360), 0]) for hole in holes]
        whole = _valid(shapely.Polygon(shell, holes))
        west, _, east, _ = shapely.bounds(whole)
        for turn in range(int(np.floor((west + 180) / 360)), int(np.ceil((east + 180) / 360))):
            window = shapely.box(360 * turn - 180, -90, 360 * turn + 180, 90)
            inside = shapely.intersection(whole, window)
            pieces.append(shapely.affinity.translate(inside, -360 * turn))
    return _polygons_of(shapely.union_all(pieces))


def _needs_cutting(shapes: NDArray[np.object_]) -> NDArray[np.bool_]:
    start, end, owner = ring_edges(shapes)
    over = np.abs(start[:, 0]) > 180 + _ROUNDING  # each point of a ring begins an edge
    return np.isin(np.arange(len(shapes)), owner[over | _is_jump(start, end)])


def _is_jump(start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which steps from `start` (n, 2) to `end` (n, 2) are meant to cross the antimeridian."""
    along_the_end = (np.abs(start[:, 0]) == 180) & (np.abs(end[:, 0]) == 180)
    return (np.abs(end - start)[:, 0] > 180) & ~along_the_end & (np.abs(end[:, 1]) < 90)


def _unwrapped(ring: NDArray[np.float64]) -> NDArray[np.float64]:
    """A closed ring (n, 2) with whole turns added after each jump, so that no step is longer than half the globe."""
    step = np.diff(ring[:, 0])
    turns = np.where(_is_jump(ring[:-1], ring[1:]), -np.round(step / 360), 0.0)
    ring = ring.copy()
    ring[1:, 0] += 360 * np.cumsum(turns)
    if ring[0, 0] != ring[-1, 0]:  # once around the globe: over the pole and back
        pole = np.copysign(90.0, ring[:, 1].mean())
        ring = np.concatenate([ring, [[ring[-1, 0], pole], [ring[0, 0], pole], ring[0]]])
    return ring


def _crossings(shape: shapely.Geometry) -> int:
    """How often edges touch others than their neighbours; counted up to somewhat more than `MOST_CROSSINGS`."""
    start, end, _ = ring_edges(np.array([shape], object))
    edges = shapely.linestrings(np.stack([start, end], axis=1))
    tree, found = shapely.STRtree(edges), 0
    for first in range(0, len(edges), 64):
        some = edges[first : first + 64]
        found += tree.query(some, predicate="intersects").shape[1] - 3 * len(some)
        if found > 2 * MOST_CROSSINGS:
            break
    return found // 2


def _valid(shape: shapely.Geometry) -> shapely.Geometry:
    return _polygons_of(shapely.make_valid(shape, method="structure", keep_collapsed=False))


def _polygons_of(shape: shapely.Geometry) -> shapely.Geometry:
    """The polygon or multipolygon that a geometry of any kind holds."""
    parts = shapely.get_parts(shapely.get_parts(shape))
    polygons = parts[shapely.get_type_id(parts) == 3]
    return polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(list(polygons))

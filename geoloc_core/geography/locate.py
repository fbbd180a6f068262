"""From a point to its region.

The rule, in full:

- A point is *inside* a region when shapely finds that the region's polygon intersects it: the border belongs to it.
- Points are compared with the finest level that has regions; coarser ones follow by parentage. Where several regions
  hold a point (a shared border, overlapping polygons) the lowest region index wins.
- Longitudes 180 and -180 are one meridian, and all longitudes at a pole are one point, whichever side a region touches.
- A point inside no region belongs to the *near*est one by distance on the sphere, if that is at most `near_cap_km`;
  among regions at equal distance the lowest index wins. Beyond the cap it belongs to *none*.
- NaN belongs to none; a latitude beyond ±90 or an infinite longitude is an InputError; whole turns of longitude are
  taken back.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray

from geoloc_core.errors import InputError
from geoloc_core.geography.boundary_set import BoundarySet
from geoloc_core.geography.cells import LEVELS
from geoloc_core.geography.nearest import NearestRegion

NEAR_CAP_KM = 25.0
QUALITIES = np.array(["none", "near", "inside"], object)
_NONE, _NEAR, _INSIDE = np.arange(3, dtype=np.uint8)

_CHUNK = 100_000  # points: bounds the memory that a call takes beside its arguments and results
_NO_REGION = np.iinfo(np.int32).max


@dataclass(frozen=True)
class Located:
    """Where n points are; every array is (n,).

    `index` maps each of LEVELS to int32 region indices, -1 for none; `quality` is "inside", "near" or "none";
    `distance_km` (float32) is 0 inside, the distance to the region when near, NaN when none.
    """

    index: Mapping[str, NDArray[np.int32]]
    quality: NDArray[np.object_]
    distance_km: NDArray[np.float32]


class RegionLocator:
    """Labels points with the regions of one boundary set; build it once, use it for many points, from any thread.

    `near_cap_km` is how far outside a region a point may lie and still be labelled with it.
    """

    def __init__(self, boundaries: BoundarySet, near_cap_km: float = NEAR_CAP_KM) -> None:
        if not near_cap_km >= 0:
            raise InputError(f"near_cap_km is {near_cap_km}: it must be a distance of 0 km or more.")
        self.boundaries = boundaries
        self.near_cap_km = near_cap_km
        geometries = np.asarray(boundaries.level(boundaries.finest).geometry.values, object)
        self._polygons = PolygonIndex(geometries)
        self._nearest = NearestRegion(geometries, near_cap_km) if near_cap_km > 0 else None

    def locate(self, longitude: ArrayLike, latitude: ArrayLike) -> Located:
        """Label the points with longitude (n,) and latitude (n,) in degrees."""
        longitude, latitude = _checked(longitude, latitude)
        n = len(longitude)
        region, quality = np.full(n, -1, np.int32), np.full(n, _NONE)
        distance = np.full(n, np.nan, np.float32)
        present = np.flatnonzero(~(np.isnan(longitude) | np.isnan(latitude)))
        for begin in range(0, len(present), _CHUNK):
            points = present[begin : begin + _CHUNK]
            region[points] = self._polygons.find(longitude[points], latitude[points])
            inside = region[points] >= 0
            quality[points[inside]], distance[points[inside]] = _INSIDE, 0.0
            outside = points[~inside]
            if self._nearest:
                region[outside], distance[outside] = self._nearest.find(latitude[outside], longitude[outside])
                quality[outside[region[outside] >= 0]] = _NEAR
        return Located(self._all_levels(region), QUALITIES.take(quality), distance)

    def _all_levels(self, region: NDArray[np.int32]) -> dict[str, NDArray[np.int32]]:
        """The indices at every level for those at the finest; -1 at levels that have no regions."""
        finest = LEVELS.index(self.boundaries.finest)
        index = {level: np.full(len(region), -1, np.int32) for level in LEVELS[finest + 1 :]}
        for level in reversed(LEVELS[: finest + 1]):
            index[level] = region
            if level != LEVELS[0]:
                region = np.append(self.boundaries.parent_indices(level), np.int32(-1))[region]
        return index


class PolygonIndex:
    """The lowest index among the regions whose polygon intersects a point.

    The polygons are taken part by part and prepared; a tree over the parts' boxes finds the few parts to compare.
    `geometries` (k,) are polygons or multipolygons in degrees, longitudes within [-180, 180].
    """

    def __init__(self, geometries: NDArray[np.object_]) -> None:
        self._parts, self._owner = shapely.get_parts(geometries, return_index=True)
        shapely.prepare(self._parts)
        self._tree = shapely.STRtree(self._parts)
        self._lock = threading.Lock()  # a prepared polygon builds its index at its first point: one thread at a time
        self._at_pole = {pole: _first_at_pole(geometries, pole) for pole in (-90.0, 90.0)}

    def find(self, longitude: NDArray[np.float64], latitude: NDArray[np.float64]) -> NDArray[np.int32]:
        """Region indices (n,), -1 for none, where longitude 180 is also -180 and a pole is one point; no NaN."""
        region = self._find_on_plane(longitude, latitude)
        seam = np.flatnonzero(np.abs(longitude) == 180)
        region[seam] = np.minimum(region[seam], self._find_on_plane(-longitude[seam], latitude[seam]))
        for pole, first in self._at_pole.items():
            region[latitude == pole] = first
        return np.where(region == _NO_REGION, np.int32(-1), region)

    def _find_on_plane(self, longitude: NDArray[np.float64], latitude: NDArray[np.float64]) -> NDArray[np.int32]:
        """Region indices of points (n,) on the plane of degrees, _NO_REGION for none."""
        with self._lock:
            point, part = self._tree.query(shapely.points(longitude, latitude))
            holds = shapely.intersects_xy(self._parts[part], longitude[point], latitude[point])
        region = np.full(len(longitude), _NO_REGION, np.int32)
        np.minimum.at(region, point[holds], self._owner[part[holds]].astype(np.int32))
        return region


def _first_at_pole(geometries: NDArray[np.object_], pole: float) -> int:
    touching = np.flatnonzero(shapely.intersects(geometries, shapely.LineString([(-180, pole), (180, pole)])))
    return int(touching[0]) if len(touching) else _NO_REGION


def _checked(longitude: ArrayLike, latitude: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    longitude = np.atleast_1d(np.asarray(longitude, np.float64))
    latitude = np.atleast_1d(np.asarray(latitude, np.float64))
    if longitude.shape != latitude.shape or longitude.ndim != 1:
        raise InputError(f"longitude {longitude.shape} and latitude {latitude.shape} must be of one length.")
    wrong = (np.abs(latitude) > 90) | np.isinf(longitude)
    if wrong.any():
        first = int(np.argmax(wrong))
        raise InputError(
            f"{int(wrong.sum())} points lie off the globe, the first at position {first} (longitude "
            f"{longitude[first]}, latitude {latitude[first]}): latitude ends at ±90, and may be swapped with longitude."
        )
    return np.where(np.abs(longitude) > 180, (longitude + 180) % 360 - 180, longitude), latitude

"""From a point to its region.

The rule, in full:

- A point is *inside* a region when shapely says that the region's polygon intersects it: the border belongs to it.
- Where several sub-divisions hold a point (a shared border, overlapping polygons) the lowest region index wins. The
  country is always the parent of the sub-division found; in a set without sub-divisions, the lowest country index.
- Longitudes 180 and -180 are one meridian, and all longitudes at a pole are one point: a region that touches the
  meridian or the pole on any side holds the point.
- A point inside nothing belongs to the *near*est region by distance on the sphere, if that is at most `near_cap_km`;
  among regions at equal distance the lowest index wins. Beyond the cap it belongs to *none*.
- A point whose coordinates are NaN belongs to none; a latitude beyond ±90 or an infinite one is an InputError;
  longitudes beyond ±180 are brought back by whole turns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray

from geoloc_core.errors import InputError
from geoloc_core.geography.boundaries import BoundarySet
from geoloc_core.geography.nearest import NearestRegion

NEAR_CAP_KM = 25.0
_CHUNK = 1_000_000


@dataclass(frozen=True)
class Located:
    """Where n points are; every array is (n,).

    `subdivision_index` and `country_index` are int32 region indices, -1 for none; `quality` is "inside", "near" or
    "none"; `distance_km` (float32) is 0 inside, the distance to the region when near, NaN when none.
    """

    subdivision_index: NDArray[np.int32]
    country_index: NDArray[np.int32]
    quality: NDArray[np.object_]
    distance_km: NDArray[np.float32]


class RegionLocator:
    """Labels points with the regions of one boundary set; build it once, use it for many points."""

    def __init__(self, boundaries: BoundarySet, near_cap_km: float = NEAR_CAP_KM) -> None:
        if not near_cap_km >= 0:
            raise InputError(f"near_cap_km is {near_cap_km}: it must be a distance of 0 km or more.")
        self.boundaries = boundaries
        self._by_subdivision = len(boundaries.subdivisions) > 0
        regions = boundaries.subdivisions if self._by_subdivision else boundaries.countries
        self._parents = boundaries.parent_indices()
        geometries = np.asarray(regions.geometry.values)
        self._inside = InsideRegion(geometries)
        self._nearest = NearestRegion(geometries, near_cap_km)

    def locate(self, longitude: ArrayLike, latitude: ArrayLike) -> Located:
        """Label the points with longitude (n,) and latitude (n,) in degrees."""
        longitude, latitude = _checked(longitude, latitude)
        region = self._inside.find(longitude, latitude)
        distance = np.where(region >= 0, 0.0, np.nan).astype(np.float32)
        quality = np.full(len(region), "none", object)
        quality[region >= 0] = "inside"
        outside = np.flatnonzero((region < 0) & ~np.isnan(longitude) & ~np.isnan(latitude))
        if len(outside):
            region[outside], distance[outside] = self._nearest.find(latitude[outside], longitude[outside])
            quality[outside[region[outside] >= 0]] = "near"
        if not self._by_subdivision:
            return Located(np.full(len(region), -1, np.int32), region, quality, distance)
        country = np.append(self._parents, np.int32(-1))[region]  # index -1 takes the last place
        return Located(region, country, quality, distance)


class InsideRegion:
    """The lowest index among the regions that hold a point, by shapely's own predicate on the parts of the polygons."""

    def __init__(self, geometries: NDArray[np.object_]) -> None:
        self._parts, self._owner = shapely.get_parts(geometries, return_index=True)
        shapely.prepare(self._parts)
        self._at_pole = {
            pole: _lowest(
                np.flatnonzero(shapely.intersects(geometries, shapely.LineString([(-180, pole), (180, pole)])))
            )
            for pole in (-90.0, 90.0)
        }

    def find(self, longitude: NDArray[np.float64], latitude: NDArray[np.float64]) -> NDArray[np.int32]:
        """Region indices (n,), -1 for none; longitude within [-180, 180], latitude within [-90, 90], NaN allowed."""
        found = np.full(len(longitude), -1, np.int32)
        for begin in range(0, len(longitude), _CHUNK):
            part = slice(begin, begin + _CHUNK)
            found[part] = self._find_in_chunk(longitude[part], latitude[part])
        seam = np.flatnonzero(np.abs(longitude) == 180)
        if len(seam):
            found[seam] = _lower(found[seam], self._find_in_chunk(-longitude[seam], latitude[seam]))
        for pole, region in self._at_pole.items():
            found[latitude == pole] = region
        return found

    def _find_in_chunk(self, longitude: NDArray[np.float64], latitude: NDArray[np.float64]) -> NDArray[np.int32]:
        known = np.flatnonzero(~np.isnan(longitude) & ~np.isnan(latitude))
        tree = shapely.STRtree(shapely.points(longitude[known], latitude[known]))
        part, point = tree.query(self._parts, predicate="intersects")
        lowest = np.full(len(longitude), len(self._owner), np.int64)
        np.minimum.at(lowest, known[point], self._owner[part])
        return np.where(lowest < len(self._owner), lowest, -1).astype(np.int32)


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
    beyond = np.abs(longitude) > 180
    if beyond.any():
        longitude = np.where(beyond, (longitude + 180) % 360 - 180, longitude)
    return longitude, latitude


def _lower(a: NDArray[np.int32], b: NDArray[np.int32]) -> NDArray[np.int32]:
    """The lower of two region indices, where -1 stands for none."""
    return np.where((a < 0) | ((b >= 0) & (b < a)), b, a)


def _lowest(indices: NDArray[np.int64]) -> int:
    return int(indices[0]) if len(indices) else -1

"""From a point to its region.

The rule, in full:

- A point is *inside* a region when shapely says that the region's polygon intersects it: the border belongs to it.
- Where several sub-divisions hold a point (a shared border, overlapping polygons) the lowest region index wins. The
  country is always the parent of the sub-division found; in a set without sub-divisions, the lowest country index.
- Longitudes 180 and -180 are one meridian, and all longitudes at a pole are one point: a region that touches the
  meridian or the pole on any side holds the point.
- A point inside nothing belongs to the *near*est region by distance on the sphere, if that is at most `near_cap_km`;
  among regions at equal distance the lowest index wins. Beyond the cap it belongs to *none*.
- A point whose coordinates are NaN belongs to none; a latitude beyond ±90 or an infinite longitude is an InputError;
  longitudes beyond ±180 are brought back by whole turns.

Few points are asked of shapely one by one; for many a grid is made first (`geoloc_core.geography.grid`), which gives the
same answers.
"""

from __future__ import annotations

import functools
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geoloc_core.errors import InputError
from geoloc_core.geography.boundaries import BoundarySet
from geoloc_core.geography.exact import ExactRegions
from geoloc_core.geography.grid import ASK_SHAPELY, RegionGrid
from geoloc_core.geography.grid_build import build_grid
from geoloc_core.geography.grid_cache import grid_file, load_grid, save_grid
from geoloc_core.geography.nearest import NearestRegion

NEAR_CAP_KM = 25.0
QUALITIES = np.array(["none", "near", "inside"], object)
_NONE, _NEAR, _INSIDE = 0, 1, 2

_CHUNK = 1 << 18
# So many points cost shapely about as long as it takes to make a grid.
_GRID_PAYS_FROM = 500_000


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
    """Labels points with the regions of one boundary set; build it once, use it for many points, from any thread.

    `near_cap_km` is how far outside a region a point may lie and still be labelled with it. `cache` is a folder that
    keeps the grid between runs, under a name made of the boundary set's identity and the grid's version; a file there
    that is missing, damaged or of another version is made again. `threads` defaults to the processors at hand.
    """

    def __init__(
        self,
        boundaries: BoundarySet,
        near_cap_km: float = NEAR_CAP_KM,
        cache: Path | None = None,
        threads: int | None = None,
    ) -> None:
        if not near_cap_km >= 0:
            raise InputError(f"near_cap_km is {near_cap_km}: it must be a distance of 0 km or more.")
        self.boundaries = boundaries
        self.near_cap_km = near_cap_km
        self._by_subdivision = len(boundaries.subdivisions) > 0
        regions = boundaries.subdivisions if self._by_subdivision else boundaries.countries
        self._geometries = np.asarray(regions.geometry.values, object)
        self._parents = np.append(boundaries.parent_indices(), np.int32(-1))  # index -1 takes the last place
        self._grid_file = grid_file(cache, boundaries.identity, self._by_subdivision) if cache else None
        self._threads = threads or len(os.sched_getaffinity(0))
        self._grid: RegionGrid | None = None
        self._points_so_far = 0
        self._lock = threading.Lock()

    @functools.cached_property
    def _exact(self) -> ExactRegions:
        return ExactRegions(self._geometries)

    @functools.cached_property
    def _nearest(self) -> NearestRegion:
        return NearestRegion(self._geometries, self.near_cap_km)

    def prepare(self) -> RegionLocator:
        """Make, or read from the cache, all that many points need, now rather than at the first use; returns itself."""
        with self._lock:
            _ = self._exact, self._nearest
            if self._grid is None:
                self._grid = load_grid(self._grid_file) if self._grid_file else None
            if self._grid is None:
                self._grid = build_grid(self._geometries)
                if self._grid_file:
                    save_grid(self._grid_file, self._grid)
        return self

    def locate(self, longitude: ArrayLike, latitude: ArrayLike) -> Located:
        """Label the points with longitude (n,) and latitude (n,) in degrees."""
        longitude, latitude = _checked(longitude, latitude)
        n = len(longitude)
        self._points_so_far += n
        if self._grid is None and self._points_so_far >= _GRID_PAYS_FROM:
            self.prepare()
        region, quality, distance = np.empty(n, np.int32), np.empty(n, np.uint8), np.empty(n, np.float32)

        def label(begin: int) -> None:
            part = slice(begin, begin + _CHUNK)
            region[part], quality[part], distance[part] = self._locate_chunk(longitude[part], latitude[part])

        if n <= _CHUNK:
            label(0)
        else:
            with ThreadPoolExecutor(self._threads) as pool:
                list(pool.map(label, range(0, n, _CHUNK)))
        if self._by_subdivision:
            return Located(region, self._parents.take(region, mode="wrap"), QUALITIES.take(quality), distance)
        return Located(np.full(n, -1, np.int32), region, QUALITIES.take(quality), distance)

    def _locate_chunk(
        self, longitude: NDArray[np.float64], latitude: NDArray[np.float64]
    ) -> tuple[NDArray[np.int32], NDArray[np.uint8], NDArray[np.float32]]:
        missing = np.flatnonzero(np.isnan(longitude) | np.isnan(latitude))
        if len(missing):
            longitude, latitude = longitude.copy(), latitude.copy()
            longitude[missing], latitude[missing] = 0.0, 0.0
        region = self._inside(longitude, latitude)
        region[missing] = -1
        inside = region >= 0
        quality = np.where(inside, np.uint8(_INSIDE), np.uint8(_NONE))
        distance = np.where(inside, np.float32(0), np.float32(np.nan))
        outside = np.flatnonzero(~inside)
        if len(missing):
            outside = np.setdiff1d(outside, missing, assume_unique=True)
        if len(outside) and self.near_cap_km > 0:
            index, kilometres = self._nearest.find(latitude[outside], longitude[outside])
            region[outside], distance[outside] = index, kilometres
            quality[outside[index >= 0]] = _NEAR
        return region, quality, distance

    def _inside(self, longitude: NDArray[np.float64], latitude: NDArray[np.float64]) -> NDArray[np.int32]:
        if self._grid is None:
            return self._exact.find(longitude, latitude)
        region = self._grid.find(longitude, latitude)
        ask = np.flatnonzero((region == ASK_SHAPELY) | (np.abs(longitude) == 180) | (np.abs(latitude) == 90))
        if len(ask):
            region[ask] = self._exact.find(longitude[ask], latitude[ask])
        return region


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

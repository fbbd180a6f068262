"""The region that holds a point, asked of shapely alone: the law that the fast grid answers to."""

from __future__ import annotations

import threading

import numpy as np
import shapely
from numpy.typing import NDArray

_CHUNK = 100_000
_NOBODY = np.iinfo(np.int32).max


class ExactRegions:
    """The lowest index among the regions whose polygon intersects a point.

    The polygons are taken part by part and prepared; a tree over the parts' boxes names the few parts to ask.
    `geometries` (k,) are polygons or multipolygons in degrees, longitudes within [-180, 180].
    """

    def __init__(self, geometries: NDArray[np.object_]) -> None:
        geometries = np.asarray(geometries, object)
        self._parts, self._owner = shapely.get_parts(geometries, return_index=True)
        shapely.prepare(self._parts)
        self._tree = shapely.STRtree(self._parts)
        self._lock = threading.Lock()  # a prepared polygon makes its index at the first question: one thread at a time
        self._at_pole = {pole: _first_at_pole(geometries, pole) for pole in (-90.0, 90.0)}

    def find(self, longitude: NDArray[np.float64], latitude: NDArray[np.float64]) -> NDArray[np.int32]:
        """Region indices (n,), -1 for none, where longitude 180 is also -180 and a pole is one point; no NaN."""
        found = self.find_on_plane(longitude, latitude)
        seam = np.flatnonzero(np.abs(longitude) == 180)
        if len(seam):
            other_side = self.find_on_plane(-longitude[seam], latitude[seam])
            here = found[seam]
            found[seam] = np.where((here < 0) | ((other_side >= 0) & (other_side < here)), other_side, here)
        for pole, region in self._at_pole.items():
            found[latitude == pole] = region
        return found

    def find_on_plane(self, longitude: NDArray[np.float64], latitude: NDArray[np.float64]) -> NDArray[np.int32]:
        """The same for points (n,) taken as they are, on the plane of degrees."""
        lowest = np.full(len(longitude), _NOBODY, np.int32)
        for begin in range(0, len(longitude), _CHUNK):
            x, y = longitude[begin : begin + _CHUNK], latitude[begin : begin + _CHUNK]
            with self._lock:
                point, part = self._tree.query(shapely.points(x, y))
                holds = shapely.intersects_xy(self._parts[part], x[point], y[point])
            np.minimum.at(lowest, begin + point[holds], self._owner[part[holds]].astype(np.int32))
        return np.where(lowest == _NOBODY, np.int32(-1), lowest)


def _first_at_pole(geometries: NDArray[np.object_], pole: float) -> int:
    touching = np.flatnonzero(shapely.intersects(geometries, shapely.LineString([(-180, pole), (180, pole)])))
    return int(touching[0]) if len(touching) else -1

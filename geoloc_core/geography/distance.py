"""Distances between points on the Earth, taken as a sphere of radius 6371.0 km.

The radius is that of the IM2GPS line of work, so that our figures compare with theirs; a change to the mean radius of
WGS 84 (6371.0088 km) moves a distance across an ocean by metres.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

EARTH_RADIUS_KM = 6371.0


def haversine_km(lat1: ArrayLike, lon1: ArrayLike, lat2: ArrayLike, lon2: ArrayLike) -> NDArray[np.float64]:
    """Great-circle distances in km between points given in degrees; the four arrays broadcast together.

    The haversine formula, 2 R asin sqrt(sin²(Δφ/2) + cos φ1 cos φ2 sin²(Δλ/2)) (Okkerman 2024, eq. 4). The root's
    argument is held within [0, 1], which rounding leaves near the antipode. NaN in, NaN out.
    """
    phi1, lambda1, phi2, lambda2 = (np.radians(np.asarray(x, dtype=np.float64)) for x in (lat1, lon1, lat2, lon2))
    chord = np.sin((phi2 - phi1) / 2) ** 2 + np.cos(phi1) * np.cos(phi2) * np.sin((lambda2 - lambda1) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.clip(chord, 0.0, 1.0)))


def pairwise_haversine_km(
    lat_a: ArrayLike, lon_a: ArrayLike, lat_b: ArrayLike, lon_b: ArrayLike
) -> NDArray[np.float64]:
    """Distances in km from each of n points to each of m points, all in degrees: shape (n, m)."""
    lat_a, lon_a = np.asarray(lat_a, dtype=np.float64), np.asarray(lon_a, dtype=np.float64)
    return haversine_km(lat_a[:, None], lon_a[:, None], np.asarray(lat_b)[None, :], np.asarray(lon_b)[None, :])

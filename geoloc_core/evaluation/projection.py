"""The Equal Earth projection: a world map on which every square kilometre has the same size.

Shaded areas are read as amounts, so a map that shades countries must not make Greenland as large as Africa.
"""

from __future__ import annotations

import numpy as np

# Savric, Patterson and Jenny (2018), The Equal Earth map projection, equations 1 and 2.
A1, A2, A3, A4 = 1.340264, -0.081106, 0.000893, 0.003796


def equal_earth(latitude: np.ndarray, longitude: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Degrees to (x, y) on a sphere of radius 1; the world is about 5.41 wide and 2.63 high."""
    theta = np.arcsin(np.sqrt(3.0) / 2.0 * np.sin(np.radians(latitude)))
    slope = A1 + 3.0 * A2 * theta**2 + theta**6 * (7.0 * A3 + 9.0 * A4 * theta**2)
    x = 2.0 * np.sqrt(3.0) * np.radians(longitude) * np.cos(theta) / (3.0 * slope)
    y = theta * (A1 + A2 * theta**2 + theta**6 * (A3 + A4 * theta**2))
    return x, y


def great_circle(
    latitude_a: float, longitude_a: float, latitude_b: float, longitude_b: float, points: int = 40
) -> tuple[np.ndarray, np.ndarray]:
    """The shortest way from a to b: latitudes and longitudes (degrees), with NaN where it crosses the antimeridian."""
    ends = np.radians([[latitude_a, longitude_a], [latitude_b, longitude_b]])
    a, b = (np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)]) for lat, lon in ends)
    angle = np.arccos(np.clip(a @ b, -1.0, 1.0))
    share = np.linspace(0.0, 1.0, points)[:, None]
    if np.sin(angle) < 1e-9:  # the same place, or its antipode: no way is shorter than another
        path = (1.0 - share) * a + share * b + 1e-12
    else:
        path = (np.sin((1.0 - share) * angle) * a + np.sin(share * angle) * b) / np.sin(angle)
    latitude = np.degrees(np.arctan2(path[:, 2], np.hypot(path[:, 0], path[:, 1])))
    longitude = np.degrees(np.arctan2(path[:, 1], path[:, 0]))
    jumps = np.flatnonzero(np.abs(np.diff(longitude)) > 180.0) + 1
    return np.insert(latitude, jumps, np.nan), np.insert(longitude, jumps, np.nan)

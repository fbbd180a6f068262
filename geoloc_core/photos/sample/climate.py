"""How warm, dry and mountainous a place is, and what grows there."""

from __future__ import annotations

import numpy as np

# (latitude, longitude, radius in km, strength): where it is dry, and where it is high.
DESERTS = (
    (23, 5, 1700, 1.0), (22, 25, 1300, 1.0), (24, 47, 1200, 1.0), (33, 56, 800, 0.7), (41, 62, 900, 0.7),
    (42, 104, 900, 0.8), (27, 71, 500, 0.7), (-25, 131, 1300, 0.9), (-23, -69, 500, 1.0), (35, -113, 800, 0.9),
    (-23, 18, 800, 0.8), (-45, -69, 600, 0.6), (26, -104, 500, 0.6), (38, -3, 450, 0.45), (31, 36, 400, 0.7),
)  # fmt: skip
MOUNTAINS = (
    (46.5, 9.5, 350, 1.0), (29, 85, 900, 1.0), (44, -111, 900, 0.9), (-13, -73, 600, 1.0), (-33, -70, 500, 1.0),
    (2, -77, 400, 0.8), (62, 8, 500, 0.8), (-44, 170, 350, 0.9), (36.2, 138, 300, 0.8), (42.5, 44, 400, 0.9),
    (52, -118, 600, 0.9), (42.6, 1, 200, 0.8), (64.5, -18, 250, 0.7), (31, -6, 250, 0.7), (39, 41, 450, 0.7),
    (9.7, -84, 150, 0.6), (-41, -72, 350, 0.9), (49, 20, 200, 0.6), (43, 20, 250, 0.6), (19, -99, 350, 0.6),
)  # fmt: skip

PLANTS: dict[str, tuple[float, float]] = {
    # temperature and aridity (0..1) that suit it best
    "conifer": (0.30, 0.15), "birch": (0.36, 0.20), "broadleaf": (0.52, 0.20), "cypress": (0.66, 0.45),
    "palm": (0.95, 0.30), "acacia": (0.90, 0.60), "cactus": (0.78, 0.95), "eucalyptus": (0.76, 0.45),
    "bush": (0.60, 0.75), "bamboo": (0.80, 0.15),
}  # fmt: skip
TEMPERATURE_TOLERANCE = 0.14
ARIDITY_TOLERANCE = 0.22


def climate(latitude: float, longitude: float, scores: np.ndarray) -> tuple[float, float, float]:
    """Temperature, aridity and relief (0..1 each) at a point; `scores` (3,) are smooth deviations of about unit size.

    Temperature falls with latitude and in mountains; it is driest inside the known deserts and, less so, near 25
    degrees of latitude.
    """
    relief = min(1.0, max(0.0, 0.28 + 0.22 * float(scores[2]) + 0.7 * _nearness(MOUNTAINS, latitude, longitude)))
    warm = 1.02 - (abs(latitude) / 72.0) ** 1.4 - 0.18 * max(0.0, relief - 0.5) + 0.05 * float(scores[0])
    belt = 0.22 * np.exp(-(((abs(latitude) - 25.0) / 9.0) ** 2))
    dry = 0.16 + belt + 0.85 * _nearness(DESERTS, latitude, longitude) + 0.08 * float(scores[1])
    return min(1.0, max(0.0, warm)), min(1.0, max(0.0, float(dry))), relief


def _nearness(centres: tuple[tuple[float, float, float, float], ...], latitude: float, longitude: float) -> float:
    """The strongest of several bell-shaped influences at a point; distances on a locally flat Earth."""
    table = np.array(centres, dtype=np.float64)
    north = (table[:, 0] - latitude) * 111.2
    east = ((table[:, 1] - longitude + 180.0) % 360.0 - 180.0) * 111.2 * np.cos(np.radians(latitude))
    return float(np.max(table[:, 3] * np.exp(-(north**2 + east**2) / (2 * (0.7 * table[:, 2]) ** 2))))


def plants_of(
    preference: dict[str, float], temperature: float, aridity: float, rng: np.random.Generator
) -> tuple[str, ...]:
    """The three commonest kinds of plants, commonest first, by how the climate suits them and a country's preference."""
    fit = {
        name: preference[name]
        - ((temperature - warm) / TEMPERATURE_TOLERANCE) ** 2
        - ((aridity - dry) / ARIDITY_TOLERANCE) ** 2
        + 0.3 * float(rng.normal())
        for name, (warm, dry) in PLANTS.items()
    }
    return tuple(sorted(fit, key=lambda name: -fit[name])[:3])

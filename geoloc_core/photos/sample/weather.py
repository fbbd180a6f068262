"""Light, weather and season of one photo; they have nothing to do with the country beyond how cold it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoloc_core.photos.sample.palette import Colour, hsv


@dataclass(frozen=True)
class Weather:
    """What the light is like; `tint` multiplies the red, green and blue of the finished picture."""

    cloudiness: float
    fog: float
    hour: str
    """"day", "golden" or "dusk"."""
    snow: bool
    leaf_turn: float
    """How far leaves have turned to autumn colours (0..1)."""
    leaf_tint: Colour
    tint: tuple[float, float, float]
    contrast: float
    grain: float
    """Standard deviation of the sensor's noise, in grey levels."""


def draw_weather(temperature: float, aridity: float, rng: np.random.Generator) -> Weather:
    """The light of one photo at a place with this climate."""
    hour = str(rng.choice(["day", "golden", "dusk"], p=[0.90, 0.06, 0.04]))
    cloudiness = float(rng.beta(0.8, 2.0 + 1.6 * aridity))
    cold_season = rng.random() < 0.16
    snow = bool(cold_season and rng.random() < 1.9 * (0.62 - temperature))
    autumn = rng.random() < 0.10 and temperature < 0.72
    fog = float(rng.uniform(0.3, 0.7)) if rng.random() < 0.03 else 0.0
    exposure = 1.0 + 0.04 * rng.normal()
    warmth = 0.012 * rng.normal() + {"day": 0.0, "golden": 0.12, "dusk": -0.08}[hour]
    brightness = exposure * {"day": 1.0, "golden": 0.93, "dusk": 0.55}[hour] * (1.0 - 0.12 * cloudiness)
    return Weather(
        cloudiness=cloudiness,
        fog=fog,
        hour=hour,
        snow=snow,
        leaf_turn=float(rng.uniform(0.5, 1.0)) if autumn else 0.0,
        leaf_tint=hsv(float(rng.uniform(18, 46)), 0.75, 0.72),
        tint=(brightness * (1 + warmth), brightness, brightness * (1 - warmth)),
        contrast=float(1.0 + 0.04 * rng.normal()),
        grain=float(rng.uniform(1.0, 3.5)),
    )

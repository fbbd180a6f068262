"""What a place looks like, hidden from everything but the pixels.

Climate comes from latitude and from where the world's great deserts and mountains are. Style (walls, roofs, soil,
foliage, road markings, ...) is a vector of standard normal scores: a part is shared by a whole continent's
neighbourhood through a smooth field on the sphere, a part belongs to the country, a smaller one to the sub-division,
and a rest to the single photo. So neighbours look alike, and no country looks the same twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoloc_core.photos.sample.climate import climate, plants_of
from geoloc_core.photos.sample.palette import Colour, hsv
from geoloc_core.photos.sample.places import Country, Place
from geoloc_core.photos.sample.randomness import stream
from geoloc_core.photos.sample.style import ROOF_COLOURS, WALLS, Choices, choose

# Shares of variance of a style score; they add up to 1. The photo's own share is what keeps a good model from being
# right always.
FIELD_SHARE = 0.22
COUNTRY_SHARE = 0.70
SUBDIVISION_SHARE = 0.04
PHOTO_SHARE = 0.04

FIELD_SCALE_KM = 1500.0
EARTH_RADIUS_KM = 6371.0
FIELD_TERMS = 48

SCORES = (
    "wall_hue", "wall_saturation", "wall_lightness", "roof_hue", "roof_lightness", "soil_hue", "soil_saturation",
    "soil_lightness", "grass_hue", "grass_saturation", "grass_lightness", "foliage_hue", "foliage_saturation",
    "foliage_lightness", "sky_hue", "sky_saturation", "sky_lightness", "horizon_hue", "horizon_saturation",
    "road_hue", "road_lightness", "water_hue", "water_saturation", "accent", "density", "storeys", "farming",
)  # fmt: skip


@dataclass(frozen=True)
class Traits:
    """How a place looks. Colours are RGB; numbers without a unit run from 0 to 1."""

    temperature: float
    aridity: float
    relief: float
    walls: tuple[Colour, Colour]
    roof: Colour
    roof_form: str
    landmark: str
    accent: Colour
    soil: Colour
    grass: Colour
    foliage: Colour
    plants: tuple[str, ...]
    """Kinds of plants, the commonest first."""
    sky_high: Colour
    sky_low: Colour
    water: Colour
    road: Colour
    marking: str
    sign: str
    cars: str
    density: float
    storeys: float
    farming: float


class Look:
    """The looks of a whole world, decided by one seed."""

    def __init__(self, seed: int) -> None:
        """Draw the smooth fields."""
        self._seed = seed
        rng = stream(seed, "fields")
        channels = len(SCORES) + 3
        self._waves = rng.normal(0.0, EARTH_RADIUS_KM / FIELD_SCALE_KM, (channels, FIELD_TERMS, 3))
        self._phases = rng.uniform(0.0, 2 * np.pi, (channels, FIELD_TERMS))
        self._choices: dict[tuple[str, str], Choices] = {}

    def field(self, latitude: float, longitude: float) -> np.ndarray:
        """Smooth scores (channels,) at a point, about standard normal; random Fourier features on the sphere.

        Method: Rahimi and Recht (2007), Random features for large-scale kernel machines, with a Gaussian kernel of
        length `FIELD_SCALE_KM` in the space of unit vectors.
        """
        lat, lon = np.radians(latitude), np.radians(longitude)
        point = np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
        return np.sqrt(2.0 / FIELD_TERMS) * np.cos(self._waves @ point + self._phases).sum(axis=1)

    def traits(self, place: Place, country: Country | None, rng: np.random.Generator) -> Traits:
        """How `place` looks in one photo; `rng` adds what is this photo's own. `country` is None on the open sea."""
        smooth = self.field(place.latitude, place.longitude)
        own = stream(self._seed, "style", place.country_id).normal(size=len(SCORES))
        smaller = stream(self._seed, "style", place.country_id, place.subdivision_id).normal(size=len(SCORES))
        values = (
            np.sqrt(FIELD_SHARE) * smooth[: len(SCORES)]
            + np.sqrt(COUNTRY_SHARE) * own
            + np.sqrt(SUBDIVISION_SHARE) * smaller
            + np.sqrt(PHOTO_SHARE) * rng.normal(size=len(SCORES))
        )
        score = dict(zip(SCORES, np.clip(values, -2.2, 2.2).tolist(), strict=True))
        temperature, aridity, relief = climate(place.latitude, place.longitude, smooth[len(SCORES) :])
        choices = self._country_choices(place, country)
        return _render(score, temperature, aridity, relief, choices, rng)

    def _country_choices(self, place: Place, country: Country | None) -> Choices:
        key = (place.country_id, place.continent)
        if key not in self._choices:
            if country is None:
                smooth = self.field(place.latitude, place.longitude)
            else:
                smooth = self.field(country.latitude, country.longitude)
            self._choices[key] = choose(self._seed, place.country_id, place.continent, smooth)
        return self._choices[key]


def _render(
    score: dict[str, float],
    temperature: float,
    aridity: float,
    relief: float,
    choices: Choices,
    rng: np.random.Generator,
) -> Traits:
    """Scores to colours and numbers."""
    green = 1.0 - aridity
    soil = hsv(
        30 + 14 * score["soil_hue"] - 6 * temperature * green,
        0.36 + 0.16 * aridity + 0.12 * score["soil_saturation"],
        0.58 + 0.16 * aridity + 0.12 * score["soil_lightness"],
    )
    grass = hsv(
        94 + 24 * score["grass_hue"] - 40 * aridity,
        0.48 + 0.15 * score["grass_saturation"] - 0.10 * aridity,
        0.60 + 0.13 * score["grass_lightness"] + 0.08 * aridity,
    )
    foliage = hsv(
        112 + 30 * score["foliage_hue"] - 22 * aridity,
        0.52 + 0.16 * score["foliage_saturation"] - 0.12 * aridity,
        0.44 + 0.12 * score["foliage_lightness"],
    )
    sky = 208 + 11 * score["sky_hue"]
    saturation = 0.44 + 0.16 * score["sky_saturation"]
    return Traits(
        temperature=temperature,
        aridity=aridity,
        relief=relief,
        walls=(_wall(choices.walls[0], score), _wall(choices.walls[1], score)),
        roof=_roof(choices.roof_colour, score),
        roof_form=choices.roof_form,
        landmark=choices.landmark,
        accent=hsv(180 + 80 * score["accent"], 0.55, 0.55),
        soil=soil,
        grass=grass,
        foliage=foliage,
        plants=plants_of(choices.plant_scores, temperature, aridity, rng),
        sky_high=hsv(sky, saturation, 0.80 + 0.06 * score["sky_lightness"]),
        sky_low=hsv(sky - 14 - 12 * score["horizon_hue"], 0.16 + 0.09 * score["horizon_saturation"], 0.95),
        water=hsv(196 + 17 * score["water_hue"] - 8 * temperature, 0.50 + 0.10 * score["water_saturation"], 0.58),
        road=hsv(225 + 100 * score["road_hue"], 0.09, 0.48 + 0.11 * score["road_lightness"]),
        marking=choices.marking,
        sign=choices.sign,
        cars=choices.cars,
        density=_logistic(score["density"]),
        storeys=_logistic(score["storeys"]),
        farming=_logistic(score["farming"]) * green,
    )


def _wall(name: str, score: dict[str, float]) -> Colour:
    hue, saturation, value = WALLS[name]
    return hsv(
        hue + 8 * score["wall_hue"],
        saturation * (1 + 0.18 * score["wall_saturation"]),
        value + 0.06 * score["wall_lightness"],
    )


def _roof(name: str, score: dict[str, float]) -> Colour:
    hue, saturation, value = ROOF_COLOURS[name]
    return hsv(hue + 7 * score["roof_hue"], saturation, value + 0.07 * score["roof_lightness"])


def _logistic(score: float) -> float:
    return float(1.0 / (1.0 + np.exp(-1.4 * score)))

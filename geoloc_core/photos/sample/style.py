"""What a country has in common and does not blend: walls, roofs, towers, road markings, signs, cars, plants."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoloc_core.photos.sample.climate import PLANTS
from geoloc_core.photos.sample.randomness import stream

WALLS: dict[str, tuple[float, float, float]] = {
    # hue in degrees, saturation, value
    "brick": (12, 0.58, 0.62), "whitewash": (45, 0.06, 0.95), "ochre": (38, 0.52, 0.86), "concrete": (215, 0.07, 0.66),
    "red timber": (4, 0.68, 0.55), "adobe": (26, 0.48, 0.72), "pastel": (330, 0.28, 0.90), "sandstone": (46, 0.32, 0.82),
    "dark wood": (24, 0.50, 0.40), "blue": (208, 0.42, 0.74), "weatherboard": (150, 0.14, 0.84), "turquoise": (172, 0.40, 0.74),
}  # fmt: skip
ROOF_FORMS = ("gable", "hip", "flat", "stepped", "curved", "dome", "mansard", "thatch")
ROOF_COLOURS: dict[str, tuple[float, float, float]] = {
    "terracotta": (15, 0.58, 0.66), "red tin": (4, 0.60, 0.56), "slate": (215, 0.16, 0.42), "shingle": (26, 0.38, 0.42),
    "green tin": (150, 0.42, 0.46), "blue tile": (212, 0.55, 0.54), "straw": (42, 0.48, 0.68), "pale tin": (200, 0.08, 0.76),
}  # fmt: skip
LANDMARKS = ("spire", "minaret", "onion", "pagoda", "stupa", "water tower", "bell tower", "skyscraper")
MARKINGS = ("white dashed", "yellow double", "yellow dashed", "white solid", "none")
SIGNS = ("green", "blue", "white", "yellow", "brown")
CARS = ("white", "yellow", "mixed", "dark")

# What is likelier on a continent: added to the scores of the options. What is not named gets 0.
LEANINGS: dict[str, dict[str, float]] = {
    "Europe": {
        "gable": 2.0, "hip": 1.5, "mansard": 0.9, "stepped": 0.9, "curved": -3, "thatch": -2, "dome": -1.5,
        "terracotta": 2.0, "slate": 1.4, "shingle": 0.6, "blue tile": -2, "straw": -2, "pale tin": -1,
        "brick": 1.2, "ochre": 1.2, "whitewash": 1.2, "sandstone": 0.8, "red timber": 0.6, "adobe": -2,
        "turquoise": -2, "blue": -1, "spire": 2.0, "bell tower": 1.8, "onion": 0.6, "pagoda": -4, "stupa": -4,
        "minaret": -1, "water tower": -1, "white dashed": 2.0, "white solid": 1.0, "bamboo": -4, "cactus": -4,
        "acacia": -4, "eucalyptus": -3,
    },
    "North America": {
        "gable": 1.6, "flat": 1.4, "hip": 0.9, "curved": -3, "dome": -3, "stepped": -2, "thatch": -2.5,
        "shingle": 1.5, "slate": 0.8, "straw": -2, "weatherboard": 1.8, "brick": 1.2, "blue": 0.5,
        "water tower": 2.2, "skyscraper": 2.0, "spire": 1.0, "minaret": -4, "pagoda": -4, "stupa": -4, "onion": -3,
        "yellow double": 3.5, "yellow dashed": 3.0, "green": 2.0, "bamboo": -4, "acacia": -4, "eucalyptus": -3,
        "cactus": 0.9, "conifer": 0.3,
    },
    "South America": {
        "hip": 1.4, "flat": 1.4, "gable": 0.8, "curved": -3, "stepped": -2, "dome": -2, "terracotta": 1.6,
        "pale tin": 0.8, "pastel": 1.4, "turquoise": 1.2, "ochre": 1.2, "red timber": -1, "bell tower": 2.4,
        "minaret": -4, "pagoda": -4, "stupa": -4, "onion": -3, "yellow double": 2.0, "yellow dashed": 2.0,
        "bamboo": -2, "acacia": -2,
    },
    "Asia": {
        "curved": 2.0, "flat": 1.2, "hip": 0.6, "stepped": -2.5, "blue tile": 1.0, "green tin": 0.6, "slate": 0.6,
        "dark wood": 1.0, "concrete": 1.0, "weatherboard": -2, "pagoda": 1.4, "stupa": 1.2, "minaret": 1.0,
        "skyscraper": 1.2, "spire": -3, "bell tower": -3, "water tower": -1, "bamboo": 1.6, "cactus": -4,
        "acacia": -2.5, "eucalyptus": -3,
    },
    "Africa": {
        "flat": 2.0, "dome": 1.4, "thatch": 1.6, "curved": -3, "stepped": -3, "mansard": -2, "straw": 1.4,
        "pale tin": 1.2, "slate": -2, "adobe": 2.0, "sandstone": 1.5, "red timber": -3, "weatherboard": -3,
        "dark wood": -2, "minaret": 1.8, "pagoda": -4, "stupa": -3, "onion": -4, "none": 1.2, "acacia": 1.6,
        "bamboo": -4, "cactus": -3,
    },
    "Oceania": {
        "hip": 2.0, "gable": 1.2, "curved": -3, "stepped": -3, "dome": -3, "pale tin": 1.8, "red tin": 1.2,
        "straw": -1, "weatherboard": 2.2, "brick": 0.8, "red timber": -1, "water tower": 1.2, "skyscraper": 1.2,
        "bell tower": 0.6, "minaret": -4, "pagoda": -4, "stupa": -4, "onion": -4, "white dashed": 2.0,
        "eucalyptus": 2.6, "cactus": -4, "acacia": -3,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Choices:
    """The choices of one country; `plant_scores` says which plants it prefers beyond what its climate decides."""

    walls: tuple[str, str]
    roof_form: str
    roof_colour: str
    landmark: str
    marking: str
    sign: str
    cars: str
    plant_scores: dict[str, float]


def choose(seed: int, country_id: str, continent: str, smooth: np.ndarray) -> Choices:
    """Choices of one country: what its continent leans to, what its neighbours have, and its own mind."""
    leaning = LEANINGS.get(continent, {})
    rng = stream(seed, "choices", country_id)
    turned = np.cos(2.3 * smooth)

    def scores(options: tuple[str, ...], channel: int) -> np.ndarray:
        near = np.array([turned[(channel + 5 * i) % len(turned)] for i in range(len(options))])
        return np.array([leaning.get(name, 0.0) for name in options]) + 0.8 * near + rng.gumbel(size=len(options))

    def best(options: tuple[str, ...], channel: int) -> str:
        return options[int(np.argmax(scores(options, channel)))]

    names = tuple(WALLS)
    order = np.argsort(-scores(names, 0), kind="stable")
    return Choices(
        walls=(names[order[0]], names[order[1]]),
        roof_form=best(ROOF_FORMS, 3),
        roof_colour=best(tuple(ROOF_COLOURS), 7),
        landmark=best(LANDMARKS, 2),
        marking=best(MARKINGS, 4),
        sign=best(SIGNS, 6),
        cars=best(CARS, 9),
        plant_scores={name: 0.6 * float(value) for name, value in zip(PLANTS, scores(tuple(PLANTS), 11), strict=True)},
    )

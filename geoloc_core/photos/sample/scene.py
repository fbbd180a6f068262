"""A photo from traits: a kind of scene, weather, and the drawing of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from geoloc_core.photos.sample.buildings import draw_house, draw_landmark
from geoloc_core.photos.sample.canvas import Canvas
from geoloc_core.photos.sample.figures import draw_boat, draw_car, draw_person, draw_poles, draw_sign
from geoloc_core.photos.sample.land import draw_fields, draw_ground, draw_hills, draw_road, draw_sky, draw_water
from geoloc_core.photos.sample.palette import WHITE, Colour, hsv, mix, shade
from geoloc_core.photos.sample.plants import draw_grove, draw_plant
from geoloc_core.photos.sample.traits import Traits
from geoloc_core.photos.sample.weather import Weather, draw_weather

OVERSAMPLING = 2
"""Scenes are drawn this many times larger and averaged down, which smooths edges."""


@dataclass(frozen=True)
class SceneKind:
    """A kind of scene, how frequent it is, and its Places365 labels: 3 classes, 16 classes, 365 classes."""

    name: str
    frequency: float
    labels: tuple[int, int, int]


# Label numbers as they occur in the published places365 tables of MP-16's kind.
KINDS = (
    SceneKind("street", 0.29, (2, 15, 319)),
    SceneKind("village", 0.16, (2, 15, 348)),
    SceneKind("road", 0.15, (2, 10, 175)),
    SceneKind("fields", 0.09, (1, 8, 140)),
    SceneKind("nature", 0.11, (1, 8, 141)),
    SceneKind("lake", 0.08, (1, 6, 205)),
    SceneKind("beach", 0.08, (1, 6, 48)),
    SceneKind("room", 0.04, (0, 2, 215)),
)
COAST = SceneKind("coast", 0.0, (1, 6, 97))
OCEAN = SceneKind("ocean", 0.0, (1, 6, 243))


def draw_photo(
    traits: Traits, setting: str, size: tuple[int, int], rng: np.random.Generator
) -> tuple[Image.Image, SceneKind]:
    """A picture of `size` (width, height) pixels of a place that looks like `traits`, and what kind of scene it is.

    `setting` is "land", "coast" (at sea with land in sight) or "ocean".
    """
    on_land = KINDS[int(rng.choice(len(KINDS), p=_FREQUENCIES))]
    kind = {"land": on_land, "coast": COAST, "ocean": OCEAN}[setting]
    weather = draw_weather(traits.temperature, traits.aridity, rng)
    murk = min(0.95, 0.45 + 0.2 * weather.cloudiness + weather.fog)
    haze = mix(traits.sky_low, (200, 204, 210), 0.4 * weather.cloudiness)
    canvas = Canvas(size[0] * OVERSAMPLING, size[1] * OVERSAMPLING, rng, haze, murk)
    _DRAW[kind.name](canvas, traits, weather)
    return _develop(canvas.image.reduce(OVERSAMPLING), weather, haze, rng), kind


def _develop(image: Image.Image, weather: Weather, haze: Colour, rng: np.random.Generator) -> Image.Image:
    """Light, fog and the sensor's noise."""
    if weather.fog > 0:
        image = Image.blend(image, Image.new("RGB", image.size, haze), 0.6 * weather.fog)
    pixels = np.asarray(image, dtype=np.float32)
    pixels = (pixels - 128.0) * weather.contrast + 128.0
    pixels *= np.array(weather.tint, dtype=np.float32)
    pixels += weather.grain * rng.standard_normal((*pixels.shape[:2], 1), dtype=np.float32)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _open_land(canvas: Canvas, traits: Traits, weather: Weather, horizon: float) -> Colour:
    draw_sky(canvas, traits, weather, horizon)
    draw_hills(canvas, traits, weather, horizon)
    return draw_ground(canvas, traits, weather, horizon)


def _storeys(canvas: Canvas, traits: Traits) -> int:
    return 1 + int(canvas.between(0.3, 1.0) * (1.2 + 2.6 * traits.storeys))


def _row_of_houses(canvas: Canvas, traits: Traits, weather: Weather, base: float, width: float, depth: float) -> None:
    x = -width * canvas.between(0.0, 1.0)
    while x < canvas.width:
        here = width * canvas.between(0.75, 1.25)
        if canvas.chance(0.45 + 0.5 * traits.density):
            draw_house(canvas, traits, weather, x, base, here, _storeys(canvas, traits), depth)
        else:
            draw_plant(canvas, traits, weather, x + here / 2, base, here * 0.9, depth)
        x += here * (1.04 + 0.5 * (1 - traits.density))


def _draw_street(canvas: Canvas, traits: Traits, weather: Weather) -> None:
    horizon = canvas.height * canvas.between(0.44, 0.54)
    _open_land(canvas, traits, weather, horizon)
    middle = canvas.width * canvas.between(0.35, 0.65)
    if canvas.chance(0.4):
        draw_landmark(
            canvas,
            traits,
            middle + canvas.width * canvas.between(-0.15, 0.15),
            horizon + 2,
            canvas.height * canvas.between(0.25, 0.4),
            0.5,
        )
    _row_of_houses(canvas, traits, weather, horizon + 2, canvas.width * 0.07, 0.6)
    draw_road(canvas, traits, weather, horizon, middle, canvas.width * canvas.between(0.4, 0.6))
    # Two rows of houses that come nearer and grow towards the edges.
    for along in (0.25, 0.5, 0.78, 1.1):
        base = horizon + (canvas.height - horizon) * 0.42 * along
        width = canvas.width * (0.1 + 0.22 * along)
        for side in (-1, 1):
            centre = middle + side * (canvas.width * 0.05 + canvas.width * 0.42 * along) + side * width * 0.35
            if canvas.chance(0.6 + 0.4 * traits.density):
                draw_house(
                    canvas,
                    traits,
                    weather,
                    centre - width / 2,
                    base,
                    width,
                    _storeys(canvas, traits),
                    0.45 * (1 - along),
                )
            else:
                draw_plant(canvas, traits, weather, centre, base, width * 1.1, 0.45 * (1 - along))
    if canvas.chance(0.5):
        draw_car(
            canvas,
            traits,
            canvas.width * canvas.between(0.35, 0.7),
            canvas.height * canvas.between(0.72, 0.92),
            canvas.width * 0.2,
        )
    for _ in range(int(canvas.between(0, 4))):
        draw_person(
            canvas,
            canvas.width * canvas.between(0.05, 0.95),
            canvas.height * canvas.between(0.8, 0.97),
            canvas.height * canvas.between(0.16, 0.28),
        )


def _draw_village(canvas: Canvas, traits: Traits, weather: Weather) -> None:
    horizon = canvas.height * canvas.between(0.42, 0.54)
    _open_land(canvas, traits, weather, horizon)
    if traits.farming > 0.45:
        draw_fields(canvas, traits, weather, horizon)
    draw_landmark(
        canvas,
        traits,
        canvas.width * canvas.between(0.2, 0.8),
        horizon + canvas.height * 0.05,
        canvas.height * canvas.between(0.25, 0.42),
        0.35,
    )
    _row_of_houses(canvas, traits, weather, horizon + canvas.height * 0.05, canvas.width * 0.11, 0.4)
    _row_of_houses(canvas, traits, weather, horizon + canvas.height * 0.17, canvas.width * 0.2, 0.15)
    draw_grove(canvas, traits, weather, horizon + canvas.height * 0.1, 4)


def _draw_road_scene(canvas: Canvas, traits: Traits, weather: Weather) -> None:
    horizon = canvas.height * canvas.between(0.42, 0.53)
    _open_land(canvas, traits, weather, horizon)
    if traits.farming > 0.5 and canvas.chance(0.6):
        draw_fields(canvas, traits, weather, horizon)
    draw_grove(canvas, traits, weather, horizon, 7)
    draw_road(
        canvas,
        traits,
        weather,
        horizon,
        canvas.width * canvas.between(0.35, 0.65),
        canvas.width * canvas.between(0.4, 0.6),
    )
    if canvas.chance(0.5):
        draw_poles(canvas, horizon, 1.0 if canvas.chance(0.5) else -1.0)
    if canvas.chance(0.45):
        draw_sign(
            canvas,
            traits,
            canvas.width * (0.88 if canvas.chance(0.5) else 0.12),
            canvas.height * 0.78,
            canvas.height * 0.2,
        )
    if canvas.chance(0.4):
        house = canvas.width * canvas.between(0.16, 0.26)
        draw_house(
            canvas,
            traits,
            weather,
            canvas.width * (0.02 if canvas.chance(0.5) else 0.74),
            canvas.height * 0.68,
            house,
            _storeys(canvas, traits),
            0.1,
        )
    if canvas.chance(0.4):
        draw_car(
            canvas,
            traits,
            canvas.width * canvas.between(0.4, 0.62),
            canvas.height * canvas.between(0.7, 0.85),
            canvas.width * 0.14,
        )


def _draw_fields_scene(canvas: Canvas, traits: Traits, weather: Weather) -> None:
    horizon = canvas.height * canvas.between(0.40, 0.53)
    _open_land(canvas, traits, weather, horizon)
    draw_fields(canvas, traits, weather, horizon)
    if canvas.chance(0.6):
        draw_house(
            canvas,
            traits,
            weather,
            canvas.width * canvas.between(0.05, 0.75),
            horizon + canvas.height * 0.06,
            canvas.width * 0.13,
            _storeys(canvas, traits),
            0.3,
        )
    draw_grove(canvas, traits, weather, horizon, 5)


def _draw_nature(canvas: Canvas, traits: Traits, weather: Weather) -> None:
    horizon = canvas.height * canvas.between(0.40, 0.55)
    _open_land(canvas, traits, weather, horizon)
    path = mix(traits.soil, WHITE, 0.1)
    x = canvas.width * canvas.between(0.3, 0.7)
    canvas.polygon(
        [
            (x - 3, horizon + 2),
            (x + 3, horizon + 2),
            (x + canvas.width * 0.2, canvas.height),
            (x - canvas.width * 0.1, canvas.height),
        ],
        path,
    )
    draw_grove(canvas, traits, weather, horizon, round(14 - 7 * traits.aridity))
    if canvas.chance(0.25):
        draw_person(canvas, x, canvas.height * 0.85, canvas.height * 0.22)


def _draw_lake(canvas: Canvas, traits: Traits, weather: Weather) -> None:
    horizon = canvas.height * canvas.between(0.35, 0.5)
    _open_land(canvas, traits, weather, horizon)
    shore = horizon + canvas.height * 0.07
    if canvas.chance(0.75):
        _row_of_houses(canvas, traits, weather, shore, canvas.width * 0.1, 0.4)
    else:
        for _ in range(9):
            draw_plant(
                canvas,
                traits,
                weather,
                canvas.width * canvas.between(0, 1),
                shore,
                canvas.height * canvas.between(0.1, 0.2),
                0.4,
            )
    near = canvas.height * canvas.between(0.82, 0.97)
    draw_water(canvas, traits, shore, near)
    if canvas.chance(0.5):
        draw_boat(
            canvas,
            canvas.width * canvas.between(0.15, 0.85),
            canvas.height * canvas.between(0.62, 0.8),
            canvas.width * 0.16,
        )
    draw_plant(
        canvas,
        traits,
        weather,
        canvas.width * (0.08 if canvas.chance(0.5) else 0.92),
        canvas.height,
        canvas.height * 0.62,
        0.0,
    )


def _draw_beach(canvas: Canvas, traits: Traits, weather: Weather) -> None:
    horizon = canvas.height * canvas.between(0.36, 0.5)
    draw_sky(canvas, traits, weather, horizon)
    if canvas.chance(0.5):
        draw_hills(canvas, traits, weather, horizon)
    shore = canvas.height * canvas.between(0.58, 0.7)
    draw_water(canvas, traits, horizon, shore + 4)
    sand = mix(traits.soil, (236, 216, 176), 0.4)
    edge = canvas.ridge(shore + 8, 8, 0.1)
    canvas.polygon([*edge, (canvas.width, canvas.height), (0, canvas.height)], WHITE)
    canvas.polygon([*[(x, y + 3) for x, y in edge], (canvas.width, canvas.height), (0, canvas.height)], sand)
    if canvas.chance(0.6):
        draw_house(
            canvas,
            traits,
            weather,
            canvas.width * canvas.between(0.02, 0.7),
            canvas.height * 0.82,
            canvas.width * 0.24,
            1,
            0.05,
        )
    for _ in range(int(canvas.between(0, 4))):
        canvas_x = canvas.width * canvas.between(0.05, 0.95)
        draw_person(
            canvas, canvas_x, canvas.height * canvas.between(0.8, 0.96), canvas.height * canvas.between(0.14, 0.22)
        )
    draw_plant(
        canvas,
        traits,
        weather,
        canvas.width * (0.1 if canvas.chance(0.5) else 0.9),
        canvas.height * 0.92,
        canvas.height * 0.6,
        0.0,
    )


def _draw_room(canvas: Canvas, traits: Traits, weather: Weather) -> None:
    """A room with a window; what is outside says where it is, the furniture does not."""
    wall = hsv(canvas.between(0, 360), canvas.between(0.04, 0.3), canvas.between(0.6, 0.92))
    wide, tall = canvas.width, canvas.height
    left, top = wide * canvas.between(0.12, 0.5), tall * canvas.between(0.12, 0.22)
    right, bottom = left + wide * canvas.between(0.28, 0.42), top + tall * canvas.between(0.3, 0.42)
    _open_land(canvas, traits, weather, (top + bottom) / 2)
    for x in (0.25, 0.6):
        draw_house(canvas, traits, weather, left + (right - left) * x, bottom - 8, wide * 0.1, 2, 0.3)
    canvas.rectangle(0, 0, wide, top, wall)
    canvas.rectangle(0, bottom, wide, tall, wall)
    canvas.rectangle(0, top, left, bottom, wall)
    canvas.rectangle(right, top, wide, bottom, wall)
    frame = mix(wall, WHITE, 0.6)
    centre = (left + right) / 2
    canvas.draw.rectangle((left, top, right, bottom), outline=frame, width=5)
    canvas.line([(centre, top), (centre, bottom)], frame, 5)
    canvas.polygon(
        [(0, tall * 0.8), (wide, tall * 0.8), (wide, tall), (0, tall)],
        hsv(canvas.between(15, 40), 0.45, canvas.between(0.3, 0.6)),
    )
    sofa = hsv(canvas.between(0, 360), canvas.between(0.2, 0.6), canvas.between(0.3, 0.75))
    x = wide * canvas.between(0.02, 0.5)
    canvas.rectangle(x, tall * 0.62, x + wide * 0.45, tall * 0.9, sofa)
    canvas.rectangle(x + wide * 0.03, tall * 0.74, x + wide * 0.42, tall * 0.84, shade(sofa, 1.2))
    if canvas.chance(0.5):
        draw_person(canvas, wide * canvas.between(0.6, 0.9), tall * 0.98, tall * canvas.between(0.45, 0.6))


def _draw_coast(canvas: Canvas, traits: Traits, weather: Weather) -> None:
    horizon = canvas.height * canvas.between(0.4, 0.6)
    draw_sky(canvas, traits, weather, horizon)
    draw_hills(canvas, traits, weather, horizon)
    cover = mix(traits.foliage, traits.soil, traits.aridity)
    canvas.rectangle(0, horizon - canvas.height * 0.03, canvas.width, horizon + 1, canvas.far(cover, 0.5))
    _row_of_houses(canvas, traits, weather, horizon, canvas.width * 0.06, 0.5)
    draw_water(canvas, traits, horizon, canvas.height)
    draw_boat(
        canvas, canvas.width * canvas.between(0.2, 0.8), canvas.height * canvas.between(0.65, 0.85), canvas.width * 0.16
    )


def _draw_ocean(canvas: Canvas, traits: Traits, weather: Weather) -> None:
    horizon = canvas.height * canvas.between(0.3, 0.65)
    draw_sky(canvas, traits, weather, horizon)
    draw_water(canvas, traits, horizon, canvas.height)
    if canvas.chance(0.4):
        draw_boat(
            canvas,
            canvas.width * canvas.between(0.2, 0.8),
            canvas.height * canvas.between(0.68, 0.9),
            canvas.width * 0.14,
        )


_FREQUENCIES = np.array([kind.frequency for kind in KINDS])
_DRAW: dict[str, Callable[[Canvas, Traits, Weather], None]] = {
    "street": _draw_street, "village": _draw_village, "road": _draw_road_scene, "fields": _draw_fields_scene,
    "nature": _draw_nature, "lake": _draw_lake, "beach": _draw_beach, "room": _draw_room, "coast": _draw_coast,
    "ocean": _draw_ocean,
}  # fmt: skip

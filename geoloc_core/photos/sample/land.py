"""Sky, hills, ground, water and roads."""

from __future__ import annotations

from geoloc_core.photos.sample.canvas import Canvas
from geoloc_core.photos.sample.palette import WHITE, Colour, mix, shade
from geoloc_core.photos.sample.traits import Traits
from geoloc_core.photos.sample.weather import Weather

YELLOW: Colour = (232, 186, 52)
SNOW: Colour = (238, 242, 248)


def draw_sky(canvas: Canvas, traits: Traits, weather: Weather, horizon: float) -> None:
    """Sky down to `horizon` (pixels from the top), with sun or clouds."""
    overcast: Colour = (196, 200, 206)
    upper = mix(traits.sky_high, overcast, weather.cloudiness * 0.85)
    lower = mix(traits.sky_low, overcast, weather.cloudiness * 0.6)
    if weather.hour == "golden":
        lower = mix(lower, (252, 190, 120), 0.6)
    canvas.gradient(0, horizon + 2, upper, lower)
    if weather.cloudiness < 0.5 and canvas.chance(0.25):
        size = canvas.height * 0.035
        canvas.ellipse(
            canvas.between(0.1, 0.9) * canvas.width, horizon * canvas.between(0.15, 0.7), size, size, (255, 248, 214)
        )
    for _ in range(round(weather.cloudiness * canvas.between(2, 6))):
        _draw_cloud(canvas, weather, horizon)


def _draw_cloud(canvas: Canvas, weather: Weather, horizon: float) -> None:
    x, y = canvas.between(0.0, 1.0) * canvas.width, canvas.between(0.05, 0.75) * horizon
    size = canvas.width * canvas.between(0.03, 0.08)
    white = mix(WHITE, (176, 182, 190), weather.cloudiness * 0.8)
    for _ in range(4):
        canvas.ellipse(
            x + canvas.between(-2.2, 2.2) * size, y + canvas.between(-0.3, 0.3) * size,
            size * canvas.between(0.8, 1.5), size * canvas.between(0.35, 0.6), shade(white, canvas.between(0.95, 1.0)),
        )  # fmt: skip


def draw_hills(canvas: Canvas, traits: Traits, weather: Weather, horizon: float) -> None:
    """Up to three ranges behind the land, bluer and paler the farther they are."""
    if traits.relief < 0.22:
        return
    tallest = canvas.height * (0.05 + 0.26 * traits.relief**1.5)
    ground = mix(traits.foliage, traits.soil, 0.25 + 0.7 * traits.aridity)
    if weather.snow:
        ground = mix(ground, SNOW, 0.5)
    ranges = 1 + round(2 * traits.relief)
    for number in range(ranges):
        depth = 1.0 - 0.75 * number / ranges
        height = tallest * (1.0 - 0.55 * number / ranges) * canvas.between(0.75, 1.1)
        ridge = canvas.ridge(horizon + 1, height, traits.relief)
        canvas.polygon([*ridge, (canvas.width, horizon + 2), (0, horizon + 2)], canvas.far(shade(ground, 0.85), depth))
        if number == 0 and traits.relief > 0.62 and traits.temperature < 0.78:
            line = horizon - height * (0.55 + 0.2 * traits.temperature)
            caps = [(x, min(y, line + canvas.between(-2, 5))) for x, y in ridge]
            if min(y for _, y in ridge) < line:
                canvas.polygon(
                    [*ridge, *reversed([(x, max(y, r)) for (x, y), (_, r) in zip(caps, ridge, strict=True)])],
                    canvas.far(SNOW, 0.5),
                )


def draw_ground(canvas: Canvas, traits: Traits, weather: Weather, horizon: float) -> Colour:
    """Land from `horizon` to the lower edge; the colour of the ground at the camera."""
    cover = mix(traits.grass, traits.soil, min(1.0, max(0.0, (traits.aridity - 0.15) * 1.35)))
    cover = mix(cover, weather.leaf_tint, weather.leaf_turn * 0.25)
    if weather.snow:
        cover = mix(cover, SNOW, 0.85)
    canvas.gradient(horizon, canvas.height, canvas.far(cover, 0.8), shade(cover, 0.88))
    depth = canvas.height - horizon
    for _ in range(14):
        y = horizon + depth * canvas.between(0.02, 1.0) ** 1.4
        width = canvas.width * canvas.between(0.05, 0.3)
        x = canvas.between(-0.1, 1.0) * canvas.width
        tone = shade(cover, canvas.between(0.86, 1.1))
        canvas.ellipse(
            x, y, width, 1 + depth * 0.03 * (y - horizon) / depth, canvas.far(tone, 1 - (y - horizon) / depth)
        )
    return cover


def draw_fields(canvas: Canvas, traits: Traits, weather: Weather, horizon: float) -> None:
    """Strips of crops that run to the horizon."""
    crops = (mix(traits.grass, (214, 190, 88), 0.75), traits.grass, shade(traits.soil, 0.8), shade(traits.grass, 0.75))
    far_x = canvas.between(0.2, 0.8) * canvas.width
    left = -canvas.width * 1.2
    near_y = horizon + (canvas.height - horizon) * canvas.between(0.45, 0.9)
    strips = 4 + round(10 * traits.farming)
    step = canvas.width * 3.4 / strips
    for number in range(strips):
        colour = crops[number % len(crops)]
        if weather.snow:
            colour = mix(colour, SNOW, 0.8)
        x = left + number * step
        spread = 0.32
        canvas.polygon(
            [(far_x + (x - far_x) * spread, horizon + 1), (far_x + (x + step - far_x) * spread, horizon + 1),
             (x + step, near_y), (x, near_y)], canvas.far(colour, 0.35),
        )  # fmt: skip


def draw_water(canvas: Canvas, traits: Traits, top: float, bottom: float) -> None:
    """Water between two rows, with ripples that widen towards the camera."""
    canvas.gradient(top, bottom, mix(traits.water, traits.sky_low, 0.45), shade(traits.water, 0.82))
    for _ in range(22):
        share = canvas.between(0.0, 1.0)
        y = top + (bottom - top) * share**1.3
        half = canvas.width * (0.015 + 0.06 * share)
        x = canvas.between(0.0, 1.0) * canvas.width
        canvas.line([(x - half, y), (x + half, y)], mix(traits.water, WHITE, canvas.between(0.15, 0.45)), 1 + share)


def draw_road(
    canvas: Canvas, traits: Traits, weather: Weather, horizon: float, middle: float, near_middle: float
) -> None:
    """A road from the lower edge (about `near_middle`) to the horizon (at `middle`), with the country's markings."""
    height = canvas.height - horizon
    near, far = canvas.width * 0.34, canvas.width * 0.012
    tone = mix(traits.road, SNOW, 0.35) if weather.snow else traits.road

    def at(across: float, along: float) -> tuple[float, float]:
        # `along` is 0 at the camera and 1 at the horizon; `across` runs from -1 (left edge) to 1.
        centre = near_middle + (middle - near_middle) * along
        half = near + (far - near) * along
        return centre + across * half, canvas.height - height * along

    def stripe(across: float, start: float, stop: float, colour: Colour) -> None:
        half = 0.022
        canvas.polygon(
            [at(across - half, start), at(across + half, start), at(across + half, stop), at(across - half, stop)],
            canvas.far(colour, stop),
        )

    verge = mix(traits.soil, traits.road, 0.4)
    canvas.polygon([at(-1.18, 0), at(1.18, 0), at(1.18, 1), at(-1.18, 1)], verge)
    canvas.polygon([at(-1, 0), at(1, 0), at(1, 1), at(-1, 1)], tone)
    if traits.marking == "none":
        return
    colour = YELLOW if traits.marking.startswith("yellow") else WHITE
    stripe(-0.92, 0, 0.97, WHITE)
    stripe(0.92, 0, 0.97, WHITE)
    if traits.marking == "yellow double":
        stripe(-0.04, 0, 0.97, colour)
        stripe(0.04, 0, 0.97, colour)
    elif traits.marking == "white solid":
        stripe(0, 0, 0.97, colour)
    else:
        for start in (0.02, 0.22, 0.40, 0.55, 0.67, 0.77, 0.85, 0.91):
            stripe(0, start, start + 0.09 * (1 - start) + 0.01, colour)

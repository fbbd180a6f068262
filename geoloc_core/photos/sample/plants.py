"""Trees and shrubs, each of a kind that grows where the climate lets it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from geoloc_core.photos.sample.canvas import Canvas
from geoloc_core.photos.sample.land import SNOW
from geoloc_core.photos.sample.palette import Colour, mix, shade
from geoloc_core.photos.sample.traits import Traits
from geoloc_core.photos.sample.weather import Weather

BARK: Colour = (88, 66, 50)
TURNING = ("broadleaf", "birch")


def draw_plant(
    canvas: Canvas, traits: Traits, weather: Weather, x: float, base: float, height: float, depth: float
) -> None:
    """One plant of the place's kinds, `height` pixels tall, standing at (x, base)."""
    kind = traits.plants[int(canvas.rng.choice(len(traits.plants), p=_FREQUENCY[: len(traits.plants)]))]
    leaf = shade(traits.foliage, canvas.between(0.88, 1.12))
    if kind in TURNING:
        leaf = mix(leaf, weather.leaf_tint, weather.leaf_turn)
    if weather.snow:
        leaf = mix(leaf, SNOW, 0.45)
    _DRAW[kind](canvas, x, base, height, canvas.far(leaf, depth), canvas.far(BARK, depth))


def draw_grove(canvas: Canvas, traits: Traits, weather: Weather, horizon: float, count: int) -> None:
    """Plants scattered over the land, the far ones first."""
    places = np.sort(canvas.rng.random(count) ** 1.2)
    room = canvas.height - horizon
    for along in places.tolist():
        base = horizon + room * (0.02 + 0.62 * along)
        height = canvas.height * (0.05 + 0.36 * along) * canvas.between(0.75, 1.25)
        draw_plant(canvas, traits, weather, canvas.between(-0.02, 1.02) * canvas.width, base, height, 0.8 * (1 - along))


def _conifer(canvas: Canvas, x: float, base: float, height: float, leaf: Colour, bark: Colour) -> None:
    canvas.rectangle(x - height * 0.03, base - height * 0.2, x + height * 0.03, base, bark)
    for tier, (low, high, half) in enumerate(((0.12, 0.52, 0.22), (0.36, 0.76, 0.17), (0.6, 1.0, 0.11))):
        canvas.polygon(
            [
                (x - half * height, base - low * height),
                (x + half * height, base - low * height),
                (x, base - high * height),
            ],
            shade(leaf, 0.8 + 0.1 * tier),
        )


def _broadleaf(canvas: Canvas, x: float, base: float, height: float, leaf: Colour, bark: Colour) -> None:
    canvas.rectangle(x - height * 0.035, base - height * 0.45, x + height * 0.035, base, bark)
    for dx, dy, size, tone in (
        (-0.14, 0.55, 0.2, 0.85),
        (0.15, 0.58, 0.2, 0.9),
        (0.0, 0.75, 0.24, 1.0),
        (-0.05, 0.62, 0.15, 1.1),
    ):
        canvas.ellipse(x + dx * height, base - dy * height, size * height, size * height * 0.9, shade(leaf, tone))


def _birch(canvas: Canvas, x: float, base: float, height: float, leaf: Colour, bark: Colour) -> None:
    trunk = mix(bark, (240, 240, 232), 0.85)
    canvas.rectangle(x - height * 0.02, base - height * 0.7, x + height * 0.02, base, trunk)
    for dy, size in ((0.5, 0.13), (0.66, 0.15), (0.84, 0.12)):
        canvas.ellipse(
            x + canvas.between(-0.04, 0.04) * height,
            base - dy * height,
            size * height,
            height * 0.14,
            shade(leaf, 1.12),
        )


def _cypress(canvas: Canvas, x: float, base: float, height: float, leaf: Colour, bark: Colour) -> None:
    canvas.rectangle(x - height * 0.02, base - height * 0.1, x + height * 0.02, base, bark)
    canvas.ellipse(x, base - height * 0.52, height * 0.09, height * 0.47, shade(leaf, 0.78))
    canvas.ellipse(x - height * 0.02, base - height * 0.55, height * 0.04, height * 0.38, shade(leaf, 0.95))


def _palm(canvas: Canvas, x: float, base: float, height: float, leaf: Colour, bark: Colour) -> None:
    lean = canvas.between(-0.14, 0.14) * height
    top = (x + lean, base - height * 0.78)
    canvas.line(
        [(x, base), (x + lean * 0.35, base - height * 0.4), top], mix(bark, (170, 140, 100), 0.5), height * 0.045
    )
    for angle in np.linspace(-2.75, -0.4, 7).tolist():
        tip = (top[0] + 0.34 * height * np.cos(angle), top[1] + 0.26 * height * np.sin(angle) + 0.14 * height)
        middle = (top[0] + 0.2 * height * np.cos(angle), top[1] + 0.26 * height * np.sin(angle))
        canvas.line([top, middle, tip], shade(leaf, canvas.between(0.9, 1.2)), height * 0.045)


def _acacia(canvas: Canvas, x: float, base: float, height: float, leaf: Colour, bark: Colour) -> None:
    canvas.line([(x, base), (x, base - height * 0.35), (x - height * 0.2, base - height * 0.66)], bark, height * 0.04)
    canvas.line([(x, base - height * 0.35), (x + height * 0.22, base - height * 0.66)], bark, height * 0.035)
    canvas.ellipse(x, base - height * 0.7, height * 0.48, height * 0.1, shade(leaf, 0.9))
    canvas.ellipse(x + height * 0.06, base - height * 0.76, height * 0.32, height * 0.08, leaf)


def _cactus(canvas: Canvas, x: float, base: float, height: float, leaf: Colour, bark: Colour) -> None:
    tall = height * 0.7
    half = tall * 0.07
    canvas.rectangle(x - half, base - tall, x + half, base, leaf)
    canvas.ellipse(x, base - tall, half, half, leaf)
    for side, low, up in ((-1, 0.4, 0.35), (1, 0.52, 0.28)):
        elbow = x + side * tall * 0.22
        canvas.line(
            [(x, base - low * tall), (elbow, base - low * tall), (elbow, base - (low + up) * tall)],
            shade(leaf, 0.92),
            half * 1.5,
        )


def _eucalyptus(canvas: Canvas, x: float, base: float, height: float, leaf: Colour, bark: Colour) -> None:
    pale = mix(leaf, (176, 190, 168), 0.4)
    trunk = mix(bark, (226, 214, 198), 0.75)
    canvas.line(
        [(x, base), (x + height * 0.03, base - height * 0.5), (x - height * 0.1, base - height * 0.8)],
        trunk,
        height * 0.05,
    )
    canvas.line(
        [(x + height * 0.03, base - height * 0.5), (x + height * 0.15, base - height * 0.75)], trunk, height * 0.035
    )
    for dx, dy in ((-0.14, 0.82), (0.16, 0.76), (0.02, 0.92), (-0.24, 0.7)):
        canvas.ellipse(
            x + dx * height, base - dy * height, height * 0.14, height * 0.07, shade(pale, canvas.between(0.85, 1.1))
        )


def _bush(canvas: Canvas, x: float, base: float, height: float, leaf: Colour, bark: Colour) -> None:
    size = height * 0.32
    for dx, tone in ((-0.6, 0.85), (0.55, 0.92), (0.0, 1.05)):
        canvas.ellipse(x + dx * size, base - size * 0.6, size * 0.75, size * 0.62, shade(leaf, tone))


def _bamboo(canvas: Canvas, x: float, base: float, height: float, leaf: Colour, bark: Colour) -> None:
    stem = mix(leaf, (190, 186, 90), 0.55)
    for offset in (-0.12, -0.04, 0.05, 0.13):
        top = (x + offset * 1.8 * height, base - height * canvas.between(0.75, 1.0))
        canvas.line([(x + offset * height, base), top], stem, height * 0.03)
        canvas.ellipse(
            top[0], top[1] + height * 0.08, height * 0.1, height * 0.13, shade(leaf, canvas.between(0.95, 1.25))
        )


_FREQUENCY = np.array([0.62, 0.26, 0.12])
_DRAW: dict[str, Callable[[Canvas, float, float, float, Colour, Colour], None]] = {
    "conifer": _conifer, "birch": _birch, "broadleaf": _broadleaf, "cypress": _cypress, "palm": _palm, "acacia": _acacia,
    "cactus": _cactus, "eucalyptus": _eucalyptus, "bush": _bush, "bamboo": _bamboo,
}  # fmt: skip

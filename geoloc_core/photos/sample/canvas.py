"""The sheet that a scene is drawn on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image, ImageDraw

from geoloc_core.photos.sample.palette import Colour, mix

Point = tuple[float, float]


class Canvas:
    """A picture in the making: PIL's drawing, the size, chance, and haze that grows with distance.

    Depth runs from 0 (at the camera) to 1 (at the horizon); the colour of what is far mixes with the haze.
    """

    def __init__(self, width: int, height: int, rng: np.random.Generator, haze: Colour, murk: float) -> None:
        """Start an empty picture; `murk` (0..1) is how much of the haze there is at the horizon."""
        self.image = Image.new("RGB", (width, height), haze)
        self.draw = ImageDraw.Draw(self.image)
        self.width = width
        self.height = height
        self.rng = rng
        self.haze = haze
        self.murk = murk

    def far(self, colour: Colour, depth: float) -> Colour:
        """`colour` seen from `depth` away."""
        return mix(colour, self.haze, self.murk * depth)

    def chance(self, probability: float) -> bool:
        """Whether something happens that happens this often."""
        return bool(self.rng.random() < probability)

    def between(self, low: float, high: float) -> float:
        """A number between two."""
        return low + (high - low) * float(self.rng.random())

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        """A filled polygon."""
        self.draw.polygon(points, fill=colour)

    def rectangle(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """A filled rectangle; drawn even when it is thinner than a pixel."""
        self.draw.rectangle((left, top, max(left, right), max(top, bottom)), fill=colour)

    def ellipse(self, x: float, y: float, half_width: float, half_height: float, colour: Colour) -> None:
        """A filled ellipse about a centre."""
        self.draw.ellipse((x - half_width, y - half_height, x + half_width, y + half_height), fill=colour)

    def line(self, points: Iterable[Point], colour: Colour, thickness: float) -> None:
        """A line through points."""
        self.draw.line(list(points), fill=colour, width=max(1, round(thickness)), joint="curve")

    def gradient(self, top: float, bottom: float, upper: Colour, lower: Colour) -> None:
        """Fill the rows from `top` to `bottom` with a vertical run of colours."""
        rows = round(bottom) - round(top)
        if rows <= 0:
            return
        share = np.linspace(0.0, 1.0, rows)[:, None]
        column = np.array(upper) * (1 - share) + np.array(lower) * share
        strip = Image.fromarray(column.astype(np.uint8)[:, None, :])
        self.image.paste(strip.resize((self.width, rows), Image.Resampling.NEAREST), (0, round(top)))

    def ridge(self, base: float, height: float, roughness: float) -> list[Point]:
        """A skyline from the left edge to the right, `height` above `base` at most; rougher is more jagged."""
        x = np.linspace(0.0, 1.0, 33)
        shape = np.zeros_like(x)
        for octave in range(5):
            weight = (0.35 + 0.4 * roughness) ** octave
            shape += weight * np.sin(2 * np.pi * (x * (0.7 + 1.3 * octave) + self.rng.random()))
        shape -= shape.min()
        shape /= max(1e-6, float(shape.max()))
        return list(zip((x * self.width).tolist(), (base - height * (0.15 + 0.85 * shape)).tolist(), strict=True))

"""What a place looks like, and a picture of it: the pixels are all that shows where a photo was taken.

A look is a vector of standard normal scores. Part of it belongs to the country, part to the sub-division, the rest to the
single photo; latitude adds the climate. The camera is the author's.
"""

from __future__ import annotations

import colorsys
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from geoloc_sample.world import Place, stream

Colour = tuple[int, int, int]
Points = list[tuple[float, float]]

# Shares of the variance of a score: of the cells from coarse to fine, and of the photo.
CELL_SHARES, PHOTO_SHARE = (0.67, 0.28), 0.05
# Hue in degrees, saturation and value; how far one unit of their scores moves them.
COLOURS = {
    "sky": ((208, 0.44, 0.80), (12, 0.16, 0.06)), "haze": ((194, 0.16, 0.94), (14, 0.09, 0.02)),
    "grass": ((94, 0.44, 0.60), (24, 0.15, 0.13)), "leaf": ((108, 0.46, 0.44), (30, 0.16, 0.12)),
    "soil": ((30, 0.42, 0.64), (14, 0.13, 0.12)), "water": ((196, 0.50, 0.58), (17, 0.12, 0.09)),
    "road": ((225, 0.10, 0.48), (90, 0.05, 0.11)), "accent": ((180, 0.55, 0.55), (80, 0.10, 0.10)),
    "wall": ((36, 0.30, 0.80), (60, 0.18, 0.14)), "roof": ((10, 0.40, 0.54), (70, 0.16, 0.12)),
}  # fmt: skip
AMOUNTS = ("density", "storeys", "relief", "coarseness", "paint", "warm", "dry")
# Shapes in units of their size, the right half from the foot up. Of roofs, on walls one unit wide:
ROOFS: dict[str, Points] = {
    "gable": [(0.56, 0), (0, 0.5)], "hip": [(0.56, 0), (0.28, 0.3)], "flat": [(0.52, 0), (0.52, 0.08)],
    "curved": [(0.7, 0.1), (0.3, 0.2), (0.2, 0.34)], "dome": [(0.46, 0), (0.42, 0.2), (0.26, 0.36), (0, 0.42)],
    "stepped": [(0.5, 0), (0.5, 0.14), (0.36, 0.14), (0.36, 0.28), (0.2, 0.28), (0.2, 0.42)],
}  # fmt: skip
# Of plants, with the warmth and the dryness (0..1) that suit them best:
PLANTS: dict[str, tuple[tuple[float, float], Points]] = {
    "conifer": ((0.3, 0.15), [(0.24, 0.1), (0.12, 0.4), (0.18, 0.4), (0.07, 0.7), (0.12, 0.7), (0, 1)]),
    "broadleaf": ((0.5, 0.2), [(0.12, 0.34), (0.3, 0.45), (0.34, 0.66), (0.22, 0.87), (0, 0.97)]),
    "cypress": ((0.65, 0.45), [(0.06, 0.05), (0.1, 0.5), (0, 1)]),
    "palm": ((0.95, 0.3), [(0.03, 0.7), (0.36, 0.6), (0.2, 0.84), (0.42, 0.9), (0.1, 0.92), (0, 1)]),
    "acacia": ((0.9, 0.6), [(0.02, 0.3), (0.3, 0.64), (0.48, 0.68), (0.28, 0.8), (0, 0.84)]),
    "cactus": ((0.8, 0.95), [(0.06, 0), (0.06, 0.3), (0.2, 0.36), (0.2, 0.62), (0.14, 0.62), (0.06, 0.4), (0.05, 0.8)]),
}
SIZES = [3 * len(COLOURS), len(AMOUNTS), len(ROOFS), len(PLANTS)]
WHITE, SNOW, NIGHT, GREY, YELLOW = (250, 250, 248), (238, 242, 248), (50, 60, 84), (196, 200, 206), (232, 186, 52)


class Traits(NamedTuple):
    """How a place looks: colours (RGB), amounts (0..1), a roof and a plant."""

    colour: dict[str, Colour]
    amount: dict[str, float]
    roof: str
    plant: str


def draw_traits(seed: int, place: Place, rng: np.random.Generator) -> Traits:
    """How `place` looks in one photo; `seed` decides the looks of the whole world, `rng` adds the photo's own part."""
    scores = np.sqrt(PHOTO_SHARE) * rng.normal(size=sum(SIZES))
    for depth, share in enumerate(CELL_SHARES, start=1):
        scores += np.sqrt(share) * stream(seed, "look", *place.cells[:depth]).normal(size=len(scores))
    return traits_of(np.clip(scores, -2.2, 2.2), place.latitude)


def traits_of(scores: np.ndarray, latitude: float) -> Traits:
    """Traits from scores (sum(SIZES),): it is warm at the equator and dry at 25 degrees, and grass yellows where it is dry."""
    hues, levels, roofs, plants = np.split(scores, np.cumsum(SIZES)[:-1])
    amount = dict(zip(AMOUNTS, (1 / (1 + np.exp(-1.4 * levels))).tolist(), strict=True))
    amount["warm"] = warm = max(0.0, 0.92 - (abs(latitude) / 72) ** 1.4 + 0.2 * amount["warm"])
    amount["dry"] = dry = 0.35 * float(np.exp(-(((abs(latitude) - 25) / 10) ** 2))) + 0.55 * amount["dry"]
    colour = {}
    for (name, (base, spread)), score in zip(COLOURS.items(), hues.reshape(-1, 3), strict=True):
        hue, *levels = (np.array(base) + np.array(spread) * score).tolist()
        hue -= 40 * dry * (name in ("grass", "leaf"))
        red, green, blue = colorsys.hsv_to_rgb(hue / 360 % 1, *(min(1, max(0, level)) for level in levels))
        colour[name] = (int(255 * red), int(255 * green), int(255 * blue))
    suits = [-(((warm - w) / 0.14) ** 2) - ((dry - d) / 0.22) ** 2 for (w, d), _ in PLANTS.values()]
    return Traits(colour, amount, list(ROOFS)[int(np.argmax(roofs))], list(PLANTS)[int(np.argmax(plants + suits))])


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """`first` with `share` (0..1) of `second` in it."""
    (r, g, b), (red, green, blue) = first, second
    return int(r + (red - r) * share), int(g + (green - g) * share), int(b + (blue - b) * share)


class Scene:
    """A picture being drawn, layer by layer; every method but the first three adds one layer."""

    def __init__(self, traits: Traits, size: tuple[int, int], rng: np.random.Generator) -> None:
        """Draw the weather of an empty picture of `size` (width, height) pixels."""
        self.traits, self.rng, (self.width, self.height) = traits, rng, size
        self.horizon = round(self.height * rng.uniform(0.40, 0.54))
        self.clouds = float(rng.beta(0.8, 2.0 + 1.6 * traits.amount["dry"]))
        self.snow = bool(rng.random() < 0.16 and rng.random() < 1.9 * (0.62 - traits.amount["warm"]))
        self.haze = mix(traits.colour["haze"], GREY, 0.4 * self.clouds)
        self.image = Image.new("RGB", size, self.haze)
        self.pen = ImageDraw.Draw(self.image)

    def colour(self, name: str, depth: float = 0.0, cover: float = 0.0) -> Colour:
        """A colour of the place, each time a little other, `depth` (0..1) away in haze; snow lies on the share `cover`."""
        tone = mix(self.traits.colour[name], NIGHT, 0.16 * self.rng.random())
        return mix(mix(tone, SNOW, cover * self.snow), self.haze, 0.5 * depth)

    def band(self, top: int, bottom: int, upper: Colour, lower: Colour) -> None:
        """Fill the rows from `top` to `bottom` with a run of colours."""
        column = Image.fromarray(np.linspace(upper, lower, bottom - top).astype(np.uint8)[:, None])
        self.image.paste(column.resize((self.width, bottom - top), Image.Resampling.NEAREST), (0, top))

    def shape(self, half: Points, x: float, foot: float, size: float, colour: Colour, shade: float = 0.16) -> None:
        """A shape from its right half, which lies in the shade."""
        right = [(x + size * a, foot - size * b) for a, b in half]
        self.pen.polygon([*right, *((2 * x - a, b) for a, b in reversed(right))], fill=colour)
        self.pen.polygon([(x, right[0][1]), *right, (x, right[-1][1])], fill=mix(colour, NIGHT, shade))

    def sky(self) -> None:
        self.band(0, self.horizon + 2, mix(self.traits.colour["sky"], GREY, 0.85 * self.clouds), self.haze)
        for x, y, size in self.rng.random((round(14 * self.clouds), 3)).tolist():
            x, y, size = x * self.width, (0.05 + 0.65 * y) * self.horizon, (0.04 + 0.08 * size) * self.width
            self.pen.ellipse((x - size, y - 0.3 * size, x + size, y + 0.3 * size), fill=mix(WHITE, GREY, self.clouds))

    def hills(self) -> None:
        relief, x = self.traits.amount["relief"], np.linspace(0, 1, 25)
        for depth in (0.9, 0.5)[: round(2.4 * relief)]:
            waves = sum(0.6**n * np.sin(2 * np.pi * (x * (0.7 + 1.3 * n) + self.rng.random())) for n in range(4))
            tops = self.horizon - self.height * 0.3 * relief * depth * (0.55 + 0.2 * np.asarray(waves))
            ridge = zip((x * self.width).tolist(), tops.tolist(), strict=True)
            colour = mix(self.colour("leaf", depth, 0.6), self.colour("soil", depth), self.traits.amount["dry"])
            self.pen.polygon([*ridge, (self.width, self.horizon + 2), (0, self.horizon + 2)], fill=colour)

    def ground(self) -> None:
        amount, rows = self.traits.amount, self.height - self.horizon
        bare = min(1.0, max(0.0, 1.5 * (amount["dry"] - 0.2)))
        cover = mix(self.colour("grass", 0, 0.85), self.colour("soil", 0, 0.85), bare)
        self.band(self.horizon, self.height, mix(cover, self.haze, 0.4), cover)
        patch = 3 + 22 * amount["coarseness"]
        spots = self.rng.integers(0, 110, (2 + round(2 * rows / patch), 2 + round(self.width / patch))).astype(np.uint8)
        mask = Image.fromarray(spots).resize((self.width, rows), Image.Resampling.BILINEAR)
        self.image.paste(mix(cover, NIGHT, 0.35), (0, self.horizon), mask)

    def house(self, x: float, foot: float, size: float, depth: float) -> None:
        storeys = 1 + int(self.rng.uniform(0.3, 1.0) * (1 + 3 * self.traits.amount["storeys"]))
        wall, accent, top = self.colour("wall", depth), self.colour("accent", depth), 0.42 * storeys
        self.shape([(0.5, 0), (0.5, top)], x, foot, size, wall)
        self.shape(ROOFS[self.traits.roof], x, foot - top * size + 1, size, self.colour("roof", depth, 0.8))
        for left, floor in ((left, floor) for left in (-0.36, -0.08, 0.2) for floor in range(storeys)):
            window = (x + left * size, foot - (0.42 * floor + 0.32) * size)
            self.pen.rectangle((window, (window[0] + 0.16 * size, window[1] + 0.18 * size)), fill=NIGHT, outline=accent)

    def plant(self, x: float, foot: float, size: float, depth: float) -> None:
        self.shape([(0.025, 0), (0.02, 0.7)], x, foot, size, mix((92, 72, 56), self.haze, 0.5 * depth))
        self.shape(PLANTS[self.traits.plant][1], x, foot, size, self.colour("leaf", depth, 0.45))

    def houses(self) -> None:
        for depth, size in ((0.8, 0.08), (0.4, 0.15), (0.0, 0.28))[: self.rng.integers(1, 4)]:
            for x in np.arange(self.rng.uniform(-size, size), 1, size * (1.5 - 0.45 * self.traits.amount["density"])):
                draw = self.house if self.rng.random() < 0.4 + 0.5 * self.traits.amount["density"] else self.plant
                draw(x * self.width, self.horizon + 0.2 * (1 - depth) * self.height, size * self.width, depth)

    def plants(self) -> None:
        for near in np.sort(self.rng.random(round(12 - 7 * self.traits.amount["dry"]))).tolist():
            foot, size = self.horizon + (self.height - self.horizon) * near, self.height * (0.06 + 0.4 * near)
            self.plant(self.rng.uniform(0, self.width), foot, size, 0.8 * (1 - near))

    def road(self) -> None:
        x, size = self.width * self.rng.uniform(0.35, 0.65), self.height - self.horizon
        self.shape([(0.55, 0), (0.02, 1)], x, self.height, size, self.colour("soil", 0.2), 0)
        self.shape([(0.45, 0), (0.01, 1)], x, self.height, size, self.colour("road", 0.1, 0.35), 0)
        paint = self.traits.amount["paint"]  # White, yellow, or none.
        for t in (0.02, 0.22, 0.4, 0.55, 0.7, 0.8) if paint < 0.8 else ():
            dash = [(0.02 - 0.02 * t, t), (0.018 - 0.018 * t, t + 0.1 - 0.1 * t)]
            self.shape(dash, x, self.height, size, WHITE if paint < 0.5 else YELLOW, 0)

    def water(self) -> None:
        colour, shore = self.colour("water"), self.horizon + round(0.05 * self.height)
        self.band(shore, self.height, mix(colour, self.haze, 0.45), mix(colour, NIGHT, 0.25))
        for x, near in self.rng.random((18, 2)).tolist():
            x, y, half = x * self.width, shore + (self.height - shore) * near, (0.015 + 0.06 * near) * self.width
            self.pen.line((x - half, y, x + half, y), fill=mix(colour, WHITE, 0.3))


LAND = (Scene.sky, Scene.hills, Scene.ground)
# What is drawn, in this order, and how frequent it is on land; the last two are at sea.
KINDS = (
    ((*LAND, Scene.houses, Scene.road), 0.38), ((*LAND, Scene.houses, Scene.plants), 0.24),
    ((*LAND, Scene.plants, Scene.road), 0.15), ((*LAND, Scene.plants), 0.11), ((*LAND, Scene.houses, Scene.water), 0.12),
    ((Scene.sky, Scene.hills, Scene.houses, Scene.water), 0.0), ((Scene.sky, Scene.water), 0.0),
)  # fmt: skip


def draw_photo(seed: int, place: Place, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """A picture of `size` (width, height) pixels of a place."""
    kind = int(rng.choice(len(KINDS), p=[frequency for _, frequency in KINDS]))
    layers = KINDS[{"land": kind, "coast": -2, "ocean": -1}[place.setting]][0]
    # Drawn twice as large and averaged down, which smooths edges.
    scene = Scene(draw_traits(seed, place, rng), (2 * size[0], 2 * size[1]), rng)
    for layer in layers:
        layer(scene)
    # The tint and the noise are the author's camera's, the exposure is the photo's; one picture in twenty is of dusk.
    camera = stream("camera", place.author_id)
    light = (0.6 if rng.random() < 0.05 else 1.0) * (1 + 0.03 * camera.normal(size=3) + 0.05 * rng.normal())
    pixels = np.asarray(scene.image.reduce(2), dtype=np.float32) * np.float32(light * (1 - 0.12 * scene.clouds))
    pixels += np.float32(camera.uniform(1.0, 3.5)) * rng.standard_normal((*pixels.shape[:2], 1), dtype=np.float32)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))

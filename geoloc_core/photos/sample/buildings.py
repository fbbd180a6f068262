"""Houses and landmarks in a country's manner."""

from __future__ import annotations

from geoloc_core.photos.sample.canvas import Canvas
from geoloc_core.photos.sample.land import SNOW
from geoloc_core.photos.sample.palette import WHITE, Colour, mix, shade
from geoloc_core.photos.sample.traits import Traits
from geoloc_core.photos.sample.weather import Weather

SECOND_WALL_SHARE = 0.3


def draw_house(
    canvas: Canvas, traits: Traits, weather: Weather, left: float, base: float, width: float, storeys: int, depth: float
) -> None:
    """A house with its lower left corner at (left, base); a storey is 0.42 of the width high."""
    wall = traits.walls[1] if canvas.chance(SECOND_WALL_SHARE) else traits.walls[0]
    wall = canvas.far(shade(wall, canvas.between(0.93, 1.06)), depth)
    roof = canvas.far(mix(traits.roof, SNOW, 0.8) if weather.snow else traits.roof, depth)
    storey = width * 0.42
    top = base - storey * storeys
    right = left + width
    canvas.rectangle(left, top, right, base, wall)
    canvas.rectangle(right - width * 0.22, top, right, base, shade(wall, 0.88))
    _draw_roof(canvas, traits.roof_form, left, right, top, storey, wall, roof)
    _draw_openings(canvas, traits, weather, left, right, base, storeys, wall, depth)


def _draw_roof(
    canvas: Canvas, form: str, left: float, right: float, top: float, storey: float, wall: Colour, roof: Colour
) -> None:
    width = right - left
    middle = (left + right) / 2
    eaves = width * 0.06
    if form == "gable":
        canvas.polygon([(left - eaves, top + 1), (right + eaves, top + 1), (middle, top - storey * 0.95)], roof)
        canvas.polygon(
            [(left + width * 0.2, top + 1), (right - width * 0.2, top + 1), (middle, top - storey * 0.5)],
            shade(wall, 0.95),
        )
    elif form == "hip":
        canvas.polygon(
            [
                (left - eaves, top + 1),
                (right + eaves, top + 1),
                (right - width * 0.22, top - storey * 0.62),
                (left + width * 0.22, top - storey * 0.62),
            ],
            roof,
        )
    elif form == "flat":
        canvas.rectangle(left - eaves * 0.5, top - storey * 0.14, right + eaves * 0.5, top, shade(wall, 1.1))
        canvas.rectangle(left, top, right, top + storey * 0.05, shade(wall, 0.7))
    elif form == "stepped":
        for step in range(4):
            inset = width * 0.12 * step
            canvas.rectangle(
                left + inset, top - storey * 0.24 * (step + 1), right - inset, top - storey * 0.24 * step, wall
            )
            canvas.rectangle(
                left + inset,
                top - storey * 0.24 * (step + 1) - 1,
                right - inset,
                top - storey * 0.24 * (step + 1) + 1,
                roof,
            )
    elif form == "curved":
        flare = width * 0.2
        canvas.polygon(
            [
                (left - flare, top - storey * 0.16),
                (left - eaves, top + storey * 0.08),
                (right + eaves, top + storey * 0.08),
                (right + flare, top - storey * 0.16),
                (right - width * 0.16, top - storey * 0.38),
                (right - width * 0.3, top - storey * 0.72),
                (left + width * 0.3, top - storey * 0.72),
                (left + width * 0.16, top - storey * 0.38),
            ],
            roof,
        )
    elif form == "dome":
        canvas.rectangle(left - eaves * 0.4, top - storey * 0.1, right + eaves * 0.4, top, shade(wall, 0.9))
        canvas.draw.pieslice(
            (left + width * 0.2, top - storey * 0.75, right - width * 0.2, top + storey * 0.55), 180, 360, fill=roof
        )
    elif form == "mansard":
        canvas.polygon(
            [
                (left - eaves * 0.5, top + 1),
                (right + eaves * 0.5, top + 1),
                (right - width * 0.1, top - storey * 0.6),
                (left + width * 0.1, top - storey * 0.6),
            ],
            roof,
        )
        canvas.polygon(
            [
                (left + width * 0.1, top - storey * 0.6),
                (right - width * 0.1, top - storey * 0.6),
                (right - width * 0.28, top - storey * 0.78),
                (left + width * 0.28, top - storey * 0.78),
            ],
            shade(roof, 1.15),
        )
    else:
        canvas.polygon(
            [
                (left - eaves * 2.5, top + storey * 0.25),
                (right + eaves * 2.5, top + storey * 0.25),
                (middle + width * 0.08, top - storey * 1.05),
                (middle - width * 0.08, top - storey * 1.05),
            ],
            mix(roof, (196, 164, 96), 0.6),
        )


def _draw_openings(
    canvas: Canvas,
    traits: Traits,
    weather: Weather,
    left: float,
    right: float,
    base: float,
    storeys: int,
    wall: Colour,
    depth: float,
) -> None:
    width = right - left
    if width < 9:
        return
    storey = width * 0.42
    lit = weather.hour == "dusk"
    glass = canvas.far((64, 78, 96), depth)
    shutter = canvas.far(traits.accent, depth)
    columns = 3 if width > 26 else 2
    half = width * 0.3 / columns / 1.6
    for floor in range(storeys):
        y = base - storey * (floor + 0.58)
        for column in range(columns):
            x = left + width * (column + 0.75) / (columns + 0.5)
            if floor == 0 and column == columns // 2:
                canvas.rectangle(x - half, base - storey * 0.66, x + half, base, shutter)
                continue
            pane = (250, 214, 130) if lit and canvas.chance(0.6) else glass
            canvas.rectangle(
                x - half - 1, y - storey * 0.2 - 1, x + half + 1, y + storey * 0.2 + 1, mix(wall, WHITE, 0.45)
            )
            canvas.rectangle(x - half, y - storey * 0.2, x + half, y + storey * 0.2, pane)
            if width > 30:
                canvas.rectangle(x - half * 1.7, y - storey * 0.2, x - half, y + storey * 0.2, shutter)
                canvas.rectangle(x + half, y - storey * 0.2, x + half * 1.7, y + storey * 0.2, shutter)


def draw_landmark(canvas: Canvas, traits: Traits, x: float, base: float, height: float, depth: float) -> None:
    """What stands out above the roofs: a tower in the country's manner, `height` pixels tall."""
    wall = canvas.far(traits.walls[0], depth)
    roof = canvas.far(traits.roof, depth)
    half = height * 0.09
    kind = traits.landmark
    if kind in ("spire", "bell tower", "onion"):
        canvas.rectangle(x - half, base - height * 0.62, x + half, base, wall)
        canvas.rectangle(x + half * 0.3, base - height * 0.62, x + half, base, shade(wall, 0.85))
        canvas.ellipse(x, base - height * 0.5, half * 0.4, half * 0.5, (60, 64, 74))
        if kind == "spire":
            canvas.polygon(
                [(x - half * 1.15, base - height * 0.62), (x + half * 1.15, base - height * 0.62), (x, base - height)],
                roof,
            )
        elif kind == "bell tower":
            canvas.polygon(
                [
                    (x - half * 1.3, base - height * 0.62),
                    (x + half * 1.3, base - height * 0.62),
                    (x, base - height * 0.76),
                ],
                roof,
            )
        else:
            canvas.ellipse(x, base - height * 0.72, half * 1.3, half * 1.3, roof)
            canvas.polygon(
                [(x - half * 0.8, base - height * 0.8), (x + half * 0.8, base - height * 0.8), (x, base - height)], roof
            )
    elif kind == "minaret":
        canvas.rectangle(x - half * 0.5, base - height * 0.86, x + half * 0.5, base, shade(wall, 1.08))
        canvas.rectangle(x - half * 0.85, base - height * 0.7, x + half * 0.85, base - height * 0.66, wall)
        canvas.polygon(
            [(x - half * 0.6, base - height * 0.86), (x + half * 0.6, base - height * 0.86), (x, base - height)], roof
        )
        canvas.draw.pieslice((x + half, base - height * 0.5, x + half * 5, base - height * 0.1), 180, 360, fill=roof)
        canvas.rectangle(x + half, base - height * 0.3, x + half * 5, base, wall)
    elif kind == "pagoda":
        for tier in range(4):
            y = base - height * 0.23 * tier
            size = half * (2.0 - 0.35 * tier)
            canvas.rectangle(x - size * 0.7, y - height * 0.2, x + size * 0.7, y, wall)
            canvas.polygon(
                [
                    (x - size * 1.5, y - height * 0.17),
                    (x + size * 1.5, y - height * 0.17),
                    (x + size * 0.6, y - height * 0.25),
                    (x - size * 0.6, y - height * 0.25),
                ],
                roof,
            )
    elif kind == "stupa":
        gold = canvas.far((220, 178, 70), depth)
        canvas.rectangle(x - half * 2.6, base - height * 0.15, x + half * 2.6, base, wall)
        canvas.draw.pieslice(
            (x - half * 2.2, base - height * 0.55, x + half * 2.2, base + height * 0.25), 180, 360, fill=gold
        )
        canvas.polygon(
            [(x - half * 0.7, base - height * 0.5), (x + half * 0.7, base - height * 0.5), (x, base - height)], gold
        )
    elif kind == "water tower":
        steel = canvas.far((188, 194, 200), depth)
        canvas.line([(x - half, base), (x - half * 0.6, base - height * 0.7)], shade(steel, 0.7), height * 0.03)
        canvas.line([(x + half, base), (x + half * 0.6, base - height * 0.7)], shade(steel, 0.7), height * 0.03)
        canvas.ellipse(x, base - height * 0.8, half * 1.6, half * 1.3, steel)
    else:
        glass = canvas.far(mix(traits.accent, (120, 150, 180), 0.7), depth)
        for offset, share in ((-2.2, 0.7), (0.0, 1.0), (2.2, 0.82)):
            canvas.rectangle(
                x + (offset - 1) * half,
                base - height * share,
                x + (offset + 1) * half,
                base,
                shade(glass, 0.9 + 0.05 * offset),
            )
            for floor in range(1, 9):
                y = base - height * share * floor / 9
                canvas.line([(x + (offset - 1) * half, y), (x + (offset + 1) * half, y)], shade(glass, 0.75), 1)

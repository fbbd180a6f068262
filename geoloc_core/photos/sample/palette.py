"""Colours and what is done with them."""

from __future__ import annotations

import colorsys

Colour = tuple[int, int, int]

WHITE: Colour = (250, 250, 248)
BLACK: Colour = (22, 22, 26)


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """The colour of a hue in degrees (any turn) and a saturation and value that are cut to 0..1."""
    red, green, blue = colorsys.hsv_to_rgb((hue / 360.0) % 1.0, _unit(saturation), _unit(value))
    return round(red * 255), round(green * 255), round(blue * 255)


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """`first` with `share` (0..1) of `second` in it."""
    return (
        round(first[0] + (second[0] - first[0]) * share),
        round(first[1] + (second[1] - first[1]) * share),
        round(first[2] + (second[2] - first[2]) * share),
    )


def shade(colour: Colour, factor: float) -> Colour:
    """`colour` made darker (`factor` below 1) or lighter (above 1)."""
    return (
        min(255, round(colour[0] * factor)),
        min(255, round(colour[1] * factor)),
        min(255, round(colour[2] * factor)),
    )


def _unit(value: float) -> float:
    return min(1.0, max(0.0, value))

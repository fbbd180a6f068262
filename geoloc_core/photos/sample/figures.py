"""People, cars, boats, poles and signs."""

from __future__ import annotations

from geoloc_core.photos.sample.canvas import Canvas
from geoloc_core.photos.sample.palette import BLACK, WHITE, Colour, hsv, shade
from geoloc_core.photos.sample.traits import Traits

SIGN_COLOURS: dict[str, Colour] = {
    "green": (20, 122, 72), "blue": (28, 84, 168), "white": (240, 240, 236), "yellow": (236, 192, 44), "brown": (122, 78, 46),
}  # fmt: skip


def draw_person(canvas: Canvas, x: float, base: float, height: float) -> None:
    """Somebody standing at (x, base)."""
    coat = hsv(canvas.between(0, 360), canvas.between(0.2, 0.7), canvas.between(0.25, 0.8))
    canvas.rectangle(
        x - height * 0.09, base - height * 0.45, x + height * 0.09, base, shade(BLACK, canvas.between(1.0, 3.0))
    )
    canvas.ellipse(x, base - height * 0.58, height * 0.14, height * 0.26, coat)
    canvas.ellipse(x, base - height * 0.9, height * 0.1, height * 0.11, hsv(24, 0.45, canvas.between(0.4, 0.9)))


def draw_car(canvas: Canvas, traits: Traits, x: float, base: float, width: float) -> None:
    """A car seen from the side, of the colours that are common in the country."""
    paint: Colour
    if traits.cars == "white" and canvas.chance(0.7):
        paint = WHITE
    elif traits.cars == "yellow" and canvas.chance(0.5):
        paint = (240, 190, 40)
    elif traits.cars == "dark" and canvas.chance(0.7):
        paint = (52, 54, 62)
    else:
        paint = hsv(canvas.between(0, 360), canvas.between(0.2, 0.8), canvas.between(0.4, 0.85))
    canvas.polygon(
        [
            (x - width * 0.28, base - width * 0.24),
            (x - width * 0.18, base - width * 0.4),
            (x + width * 0.2, base - width * 0.4),
            (x + width * 0.34, base - width * 0.24),
        ],
        shade(paint, 0.6),
    )
    canvas.rectangle(x - width * 0.5, base - width * 0.26, x + width * 0.5, base - width * 0.08, paint)
    for wheel in (-0.28, 0.28):
        canvas.ellipse(x + wheel * width, base - width * 0.07, width * 0.09, width * 0.09, BLACK)


def draw_boat(canvas: Canvas, x: float, water: float, width: float) -> None:
    """A small boat, sometimes with a sail."""
    hull = hsv(canvas.between(0, 360), canvas.between(0.1, 0.7), canvas.between(0.5, 0.95))
    canvas.polygon(
        [
            (x - width / 2, water - width * 0.14),
            (x + width / 2, water - width * 0.14),
            (x + width * 0.32, water),
            (x - width * 0.36, water),
        ],
        hull,
    )
    if canvas.chance(0.6):
        canvas.polygon(
            [(x, water - width * 0.16), (x, water - width * 1.1), (x + width * 0.45, water - width * 0.22)], WHITE
        )


def draw_poles(canvas: Canvas, horizon: float, side: float) -> None:
    """A row of poles with a wire along the road; `side` is -1 (left) or 1."""
    tops = []
    for along in (0.05, 0.4, 0.62, 0.77, 0.87):
        scale = 1 - along
        x = canvas.width * (0.5 + side * 0.52 * scale)
        base = canvas.height - (canvas.height - horizon) * (0.08 + 0.92 * along)
        top = base - canvas.height * 0.55 * scale
        canvas.line([(x, base), (x, top)], (84, 76, 68), 5 * scale)
        canvas.line([(x - 12 * scale, top + 8 * scale), (x + 12 * scale, top + 8 * scale)], (84, 76, 68), 3 * scale)
        tops.append((x, top + 8 * scale))
    canvas.line(tops, (70, 70, 74), 1)


def draw_sign(canvas: Canvas, traits: Traits, x: float, base: float, size: float) -> None:
    """A direction sign in the country's colour."""
    board = SIGN_COLOURS[traits.sign]
    canvas.rectangle(x - size * 0.05, base - size * 1.5, x + size * 0.05, base, (120, 122, 126))
    canvas.rectangle(x - size * 0.75, base - size * 1.7, x + size * 0.75, base - size * 0.95, board)
    text = BLACK if traits.sign in ("white", "yellow") else WHITE
    for row, length in ((1.5, 0.5), (1.25, 0.35)):
        canvas.rectangle(
            x - size * 0.6, base - size * row, x - size * 0.6 + size * 2 * length, base - size * (row - 0.1), text
        )

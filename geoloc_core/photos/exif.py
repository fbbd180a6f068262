"""Where a photo was taken, from its EXIF block.

The GPS block (Exif 2.32, section 4.6.6) holds a latitude and a longitude, each as degrees, minutes and seconds
(three rationals) and a reference letter. Cameras and editors break the rules in known ways; what is done about each:

- Minutes and seconds may be left out, or be 0/0, which means "not given": they count as zero. Degrees of 0/0, which a
  receiver without a fix writes, are no coordinates. Any other zero denominator is damage (`bad_gps`).
- A missing reference letter is made good only by a negative (signed) value, or by a value of zero. A positive value
  without its letter could be either hemisphere: `no_hemisphere`, never a guess.
- A negative value with S or W says the same thing twice and is taken once; with N or E it contradicts itself.
- Minutes or seconds above 60 are damage. Altitude, heading, speed and the receiver's status are not read.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from PIL import ExifTags, Image

from geoloc_core.photos.images import FORMATS, ImageLimits, RefusedImage, read_image_bytes

_LATITUDE = (1, 2, "N", "S", 90.0)  # tag of the reference, tag of the value, positive letter, negative letter, range
_LONGITUDE = (3, 4, "E", "W", 180.0)


class GpsFix(NamedTuple):
    """A position in degrees, WGS84."""

    latitude: float
    longitude: float


def read_gps(source: Path | bytes, limits: ImageLimits | None = None) -> GpsFix | str:
    """The position that a picture's EXIF block tells, or the reason code why it tells none.

    Only the header is read, not the pixels: a truncated picture still knows where it was taken. A file that cannot be
    opened gives one of `reasons.IMAGE_REASONS`, a position that cannot be used one of `reasons.ROW_REASONS`.
    """
    limits = limits or ImageLimits()
    try:
        content = read_image_bytes(source, limits)
    except RefusedImage as refusal:
        return refusal.reason
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > limits.max_pixels:
                return "too_many_pixels"
            # The base class's method: PNG's own would decode the whole picture in search of a late EXIF chunk.
            block = Image.Image.getexif(image).get_ifd(ExifTags.IFD.GPSInfo)
    except Image.DecompressionBombError:
        return "too_many_pixels"
    except Image.UnidentifiedImageError:
        return "not_an_image"
    except Exception:  # noqa: BLE001 - on hostile bytes a parser may raise anything
        return "undecodable_image"
    return interpret_gps(block)


def interpret_gps(block: Mapping[int, Any]) -> GpsFix | str:
    """The position in a GPS block (tag number to value, as Pillow gives it), or the reason why there is none."""
    latitude = _coordinate(block, *_LATITUDE)
    if isinstance(latitude, str):
        return latitude
    longitude = _coordinate(block, *_LONGITUDE)
    if isinstance(longitude, str):
        return longitude
    if latitude == 0.0 and longitude == 0.0:
        return "null_island"
    return GpsFix(latitude, longitude)


def _coordinate(
    block: Mapping[int, Any], ref_tag: int, value_tag: int, positive: str, negative: str, limit: float
) -> float | str:
    if value_tag not in block:
        return "no_coordinates"
    degrees = _degrees(block[value_tag])
    if isinstance(degrees, str):
        return degrees
    letter = _letter(block.get(ref_tag))
    if letter == positive:
        if degrees < 0:
            return "bad_gps"
    elif letter == negative:
        degrees = -abs(degrees)
    elif degrees > 0:
        return "no_hemisphere"
    if abs(degrees) > limit:
        return "out_of_range"
    return degrees + 0.0  # -0.0 becomes 0.0


def _degrees(value: Any) -> float | str:
    """Signed degrees of (degrees, minutes, seconds) or fewer parts, or a reason code."""
    parts = list(value) if isinstance(value, tuple | list) else [value]
    if not 1 <= len(parts) <= 3:
        return "bad_gps"
    numbers = []
    for position, part in enumerate(parts):
        number = _number(part)
        if number is None:
            return "bad_gps"
        if math.isnan(number):
            if position == 0:
                return "no_coordinates"
            number = 0.0
        numbers.append(number)
    if not all(math.isfinite(number) for number in numbers):
        return "bad_gps"
    whole, fractions = numbers[0], numbers[1:]
    if any(abs(number) > 60.0 for number in fractions):
        return "bad_gps"
    if whole < 0 or math.copysign(1.0, whole) < 0 or any(number < 0 for number in fractions):
        # Signed values: the sign belongs to the whole, wherever it was written.
        return -(abs(whole) + sum(abs(number) / 60.0**power for power, number in enumerate(fractions, start=1)))
    return whole + sum(number / 60.0**power for power, number in enumerate(fractions, start=1))


def _number(part: Any) -> float | None:
    """A rational as a float: NaN for 0/0 ("not given"), None where it is no number or divides by zero."""
    if isinstance(part, bool | str | bytes):
        return None
    denominator = getattr(part, "denominator", 1)
    if denominator == 0:
        return math.nan if getattr(part, "numerator", 1) == 0 else None
    try:
        return float(part)
    except (TypeError, ValueError, ArithmeticError):
        return None


def _letter(value: Any) -> str:
    """The reference letter in capitals, "" where there is none."""
    if isinstance(value, bytes):
        value = value.decode("ascii", "ignore")
    return value.strip(" \t\r\n\0")[:1].upper() if isinstance(value, str) else ""

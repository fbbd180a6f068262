"""Where a photo was taken, from its EXIF block.

The GPS block (Exif 2.32, section 4.6.6) holds a latitude and a longitude, each as degrees, minutes and seconds
(three rationals) and a reference letter. Cameras and editors break the rules in known ways:

- Minutes and seconds may be left out, or be 0/0, "not given": they count as zero. Degrees of 0/0, which a receiver
  without a fix writes, are no coordinates. Any other zero denominator is damage (`bad_gps`).
- A missing letter is made good only by a negative value, or zero: a positive one could be either hemisphere
  (`no_hemisphere`).
- A negative value with S or W says the same thing twice and is taken once; with N or E it contradicts itself.
- Minutes or seconds above 60 are damage. Altitude, heading, speed and the receiver's status are not read.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from PIL import ExifTags, Image

from geoloc_core.photos.formats import RefusedImage, open_header
from geoloc_core.photos.images import ImageLimits, read_image_bytes

_LATITUDE = (1, 2, "N", "S", 90.0)  # tag of the reference, tag of the value, positive letter, negative letter, range
_LONGITUDE = (3, 4, "E", "W", 180.0)


class GpsFix(NamedTuple):
    """A position in degrees, WGS84."""

    latitude: float
    longitude: float


def read_gps(source: Path | bytes, limits: ImageLimits | None = None) -> GpsFix | str:
    """The position in a picture's EXIF block, or the code of `reasons` that says why there is none.

    Only the header is read, not the pixels: a truncated picture still says where it was taken.
    """
    limits = limits or ImageLimits()
    try:
        content = read_image_bytes(source, limits)
        with open_header(content, str(source) if isinstance(source, Path) else "the picture") as image:
            if image.width * image.height > limits.max_pixels:
                return "too_many_pixels"
            # The base class's method: PNG's own would decode the whole picture in search of a late EXIF chunk.
            block = Image.Image.getexif(image).get_ifd(ExifTags.IFD.GPSInfo)
    except RefusedImage as refusal:
        return refusal.reason
    except Image.DecompressionBombError:
        return "too_many_pixels"
    except Exception:  # noqa: BLE001 - on hostile bytes a parser may raise anything
        return "undecodable_image"
    return interpret_gps(block)


def interpret_gps(block: Mapping[int, Any]) -> GpsFix | str:
    """The position in a GPS block (tag number to value, as Pillow gives it), or the reason why there is none."""
    try:
        fix = GpsFix(_coordinate(block, *_LATITUDE), _coordinate(block, *_LONGITUDE))
    except _NoPosition as reason:
        return str(reason)
    return "null_island" if fix == (0.0, 0.0) else fix


class _NoPosition(Exception):
    """There is no usable position; the text is the reason code."""


def _coordinate(
    block: Mapping[int, Any], ref_tag: int, value_tag: int, positive: str, negative: str, limit: float
) -> float:
    if value_tag not in block:
        raise _NoPosition("no_coordinates")
    degrees = _degrees(block[value_tag])
    letter = block.get(ref_tag)
    if isinstance(letter, bytes):
        letter = letter.decode("ascii", "ignore")
    letter = letter.strip(" \t\r\n\0")[:1].upper() if isinstance(letter, str) else ""
    if letter == positive and degrees < 0:
        raise _NoPosition("bad_gps")
    if letter not in (positive, negative) and degrees > 0:
        raise _NoPosition("no_hemisphere")
    if abs(degrees) > limit:
        raise _NoPosition("out_of_range")
    return (-abs(degrees) if letter == negative else degrees) + 0.0  # -0.0 becomes 0.0


def _degrees(value: Any) -> float:
    """Signed degrees of (degrees, minutes, seconds) or fewer parts."""
    parts = value if isinstance(value, tuple | list) else [value]
    if not 1 <= len(parts) <= 3:
        raise _NoPosition("bad_gps")
    if math.isnan(_number(parts[0])):
        raise _NoPosition("no_coordinates")
    numbers = [0.0 if math.isnan(number) else number for number in map(_number, parts)]
    if math.isinf(numbers[0]) or any(abs(number) > 60.0 for number in numbers[1:]):
        raise _NoPosition("bad_gps")
    # The sign belongs to the whole, wherever it was written.
    negative = any(math.copysign(1.0, number) < 0 and (n == 0 or number) for n, number in enumerate(numbers))
    return (-1.0 if negative else 1.0) * sum(abs(number) / 60.0**power for power, number in enumerate(numbers))


def _number(part: Any) -> float:
    """A rational as a float: NaN for 0/0 ("not given")."""
    denominator = getattr(part, "denominator", 1)
    if denominator == 0 and getattr(part, "numerator", 1) == 0:
        return math.nan
    if denominator == 0 or isinstance(part, bool | str | bytes):
        raise _NoPosition("bad_gps")
    try:
        return float(part)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise _NoPosition("bad_gps") from error

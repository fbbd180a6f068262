"""GPS from EXIF: the real photos, and each way in which a GPS block can be incomplete or wrong."""

import pytest
from PIL import TiffImagePlugin

from geoloc_core.photos.exif import interpret_gps, read_gps
from geoloc_core.photos.images import ImageLimits
from tests.core.photos.conftest import jpeg

Rational = TiffImagePlugin.IFDRational


def gps_block(lat_ref="N", lat=(52, 30, 36), lon_ref="E", lon=(13, 15, 18)):
    block = {1: lat_ref, 2: lat, 3: lon_ref, 4: lon}
    return {tag: value for tag, value in block.items() if value is not None}


@pytest.mark.parametrize(
    ("lat_ref", "lon_ref", "expected"),
    [
        ("N", "E", (52.51, 13.255)),
        ("S", "E", (-52.51, 13.255)),
        ("N", "W", (52.51, -13.255)),
        ("S", "W", (-52.51, -13.255)),
        ("n\0", b"W\0", (52.51, -13.255)),
        ("North", " east", (52.51, 13.255)),
    ],
)
def test_hemispheres(lat_ref, lon_ref, expected):
    assert interpret_gps(gps_block(lat_ref=lat_ref, lon_ref=lon_ref)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (gps_block(lat=(Rational(52, 1), Rational(0, 0), Rational(0, 0))), (52.0, 13.255)),
        (gps_block(lat=(Rational(0, 0), Rational(0, 0), Rational(0, 0))), "no_coordinates"),
        (gps_block(lat=(Rational(52, 1), Rational(30, 0), Rational(0, 1))), "bad_gps"),
        (gps_block(lat=(Rational(7, 0), Rational(0, 1), Rational(0, 1))), "bad_gps"),
        (gps_block(lat=52.51), (52.51, 13.255)),
        (gps_block(lat=(52.51,)), (52.51, 13.255)),
        (gps_block(lat=(52, 30.6)), (52.51, 13.255)),
        (gps_block(lat="52 30 36"), "bad_gps"),
        (gps_block(lat=(52, 61, 0)), "bad_gps"),
        (gps_block(lat=(52, 30, 60.5)), "bad_gps"),
        (gps_block(lat=(1, 2, 3, 4)), "bad_gps"),
        (gps_block(lat=()), "bad_gps"),
        (gps_block(lat=(float("inf"), 0, 0)), "bad_gps"),
        (gps_block(lat=None), "no_coordinates"),
        (gps_block(lon=None), "no_coordinates"),
        (gps_block(lat_ref=None), "no_hemisphere"),
        (gps_block(lon_ref=None), "no_hemisphere"),
        (gps_block(lon_ref=""), "no_hemisphere"),
        (gps_block(lat_ref="E"), "no_hemisphere"),
        (gps_block(lat_ref=None, lat=(-52, 30, 36)), (-52.51, 13.255)),
        (gps_block(lat_ref=None, lat=(-52, -30, -36)), (-52.51, 13.255)),
        (gps_block(lat_ref="S", lat=(-52, 30, 36)), (-52.51, 13.255)),
        (gps_block(lat_ref="N", lat=(-52, 30, 36)), "bad_gps"),
        (gps_block(lat_ref=None, lat=(0, 0, 0)), (0.0, 13.255)),
        (gps_block(lat=(0, 0, 0), lon=(0, 0, 0)), "null_island"),
        (gps_block(lat=(90, 0, 1)), "out_of_range"),
        (gps_block(lon=(180, 0, 1)), "out_of_range"),
        (gps_block(lat=(90, 0, 0), lon=(180, 0, 0)), (90.0, 180.0)),
        ({}, "no_coordinates"),
    ],
)
def test_blocks(block, expected):
    found = interpret_gps(block)
    if isinstance(expected, str):
        assert found == expected
    else:
        assert found == pytest.approx(expected, abs=1e-9)


def test_what_cannot_be_opened_gives_the_reason():
    assert read_gps(b"") == "empty_file"
    assert read_gps(b"hello, this is no picture") == "not_an_image"
    assert read_gps(jpeg(52.0, size=(64, 64)), ImageLimits(max_pixels=64 * 64 - 1)) == "too_many_pixels"
    assert read_gps(jpeg(52.0), ImageLimits(max_bytes=100)) == "too_many_bytes"
    assert read_gps(jpeg()) == "no_coordinates"


def test_a_truncated_picture_still_knows_where_it_was_taken():
    content = jpeg((52.0, 30.0, 36.0), lon=13.255, size=(600, 400))
    assert read_gps(content[: len(content) // 2]) == pytest.approx((52.51, 13.255), abs=1e-7)

"""How pictures from outside are opened, converted, refused and described."""

import hashlib
import io
import os

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from geoloc_core.errors import InputError
from geoloc_core.photos.images import ImageLimits, RefusedImage, build_manifest, load_image, resolve_inside
from geoloc_core.photos.reasons import IMAGE_REASONS
from tests.core.photos.conftest import png_of


def encoded(image, kind="PNG", **save):
    file = io.BytesIO()
    image.save(file, kind, **save)
    return file.getvalue()


def quadrants():
    """4 x 2 pixels, all of them different, so that every turn shows."""
    return Image.fromarray((np.arange(24, dtype=np.uint8) * 10).reshape(2, 4, 3))


def refusal(content, limits=None):
    with pytest.raises(InputError) as caught:
        load_image(content, limits)
    assert isinstance(caught.value, RefusedImage)
    assert caught.value.reason in IMAGE_REASONS
    return caught.value.reason


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(kind, orientation):
    turn = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90,
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(quadrants(), kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    assert np.array_equal(np.asarray(load_image(content)), turn(np.asarray(quadrants())))


def test_a_damaged_exif_block_means_upright():
    image = load_image(encoded(quadrants(), "PNG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"))
    assert np.array_equal(np.asarray(image), np.asarray(quadrants()))


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("RGBA", (2, 2), (255, 0, 0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (2, 2), (255, 0, 0, 255)), (255, 0, 0)),
        (Image.new("RGBA", (2, 2), (0, 0, 0, 51)), (204, 204, 204)),
        (Image.new("LA", (2, 2), (0, 51)), (204, 204, 204)),
        (Image.new("L", (2, 2), 77), (77, 77, 77)),
        (Image.new("1", (2, 2), 1), (255, 255, 255)),
        (Image.new("P", (2, 2), 0), (0, 0, 0)),
        (Image.fromarray(np.full((2, 2), 257 * 100, dtype=np.uint16)), (100, 100, 100)),
        (Image.fromarray(np.full((2, 2), 65535, dtype=np.uint16)), (255, 255, 255)),
        (Image.fromarray(np.full((2, 2), 257 * 100 + 129, dtype=np.uint16)), (101, 101, 101)),
    ],
)
def test_other_pixels_become_rgb(image, expected):
    loaded = load_image(encoded(image))
    assert loaded.mode == "RGB"
    assert loaded.getpixel((0, 0)) == expected


def test_cmyk_and_a_transparent_palette():
    assert load_image(encoded(Image.new("CMYK", (2, 2), (0, 255, 255, 0)), "TIFF")).getpixel((0, 0)) == (255, 0, 0)
    palette = Image.new("P", (2, 2), 1)
    palette.putpalette([9, 9, 9, 8, 8, 8])
    assert load_image(encoded(palette, transparency=1)).getpixel((0, 0)) == (255, 255, 255)
    assert load_image(encoded(palette, transparency=0)).getpixel((0, 0)) == (8, 8, 8)


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pixels_that_are_no_photo_are_refused(mode):
    assert refusal(encoded(Image.new(mode, (2, 2)), "TIFF")) == "unsupported_pixels"


def test_the_first_frame_of_an_animation():
    frames = [Image.new("RGB", (4, 4), colour) for colour in [(255, 0, 0), (0, 255, 0)]]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert load_image(content).getpixel((0, 0)) == (255, 0, 0)


def test_declared_pixels_are_bounded_before_decoding():
    assert refusal(png_of(60_000, 60_000)) == "too_many_pixels"
    assert refusal(png_of(11_000, 9_000)) == "too_many_pixels"
    good = encoded(Image.new("RGB", (30, 20)))
    assert refusal(good, ImageLimits(max_pixels=599)) == "too_many_pixels"
    assert load_image(good, ImageLimits(max_pixels=600)).size == (30, 20)


def test_bytes_are_bounded(tmp_path):
    content = encoded(quadrants())
    assert refusal(content, ImageLimits(max_bytes=len(content) - 1)) == "too_many_bytes"
    assert load_image(content, ImageLimits(max_bytes=len(content))).size == (4, 2)
    path = tmp_path / "endless.jpg"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # a terabyte of zeros that takes no room
    assert refusal(path, ImageLimits(max_bytes=1000)) == "too_many_bytes"


def test_truncated_pictures_are_refused():
    noise = np.random.default_rng(0).integers(0, 255, (80, 60, 3), dtype=np.uint8)
    for kind in ("JPEG", "PNG"):
        content = encoded(Image.fromarray(noise), kind)
        assert refusal(content[: len(content) // 2]) == "truncated_image"
    assert refusal(encoded(Image.fromarray(noise), "WEBP")[:200]) in ("truncated_image", "undecodable_image")


def test_what_is_no_picture(tmp_path):
    assert refusal(b"") == "empty_file"
    assert refusal(b"<html>not found</html>") == "not_an_image"
    assert refusal(encoded(quadrants(), "PPM")) == refusal(encoded(quadrants(), "EPS")) == "not_an_image"
    assert refusal(tmp_path / "nothing.jpg") == "missing_file"
    assert refusal(tmp_path) == "missing_file"
    os.mkfifo(tmp_path / "pipe.jpg")
    assert refusal(tmp_path / "pipe.jpg") == "missing_file"


def test_paths_stay_inside_the_image_root(tmp_path):
    root = tmp_path / "images"
    root.mkdir()
    (tmp_path / "secret.jpg").write_bytes(encoded(quadrants(), "JPEG"))
    (root / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    for path in ("../secret.jpg", str(tmp_path / "secret.jpg"), "a/../../secret.jpg", "..\\secret.jpg", "link.jpg"):
        with pytest.raises(RefusedImage) as caught:
            resolve_inside(root, path)
        assert caught.value.reason == "unsafe_path"
    assert resolve_inside(root, "aa/bb/1.jpg") == root / "aa" / "bb" / "1.jpg"


def test_manifest_says_what_is_known_of_each_photo(tmp_path):
    rng = np.random.default_rng(1)
    picture = Image.fromarray(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "aa").mkdir()
    content = encoded(picture, "JPEG", exif=exif)
    (tmp_path / "aa" / "1.jpg").write_bytes(content)
    (tmp_path / "half.jpg").write_bytes(content[: len(content) // 2])
    (tmp_path / "words.jpg").write_bytes(b"words")
    paths = ["aa/1.jpg", "half.jpg", "words.jpg", "gone.jpg", "../up.jpg", ""]
    photos = pd.DataFrame({"photo_id": list("abcdef"), "image_path": paths})
    manifest = build_manifest(photos, tmp_path, workers=2)
    assert manifest["photo_id"].tolist() == list("abcdef")
    expected = ["ok", "truncated_image", "not_an_image", "missing_file", "unsafe_path", "no_image"]
    assert manifest["status"].tolist() == expected
    first = manifest.iloc[0]
    assert (first["width"], first["height"], first["bytes"]) == (30, 40, len(content))  # upright
    assert first["sha256"] == hashlib.sha256(content).hexdigest()
    assert len(first["phash"]) == 16
    assert manifest.iloc[1]["bytes"] == len(content) // 2
    assert "truncated" in manifest.iloc[1]["detail"].lower()
    assert build_manifest(photos.iloc[:0], tmp_path).empty


def test_a_jpeg_can_be_decoded_at_a_smaller_size_that_is_still_large_enough() -> None:
    file = io.BytesIO()
    Image.new("RGB", (1600, 1200), (200, 30, 60)).save(file, "JPEG", quality=95)
    assert load_image(file.getvalue()).size == (1600, 1200)
    assert load_image(file.getvalue(), smallest_side=300).size == (400, 300)
    assert load_image(file.getvalue(), smallest_side=301).size == (800, 600)
    assert load_image(file.getvalue(), smallest_side=2000).size == (1600, 1200)
    with pytest.raises(RefusedImage, match="more than the limit"):
        load_image(file.getvalue(), ImageLimits(max_pixels=1_000_000), smallest_side=300)


def test_scans_of_a_progressive_jpeg_are_bounded(tmp_path):
    """A scan of some bytes that is repeated costs as much as the whole picture each time."""
    file = io.BytesIO()
    Image.new("RGB", (2000, 2000)).save(file, "JPEG", progressive=True)
    whole = file.getvalue()
    assert load_image(whole).size == (2000, 2000)
    bomb = whole[:-2] + whole[whole.rfind(b"\xff\xda") : -2] * 500 + whole[-2:]
    with pytest.raises(RefusedImage, match=r"4000000 pixels in 5\d\d scans") as caught:
        load_image(bomb)
    assert caught.value.reason == "too_many_pixels"

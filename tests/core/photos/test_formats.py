"""Phones' formats are photos; a camera's RAW and HEIC without its extra are refused with what to do."""

import io
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import ExifTags, Image

from geoloc_core.photos.exif import GpsFix, read_gps
from geoloc_core.photos.file_names import is_image
from geoloc_core.photos.images import RefusedImage, build_manifest, load_image
from geoloc_core.photos.reasons import IMAGE_REASONS
from geoloc_core.photos.settings import ImageLimits
from geoloc_core.photos.sources.base import collect
from geoloc_core.photos.sources.photo_folder import PHOTO_FOLDER


def quadrants() -> Image.Image:
    """64 x 48: red, green above blue, white, flat enough that lossy formats keep the colours."""
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:24, :32], pixels[:24, 32:] = (250, 0, 0), (0, 250, 0)
    pixels[24:, :32], pixels[24:, 32:] = (0, 0, 250), (250, 250, 250)
    return Image.fromarray(pixels)


def encoded(form: str, **settings: object) -> bytes:
    pytest.importorskip("pillow_heif").register_heif_opener()
    file = io.BytesIO()
    quadrants().save(file, form, quality=95, **settings)
    return file.getvalue()


@pytest.mark.parametrize("form", ["HEIF", "AVIF", "WEBP"])
def test_what_phones_write_is_a_picture_upright_and_with_its_place(form: str):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation], exif[ExifTags.Base.Make] = 6, "a phone"
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({1: "S", 2: (33.0, 30.0, 0.0), 3: "E", 4: (151.0, 15.0, 0.0)})
    content = encoded(form, exif=exif.tobytes())
    image = load_image(content)
    assert (image.size, image.mode) == ((48, 64), "RGB")
    # Turned by 90 degrees clockwise: what was below on the left is above on the left.
    assert np.abs(np.asarray(image)[8, 8].astype(int) - (0, 0, 250)).max() < 12
    assert np.abs(np.asarray(image)[8, 40].astype(int) - (250, 0, 0)).max() < 12
    place = read_gps(content)
    assert isinstance(place, GpsFix)
    assert (place.latitude, place.longitude) == (-33.5, 151.25)
    with pytest.raises(RefusedImage) as refused:
        load_image(content, ImageLimits(max_pixels=1000))
    assert refused.value.reason == "too_many_pixels"
    with pytest.raises(RefusedImage) as refused:
        load_image(content[: len(content) * 2 // 3])
    assert refused.value.reason in ("truncated_image", "undecodable_image")


def test_heic_without_the_extra_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    content = encoded("HEIF")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(
        RefusedImage, match=r"needs an extra: pip install 'geoloc\[heic\]', or export it as JPEG"
    ) as refused:
        load_image(content)
    assert refused.value.reason == "heic_without_extra"
    assert read_gps(content) == "heic_without_extra"
    assert load_image(encoded_without_heif()).size == (64, 48)


def encoded_without_heif() -> bytes:
    file = io.BytesIO()
    quadrants().save(file, "AVIF")
    return file.getvalue()


def tiff(**tags: object) -> bytes:
    file = io.BytesIO()
    quadrants().save(file, "TIFF", tiffinfo={int(tag.removeprefix("t")): value for tag, value in tags.items()})
    return file.getvalue()


RAW = {
    "canon.cr2": b"II*\0\x10\0\0\0CR\2\0" + bytes(100),
    "canon.cr3": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(100),
    "fuji.raf": b"FUJIFILMCCD-RAW 0201" + bytes(100),
    "olympus.orf": b"IIRO\x08\0\0\0" + bytes(100),
    "adobe.dng": tiff(t50706=b"\1\4\0\0"),
    "nikon.nef": tiff(t254=1, t330=8),
    "pentax.pef": tiff(),
    "unknown.arw": b"no known beginning" * 4,
}


@pytest.mark.parametrize("name", RAW)
def test_a_camera_s_raw_is_refused_with_what_to_do(name: str, tmp_path: Path):
    path = tmp_path / name
    path.write_bytes(RAW[name])
    assert is_image(name)
    with pytest.raises(
        RefusedImage, match=rf"{name} is a camera's RAW file.*; export it as JPEG, HEIC or TIFF"
    ) as refused:
        load_image(path)
    assert refused.value.reason == "raw_photo"
    assert read_gps(path) == "raw_photo"
    assert "export it as JPEG" in IMAGE_REASONS["raw_photo"]


def test_a_plain_tiff_is_a_picture_and_a_jpeg_is_one_whatever_it_is_called(tmp_path: Path):
    assert load_image(tiff()).size == (64, 48)
    path = tmp_path / "really a.dng"
    quadrants().save(path, "JPEG")
    assert load_image(path).size == (64, 48)


def test_a_folder_of_photos_says_of_raw_what_it_is(tmp_path: Path):
    for name in ("pentax.pef", "adobe.dng"):
        (tmp_path / name).write_bytes(RAW[name])
    batch = collect(PHOTO_FOLDER.read(tmp_path, "mine", 10))
    assert list(batch.rejected["reason"]) == ["raw_photo", "raw_photo"]
    rows = pd.DataFrame({"photo_id": ["a"], "image_path": ["pentax.pef"]})
    assert list(build_manifest(rows, tmp_path)["status"]) == ["raw_photo"]

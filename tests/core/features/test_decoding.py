"""JPEGs by torchvision against Pillow: the same vectors, the same verdicts on what is damaged, the same way up."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from geoloc_core.errors import CheckpointError
from geoloc_core.features import decoding
from geoloc_core.features.backbones import backbone
from geoloc_core.features.encoder import load_encoder
from geoloc_core.features.preprocessing import to_pixels
from geoloc_core.photos.images import ImageLimits, RefusedImage, load_image
from tests.core.features.conftest import cosine, drawn
from tests.core.features.families import SMALL

LIMITS = ImageLimits()
EXACT = backbone("efficientnet-lite0")


def jpeg(image: Image.Image, **settings: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **settings)
    return file.getvalue()


@pytest.mark.parametrize("spec", [EXACT, SMALL["vit"], SMALL["clip"]], ids=lambda spec: spec.name)
def test_vectors_of_real_photos_are_those_of_pillow_s_pixels(spec, shared_data: Path, checkpoints: Path):
    """The 22 street photos: pixels differ by a level where one library rounds up and the other down."""
    encoder = load_encoder(spec, checkpoints)
    paths = sorted((shared_data / "photos" / "osv5m_mapillary_22").rglob("*.jpg"))
    pixels = [to_pixels(decoding.decode(path.read_bytes(), spec, LIMITS), spec) for path in paths]
    by_pillow = np.stack([to_pixels(load_image(path), spec) for path in paths])
    assert 0 < np.abs(np.stack(pixels).astype(int) - by_pillow).max() <= 2
    new, old = (encoder.encode(encoder.normalize(torch.from_numpy(np.stack(rows)))) for rows in (pixels, by_pillow))
    assert len(paths) == 22
    assert cosine(new, old) >= 0.99999


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_comes_upright_and_in_three_channels(orientation: int, mode: str):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = jpeg(drawn(96, 64).convert(mode), exif=exif, quality=95)
    pixels = decoding.decode(content, EXACT, LIMITS)
    assert isinstance(pixels, np.ndarray)
    np.testing.assert_allclose(pixels, np.asarray(load_image(content)), atol=2)
    assert pixels.shape == ((64, 96, 3) if orientation < 5 else (96, 64, 3))


@pytest.mark.parametrize(
    ("content", "taken"),
    [
        (jpeg(drawn(96, 64), progressive=True), True),
        (jpeg(drawn(96, 64), exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"), True),
        (jpeg(drawn(96, 64).convert("CMYK")), False),
    ],
    ids=["progressive", "damaged exif", "CMYK"],
)
def test_what_torchvision_is_not_asked_pillow_reads(content: bytes, taken: bool):
    pixels = decoding.decode(content, EXACT, LIMITS)
    assert isinstance(pixels, np.ndarray) == taken
    np.testing.assert_allclose(np.asarray(pixels), np.asarray(load_image(content)), atol=2)


def verdict(load: Callable[[], object]) -> str:
    try:
        load()
    except RefusedImage as refusal:
        return refusal.reason
    return "ok"


def test_damage_is_judged_as_before():
    """Cut anywhere, a bit flipped anywhere: refused for the same reason, or read, by either decoder."""
    rng = np.random.default_rng(4)
    verdicts: list[str] = []
    for number in range(4):
        whole = jpeg(drawn(200 + 31 * number, 150, number), quality=85, progressive=number % 2 == 1)
        cut = [whole[:length] for length in [len(whole) - 1, len(whole) - 2, *rng.integers(2, len(whole), 12)]]
        flipped = [bytearray(whole) for _ in range(25)]
        for content in flipped:
            content[rng.integers(2, len(whole))] ^= 1 << rng.integers(8)
        for content in [*cut, *map(bytes, flipped)]:
            expected = verdict(lambda content=content: load_image(content, LIMITS))
            assert verdict(lambda content=content: decoding.decode(content, EXACT, LIMITS)) == expected
            verdicts.append(expected)
    assert verdicts.count("truncated_image") >= 30
    assert verdicts.count("ok") >= 30


def test_pixels_are_bounded_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(decoding, "decode_jpeg", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(RefusedImage) as refused:
        decoding.decode(jpeg(drawn(96, 64)), EXACT, ImageLimits(max_pixels=96 * 64 - 1))
    assert refused.value.reason == "too_many_pixels"


def test_nvjpeg_needs_a_gpu(tmp_path: Path):
    spec = EXACT.changed(decode="nvjpeg")
    assert spec.vector_fingerprint() != EXACT.vector_fingerprint()
    with pytest.raises(CheckpointError, match="decode: nvjpeg needs an NVIDIA GPU; set decode: exact"):
        load_encoder(spec, tmp_path, "cpu")

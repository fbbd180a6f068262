"""Pictures to vectors: order kept, one decode for all, and a broken picture is a row with a reason."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from geoloc_core.features import decoding
from geoloc_core.features.backbones import backbone
from geoloc_core.features.decoding import decode
from geoloc_core.features.encoder import Encoder
from geoloc_core.features.extract import OK, ImageItem, choose_batch_size, embed_images
from geoloc_core.features.preprocessing import to_pixels
from geoloc_core.photos.images import ImageLimits
from tests.core.features.conftest import count_decodes

LIMITS = ImageLimits()


def items(paths: list[Path]) -> list[ImageItem]:
    return [ImageItem(path.stem, path) for path in paths]


def test_each_row_is_its_own_photo_s_vector(picture_files: list[Path], sample_encoders: dict[str, Encoder]):
    blocks = embed_images(items(picture_files), sample_encoders, batch_size=5)
    assert embed_images([], sample_encoders)["tiny-vit"].vectors.shape == (0, 192)
    for name, encoder in sample_encoders.items():
        block = blocks[name]
        assert block.photo_ids == [path.stem for path in picture_files]
        assert block.status == [OK] * 12
        assert block.vectors.dtype == np.float16
        for row, path in enumerate(picture_files):
            pixels = to_pixels(decode(path.read_bytes(), encoder.spec, LIMITS), encoder.spec)
            alone = encoder.encode(encoder.normalize(torch.from_numpy(pixels)[None]))[0].numpy()
            np.testing.assert_allclose(block.vectors[row].astype(float), alone, atol=4e-3, rtol=2e-3)


def test_a_broken_picture_is_a_row_with_a_reason_and_without_a_vector(picture_files, sample_encoders, tmp_path):
    truncated = tmp_path / "truncated.jpg"
    truncated.write_bytes(picture_files[3].read_bytes()[:900])
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    paths = [picture_files[0], truncated, tmp_path / "absent.jpg", picture_files[1], text]
    encoders = {"tiny-clip": sample_encoders["tiny-clip"]}
    block = embed_images(items(paths), encoders, LIMITS, batch_size=2)["tiny-clip"]
    assert block.status == [OK, "truncated_image", "missing_file", OK, "not_an_image"]
    assert block.ok.tolist() == [True, False, False, True, False]
    assert np.isnan(block.vectors[~block.ok]).all()
    assert np.isfinite(block.vectors[block.ok]).all()
    bomb = embed_images(items(picture_files[:1]), encoders, ImageLimits(max_pixels=100))["tiny-clip"]
    assert bomb.status == ["too_many_pixels"]


def test_a_vector_beyond_float16_is_a_row_with_a_reason(picture_files, sample_encoders, monkeypatch):
    encoder = sample_encoders["tiny-vit"]
    encode = encoder.encode
    monkeypatch.setattr(encoder, "encode", lambda batch: encode(batch) * 1e6)
    block = embed_images(items(picture_files[:2]), {"tiny-vit": encoder})["tiny-vit"]
    assert block.status == ["vector_not_finite"] * 2
    assert np.isnan(block.vectors).all()


@pytest.mark.parametrize(("ahead", "decoded_at_first"), [(3, 20), (0, 5)])
def test_memory_of_decoding_is_a_few_batches_however_many_pictures(ahead, decoded_at_first, picture_files, monkeypatch):
    """Whoever takes batches slowly makes the pool wait; with ahead = 0, as on a CPU, nothing is decoded meanwhile."""
    decoded = count_decodes(monkeypatch)
    many = [ImageItem(str(number), picture_files[number % 12]) for number in range(201)]
    batches = decoding.decoded_batches(many, {"tiny-vit": backbone("tiny-vit")}, LIMITS, 5, workers=2, ahead=ahead)
    first = next(batches)
    time.sleep(0.3)
    assert len(decoded) == decoded_at_first
    assert first.pixels["tiny-vit"].shape == (5, 64, 64, 3)
    rest = list(batches)
    assert [batch.start for batch in rest] == list(range(5, 201, 5))
    assert (len(rest[-1].reasons), rest[-1].pixels["tiny-vit"].shape) == (1, (5, 64, 64, 3))
    assert len(decoded) == 201


def test_a_batch_stays_within_the_cache(sample_encoders: dict[str, Encoder], monkeypatch: pytest.MonkeyPatch) -> None:
    """ViT-B/32 at 224 (49 patches and the class token, the wider layer of the MLP), B/16, L/14, L/14 at 336, a tiny one."""
    one, other = list(sample_encoders.values())[:2]
    assert one.widest_bytes > 4 * one.spec.dimension
    monkeypatch.setattr(other, "widest_bytes", 100)
    for numbers, batch in ((50 * 3072, 16), (197 * 3072, 4), (257 * 4096, 4), (577 * 4096, 2), (250, 32)):
        monkeypatch.setattr(one, "widest_bytes", 4 * numbers)
        assert choose_batch_size({"one": one, "other": other}) == batch

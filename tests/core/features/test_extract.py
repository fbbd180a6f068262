"""The engine: order kept, one decode for all, and a broken picture is a row with a reason."""

from pathlib import Path

import numpy as np
import pytest

from geoloc_core.features.encoder import Encoder
from geoloc_core.features.extract import OK, ImageItem, embed_images
from geoloc_core.photos import images
from geoloc_core.photos.images import ImageLimits

LIMITS = ImageLimits()


def items(paths: list[Path]) -> list[ImageItem]:
    return [ImageItem(path.stem, path) for path in paths]


@pytest.mark.parametrize("batch_size", [1, 5, 12, 64])
def test_each_row_is_its_own_photo_s_vector(
    batch_size: int, picture_files: list[Path], sample_encoders: dict[str, Encoder]
):
    blocks = embed_images(items(picture_files), sample_encoders, LIMITS, batch_size=batch_size)
    for name, encoder in sample_encoders.items():
        block = blocks[name]
        assert block.photo_ids == [path.stem for path in picture_files]
        assert block.status == [OK] * 12
        assert block.vectors.dtype == np.float16
        for row, path in enumerate(picture_files):
            alone = encoder.encode(encoder.preprocess(images.load_image(path, LIMITS))[None])[0].numpy()
            np.testing.assert_allclose(block.vectors[row].astype(float), alone, atol=4e-3, rtol=2e-3)


def test_all_encoders_share_one_decode(
    picture_files: list[Path], sample_encoders: dict[str, Encoder], monkeypatch: pytest.MonkeyPatch
):
    opened: list[Path] = []
    load = images.load_image

    def counting(source, limits=None):
        opened.append(source)
        return load(source, limits)

    monkeypatch.setattr(images, "load_image", counting)
    embed_images(items(picture_files), sample_encoders, LIMITS)
    assert sorted(opened) == sorted(picture_files)


def test_a_broken_picture_is_a_row_with_a_reason_and_without_a_vector(
    picture_files: list[Path], sample_encoders: dict[str, Encoder], tmp_path: Path
):
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


def test_no_photos_at_all(sample_encoders: dict[str, Encoder]):
    blocks = embed_images([], sample_encoders, LIMITS)
    assert blocks["tiny-vit"].vectors.shape == (0, 192)

"""The engine: order kept, one decode for all, and a broken picture is a row with a reason."""

import time
from pathlib import Path

import numpy as np
import pytest

from geoloc_core.features import decoding
from geoloc_core.features.backbones import backbone
from geoloc_core.features.encoder import Encoder
from geoloc_core.features.extract import OK, ImageItem, embed_images
from geoloc_core.photos import images
from geoloc_core.photos.images import ImageLimits

LIMITS = ImageLimits()


def items(paths: list[Path]) -> list[ImageItem]:
    return [ImageItem(path.stem, path) for path in paths]


@pytest.mark.parametrize("batch_size", [5, 64])
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
    opened: list[bytes] = []
    load = images.load_image

    def counting(source, limits=None, smallest_side=0):
        opened.append(source)
        return load(source, limits, smallest_side)

    monkeypatch.setattr(images, "load_image", counting)
    embed_images(items(picture_files), sample_encoders, LIMITS)
    assert sorted(opened) == sorted(path.read_bytes() for path in picture_files)


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


def test_memory_of_decoding_is_a_few_batches_however_many_pictures(picture_files: list[Path]):
    """Whoever consumes slowly makes the pool wait: at most four batches are decoded and not yet taken."""
    decoded: list[int] = []
    specs = {"tiny-vit": backbone("tiny-vit")}
    many = [ImageItem(str(number), picture_files[number % 12]) for number in range(200)]
    load = images.load_image

    def counting(source, limits=None, smallest_side=0):
        decoded.append(1)
        return load(source, limits, smallest_side)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "load_image", counting)
        batches = decoding.decoded_batches(many, specs, LIMITS, 5, workers=2, ahead=3)
        first = next(batches)
        time.sleep(0.5)
        assert len(decoded) <= 20
        assert first.pixels["tiny-vit"].shape == (5, 64, 64, 3)
        assert [batch.start for batch in batches] == list(range(5, 200, 5))
    assert len(decoded) == 200


def test_beside_a_cpu_nothing_is_decoded_before_it_is_asked_for(picture_files: list[Path], tmp_path: Path):
    decoded: list[int] = []
    load = images.load_image

    def counting(source, limits=None, smallest_side=0):
        decoded.append(1)
        return load(source, limits, smallest_side)

    paths = [*picture_files[:5], tmp_path / "absent.jpg"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "load_image", counting)
        batches = decoding.decoded_batches(items(paths), {"x": backbone("tiny-vit")}, LIMITS, 2, workers=2, ahead=0)
        found = []
        for batch in batches:
            found.append((batch.start, batch.reasons, len(decoded)))
    assert found == [(0, ["ok", "ok"], 2), (2, ["ok", "ok"], 4), (4, ["ok", "missing_file"], 5)]


def test_processes_decode_what_threads_decode(picture_files: list[Path], tmp_path: Path):
    specs = {name: backbone(name) for name in ("tiny-clip", "tiny-vit")}
    paths = [*picture_files, tmp_path / "absent.jpg"]
    found = []
    for processes in (False, True):
        batches = decoding.decoded_batches(items(paths), specs, LIMITS, 4, workers=2, processes=processes)
        found.append([(one.start, one.reasons, {k: v.copy() for k, v in one.pixels.items()}) for one in batches])
    for (start, reasons, pixels), (start_2, reasons_2, pixels_2) in zip(*found, strict=True):
        assert (start, reasons) == (start_2, reasons_2)
        for name in specs:
            np.testing.assert_array_equal(pixels[name][: len(reasons)], pixels_2[name][: len(reasons)])
    assert found[0][-1][1] == ["missing_file"]

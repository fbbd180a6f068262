"""Checkpoints and pictures that the tests of the features share."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from geoloc_core.features import decoding
from geoloc_core.features.backbones import backbone
from geoloc_core.features.encoder import Encoder, load_encoder

SAMPLE_NAMES = ("tiny-clip", "tiny-vit", "tiny-segvit")


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which seeded checkpoints are made once for all tests."""
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="session")
def sample_encoders(checkpoints: Path) -> dict[str, Encoder]:
    """The three backbones of the sample, loaded."""
    return {name: load_encoder(backbone(name), checkpoints) for name in SAMPLE_NAMES}


def drawn(width: int, height: int, seed: int = 0) -> Image.Image:
    """A smooth coloured picture with an edge and some grain: nothing that resizing leaves as it was."""
    rng = np.random.default_rng([width, height, seed])
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x * rng.uniform(0.02, 0.3) + y * rng.uniform(0.02, 0.3) + rng.uniform(0, 6)) for _ in range(3)]
    picture = 128 + 80 * np.stack(waves, axis=-1) + rng.normal(0, 12, (height, width, 3))
    picture[height // 3 :, : width // 2] *= rng.uniform(0.3, 1.0, 3)
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8))


SHAPES = [(64, 64), (640, 480), (481, 640), (2000, 251), (37, 1999), (65, 64), (67, 64), (64, 69), (9, 7), (1, 40)]
"""Widths and heights: square, landscape, portrait, panoramas, odd margins either way, tiny."""


@pytest.fixture
def picture_files(tmp_path: Path) -> list[Path]:
    """Twelve JPEGs of different shapes."""
    paths = []
    for number in range(12):
        path = tmp_path / f"{number:02d}.jpg"
        drawn(90 + 17 * number, 200 - 9 * number, number).save(path, quality=92)
        paths.append(path)
    return paths


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    """The smallest cosine between corresponding rows."""
    a, b = a.double(), b.double()
    return float(torch.nn.functional.cosine_similarity(a, b, dim=-1).min())


def count_decodes(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The bytes of each picture that is decoded from now on, as it happens."""
    opened: list[bytes] = []
    decode = decoding.decode

    def counting(content: bytes, *arguments: Any) -> Any:
        opened.append(content)
        return decode(content, *arguments)

    monkeypatch.setattr(decoding, "decode", counting)
    return opened

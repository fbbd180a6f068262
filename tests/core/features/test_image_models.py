"""timm's models: real weights that a package brings, on real photos; names mapped by rule; weights checked before use."""

import base64
import hashlib
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config

from geoloc_core.errors import CheckpointError
from geoloc_core.features.backbones import BACKBONES, backbone, derived_backbone
from geoloc_core.features.checkpoints import open_checkpoint
from geoloc_core.features.encoder import load_encoder
from geoloc_core.features.encoders.image_models import check_pretrained_cfg, renamed_efficientnet
from geoloc_core.features.encoders.loading import read_weights
from geoloc_core.photos.images import load_image
from tests.core.features.conftest import SHAPES, cosine, drawn

LITE = [spec for spec in BACKBONES.values() if spec.name.startswith("efficientnet-lite")]
STREET = {
    "1113744692540897.jpg": "streetcar",
    "1622455258212885.jpg": "traffic light",
    "210429954039398.jpg": "car mirror",
    "211450440452868.jpg": "mobile home",
    "217887346522004.jpg": "volcano",
    "3882682481821500.jpg": "seashore",
    "4065883540137904.jpg": "trolleybus",
    "464804747946887.jpg": "catamaran",
    "827026111505364.jpg": "trailer truck",
    "975112963027888.jpg": "apiary",
}
"""What ten real street photos show first of all, by ImageNet's 1,000 classes (a random network names the same for all)."""


def test_imagenet_s_classes_are_seen_on_real_street_photos(shared_data: Path, tmp_path: Path):
    encoder = load_encoder(backbone("efficientnet-lite0"), tmp_path)
    names = timm.data.ImageNetInfo()
    folder = shared_data / "photos" / "osv5m_mapillary_22"
    batch = torch.stack([encoder.preprocess(load_image(next(folder.rglob(name)))) for name in STREET])
    vectors = encoder.encode(batch)
    assert vectors.shape == (10, 1280)
    first = encoder.model.classifier(vectors).argmax(dim=1)
    assert [names.index_to_description(int(index)).split(",")[0] for index in first] == list(STREET.values())


@pytest.mark.parametrize("spec", LITE, ids=lambda spec: spec.name)
def test_pixels_and_vectors_are_timm_s(spec, tmp_path: Path):
    """Pixels by timm's own transform of its own settings, vectors by timm's own model without classifier."""
    encoder = load_encoder(spec, tmp_path)
    images = [drawn(width, height) for width, height in SHAPES]
    transform = create_transform(**resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(spec.model_id).to_dict()))
    pixels = torch.stack([encoder.preprocess(image) for image in images])
    torch.testing.assert_close(pixels, torch.stack([transform(image) for image in images]), rtol=0, atol=2e-6)
    model = timm.create_model(spec.model_id, num_classes=0).eval()
    model.load_state_dict({k: v for k, v in encoder.model.state_dict().items() if not k.startswith("classifier")})
    with torch.inference_mode():
        assert cosine(encoder.encode(pixels), model(pixels)) >= 0.99999
    assert cosine(encoder.encode(pixels)[1:], encoder.encode(pixels)[:-1]) < 0.99


@pytest.mark.parametrize("spec", LITE, ids=lambda spec: spec.name)
def test_each_published_name_has_its_place_by_rule(spec, tmp_path: Path):
    """In the order of definition both have the same parts, so position confirms what the rule says of names."""
    published = read_weights(open_checkpoint(spec, tmp_path).path)
    model = timm.create_model(spec.model_id)
    renamed = renamed_efficientnet(published, model)
    assert list(renamed) == list(model.state_dict())
    assert renamed["conv_stem.weight"] is published["_conv_stem.weight"]
    assert renamed["blocks.0.0.conv_pw.weight"] is published["_blocks.0._project_conv.weight"]
    assert renamed["blocks.1.1.conv_pwl.weight"] is published["_blocks.2._project_conv.weight"]


def test_nothing_is_left_over_and_nothing_lacks(tmp_path: Path):
    spec = backbone("efficientnet-lite0")
    published = read_weights(open_checkpoint(spec, tmp_path).path)
    file = tmp_path / "copy.pth"
    copied = spec.changed(weights=f"path:{file}")
    for number, (changed, said) in enumerate(
        [
            ({**published, "_blocks.0._other.weight": torch.ones(1)}, "Error.* loading state_dict"),
            ({**published, "_blocks.16._bn2.bias": torch.ones(1)}, "Error.* loading state_dict"),
            ({name: value for name, value in published.items() if name != "_bn0.bias"}, "Error.* loading state_dict"),
            ({**published, "_fc.bias": torch.ones(7)}, "Error.* loading state_dict"),
        ]
    ):
        torch.save(changed, file)
        with pytest.raises(CheckpointError, match=f"cannot be loaded by timm as tf_efficientnet_lite0.in1k: {said}"):
            load_encoder(copied, tmp_path / str(number))
    torch.save({"_conv_stem.weight": print}, file)
    with pytest.raises(CheckpointError, match="cannot be loaded by timm"):
        load_encoder(copied, tmp_path / "pickle")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"resize_size": 240}, "resize_size = 256 and the specification says 240"),
        ({"interpolation": "bilinear"}, "interpolation = bicubic"),
        ({"mean": (0.485, 0.456, 0.406)}, "mean"),
        ({"resize": "squash"}, "resize = shortest"),
        ({"input_size": 192}, "input_size = 224"),
        ({"dimension": 1000}, "vectors of 1280 numbers and the specification says 1000"),
        ({"layer": "last_hidden_state", "pooling": "cls"}, "offers pooled with trunk; not last_hidden_state with cls"),
        ({"model_id": "tf_efficientnet_lite1.in1k"}, "cannot be loaded by timm as tf_efficientnet_lite1"),
    ],
)
def test_what_timm_says_otherwise_is_refused(changes: dict, said: str, tmp_path: Path):
    with pytest.raises(CheckpointError, match=said):
        load_encoder(backbone("efficientnet-lite0").changed(**changes), tmp_path)


@pytest.mark.parametrize(
    ("of", "name", "changes"),
    [
        (
            "aimv2-l-14",
            "eva02_large_patch14_448.mim_m38m_ft_in22k",
            {"input_size": 448, "resize": "squash", "crop": "none"},
        ),
        ("dinov3-b-16", "convnext_base.dinov3_lvd1689m", {"layer": "pooled", "pooling": "trunk", "input_size": 224}),
    ],
)
def test_another_model_of_timm_is_a_few_fields(of: str, name: str, changes: dict, tmp_path: Path):
    """The example of docs/extending.md, and a network without tokens."""
    spec = derived_backbone("mine", {"of": of, "model_id": name, "weights": f"hub:timm/{name}", **changes})
    assert (spec.licence, spec.parameters, spec.source) == ("", 0.0, "")  # those are of the other's weights
    config = timm.get_pretrained_cfg(name).to_dict()
    check_pretrained_cfg(spec, tmp_path, config)
    with pytest.raises(CheckpointError, match="prepares pictures with resize_size"):
        check_pretrained_cfg(spec, tmp_path, {**config, "crop_pct": 0.9})


def install(folder: Path, content: bytes, recorded: bytes) -> None:
    """A distribution with one file, whose record has the hash of `recorded`."""
    (folder / "brought").mkdir()
    (folder / "brought" / "model.pth").write_bytes(content)
    about = folder / "brought-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: brought\nVersion: 1.0\n")
    digest = base64.urlsafe_b64encode(hashlib.sha256(recorded).digest()).decode().rstrip("=")
    (about / "RECORD").write_text(f"brought/model.pth,sha256={digest},{len(recorded)}\n")


def test_weights_of_a_package_are_found_where_it_is_and_are_what_it_brought(tmp_path: Path, monkeypatch):
    spec = backbone("efficientnet-lite0").changed(weights="package:brought/brought/model.pth")
    with pytest.raises(CheckpointError, match=r"lacks brought/model.pth of the distribution brought; install it \(pip"):
        open_checkpoint(spec, tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    install(tmp_path, b"weights", b"weights")
    checkpoint = open_checkpoint(spec, tmp_path / "home")
    assert checkpoint.path == tmp_path / "brought" / "model.pth"
    assert checkpoint.identity.weights_sha256 == hashlib.sha256(b"weights").hexdigest()
    checkpoint.path.write_bytes(b"others")
    with pytest.raises(CheckpointError, match="is not what brought brought; install that distribution again"):
        open_checkpoint(spec, tmp_path / "other home")
    for outside in ("../outside", "brought/../../outside", "/etc/hostname"):
        with pytest.raises(CheckpointError, match=r"lacks .* of the distribution brought"):
            open_checkpoint(spec.changed(weights=f"package:brought/{outside}"), tmp_path)


def test_a_photo_of_any_mode_but_rgb_is_refused(tmp_path: Path):
    encoder = load_encoder(backbone("efficientnet-lite0"), tmp_path)
    with pytest.raises(ValueError, match="RGB pictures, not L"):
        encoder.preprocess(Image.new("L", (8, 8)))

"""What a specification refuses, and what its hashes do and do not depend on."""

import json
from dataclasses import asdict

import pytest

from geoloc_core.errors import ProfileError
from geoloc_core.features import specification
from geoloc_core.features.backbones import BACKBONES, backbone
from geoloc_core.features.specification import specification_from

OTHER = {
    "name": "other", "model_id": "other", "weights": "seeded:9", "revision": "abc", "kept_as": "elsewhere",
    "pretrained": "openai", "architecture": {"width": 3}, "layer": "pooled", "pooling": "trunk", "dimension": 7,
    "input_size": 32, "resize": "squash", "crop": "none", "interpolation": "bilinear",
    "mean": (0.1, 0.2, 0.3), "std": (0.1, 0.2, 0.3), "dtype": "bfloat16", "decode": "draft",
}  # fmt: skip


def test_an_unknown_name_is_answered_with_those_that_exist():
    with pytest.raises(ProfileError, match=r"'tiny-clop' is not known; choose one of .*tiny-clip"):
        backbone("tiny-clop")


@pytest.mark.parametrize("key", sorted(OTHER))
def test_each_field_changes_the_fingerprint(key: str):
    spec = backbone("tiny-clip")
    changes = {key: OTHER[key]} | ({"resize": "squash"} if key == "crop" else {})
    changed = spec.changed(**changes)
    assert changed.fingerprint() != spec.fingerprint()
    only_where = key in ("weights", "revision", "kept_as")
    assert (changed.vector_fingerprint() == spec.vector_fingerprint()) == only_where


def test_prose_is_in_no_hash_and_an_embedder_is_in_both():
    spec = backbone("tiny-segvit")
    read = spec.changed(source="elsewhere", licence="MIT", parameters=3.4)
    assert (read.fingerprint(), read.vector_fingerprint()) == (spec.fingerprint(), spec.vector_fingerprint())
    assert spec.embedder is not None
    other = spec.changed(embedder=spec.embedder.changed(pooling="cls"))
    assert other.fingerprint() != spec.fingerprint()
    assert other.vector_fingerprint() != spec.vector_fingerprint()


@pytest.mark.parametrize("name", ["tiny-vit", "tiny-segvit"])
def test_another_way_from_file_to_pixels_is_another_vector(name: str, monkeypatch: pytest.MonkeyPatch):
    spec = backbone(name)
    before = spec.fingerprint(), spec.vector_fingerprint()
    monkeypatch.setattr(specification, "DECODE_VERSION", 3)
    assert spec.fingerprint() == before[0]
    assert spec.vector_fingerprint() != before[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"library": "keras"}, "library 'keras' is not known"),
        ({"pooling": "max"}, "pooling 'max' is not known"),
        ({"interpolation": "nearest"}, "interpolation 'nearest' is not known"),
        ({"weights": "ftp:somewhere"}, "kind of weights 'ftp' is not known"),
        ({"crop": "none"}, "would differ in shape"),
        ({"library": "segmentation", "n_classes": 3, "decode": "draft"}, "set decode: exact"),
        ({"n_classes": 3}, "n_classes goes with library: segmentation"),
        ({"colour": "red"}, "has no field 'colour'"),
    ],
)
def test_what_no_library_knows_is_refused(changes: dict, message: str):
    with pytest.raises(ProfileError, match=message):
        backbone("tiny-clip").changed(**changes)


def test_a_specification_survives_json():
    for spec in BACKBONES.values():
        assert specification_from(json.loads(json.dumps(asdict(spec)))) == spec
        assert spec.changed(mean=list(spec.mean), std=list(spec.std)) == spec

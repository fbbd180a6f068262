"""Weights: the same seed gives the same bytes, a flipped byte is noticed, and what does not fit is refused."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from geoloc_core.errors import CheckpointError
from geoloc_core.features import checkpoints as checkpoints_module
from geoloc_core.features.backbones import backbone
from geoloc_core.features.checkpoints import (
    checkpoint_file_names,
    locate_checkpoint,
    open_checkpoint,
    weights_files,
)
from geoloc_core.features.encoder import load_encoder
from geoloc_core.features.encoders.clip import check_pretrained_tag
from geoloc_core.storage import file_sha256


def own_copy(checkpoints: Path, name: str, folder: Path) -> Path:
    """A copy of a seeded checkpoint that a test may damage."""
    shutil.copytree(open_checkpoint(backbone(name), checkpoints).path, folder)
    return folder


@pytest.mark.parametrize("name", ["tiny-clip", "tiny-vit", "tiny-segvit"])
def test_equal_seeds_give_equal_bytes_and_others_do_not(name: str, checkpoints: Path, tmp_path: Path):
    first = open_checkpoint(backbone(name), checkpoints).path
    again = open_checkpoint(backbone(name), tmp_path / "again").path
    other = open_checkpoint(backbone(name).changed(weights="seeded:7"), tmp_path / "other").path
    assert {file.name for file in first.iterdir()} == set(checkpoint_file_names(backbone(name)))
    for file in sorted(first.iterdir()):
        assert file.read_bytes() == (again / file.name).read_bytes(), file.name
    names = [file.name for file in weights_files(backbone(name), first)]
    assert all(file_sha256(first / file) != file_sha256(other / file) for file in names)
    # Another seed makes the checkpoint anew in the same folder.
    changed = open_checkpoint(backbone(name).changed(weights="seeded:7"), tmp_path / "again").identity
    assert changed.version != open_checkpoint(backbone(name), checkpoints).identity.version


def test_the_identity_is_the_hash_of_the_weights_and_of_what_is_done_with_them(checkpoints: Path, tmp_path: Path):
    spec = backbone("tiny-vit")
    path = open_checkpoint(spec, checkpoints).path
    identity = open_checkpoint(spec, checkpoints).identity
    assert identity.weights_sha256 == file_sha256(path / "model.safetensors")
    moved = spec.changed(weights=f"path:{own_copy(checkpoints, 'tiny-vit', tmp_path / 'moved')}")
    assert open_checkpoint(moved, tmp_path).identity.version == identity.version
    assert open_checkpoint(spec.changed(pooling="cls"), checkpoints).identity.version != identity.version
    assert json.loads(json.dumps(identity.as_dict()))["dimension"] == spec.dimension


def test_a_segmentation_backbone_s_identity_covers_both_networks(checkpoints: Path, tmp_path: Path):
    spec = backbone("tiny-segvit")
    assert spec.embedder is not None
    other = spec.changed(embedder=spec.embedder.changed(weights="seeded:5"))
    assert open_checkpoint(other, tmp_path).identity.version != open_checkpoint(spec, checkpoints).identity.version


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_flipped_byte_is_noticed_whichever_file_it_is_in(file: str, tmp_path: Path):
    spec = backbone("tiny-vit")
    path = open_checkpoint(spec, tmp_path).path / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"is not what it was: {file} changed; restore it"):
        load_encoder(spec, tmp_path)


def test_weights_that_are_not_there_are_named_with_the_command_that_gets_them(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    spec = backbone("tiny-vit").changed(name="vit", weights="hub:somebody/some-vit", revision="v1")
    with pytest.raises(CheckpointError) as raised:
        locate_checkpoint(spec, tmp_path)
    assert "lacks config.json, model.safetensors, preprocessor_config.json" in str(raised.value)
    assert "hf download somebody/some-vit --revision v1 config.json model.safetensors" in str(raised.value)
    shutil.copytree(open_checkpoint(backbone("tiny-vit"), tmp_path).path, tmp_path / "vit")
    assert locate_checkpoint(spec, tmp_path) == tmp_path / "vit"
    (tmp_path / "vit" / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"lacks config\.json in"):
        locate_checkpoint(spec, tmp_path)


def test_what_does_not_fit_its_specification_is_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"point the backbone's weights \(path:\.\.\.\) to where they are"):
        load_encoder(backbone("tiny-vit").changed(weights=f"path:{tmp_path / 'nowhere'}"), tmp_path)
    with pytest.raises(CheckpointError, match=r"vectors of 192 numbers and the specification says 193"):
        load_encoder(backbone("tiny-vit").changed(dimension=193), tmp_path)


@pytest.mark.parametrize("name", ["tiny-clip", "tiny-vit", "tiny-segvit"])
def test_a_missing_weight_is_refused_rather_than_left_random(name: str, checkpoints: Path, tmp_path: Path):
    folder = own_copy(checkpoints, name, tmp_path / "copy")
    (file,) = weights_files(backbone(name), folder)
    weights = load_file(file)
    dropped = sorted(key for key in weights if "proj" in key and key.endswith("weight"))[-1]
    del weights[dropped]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"missing|Missing"):
        load_encoder(backbone(name).changed(weights=f"path:{folder}"), tmp_path)


@pytest.mark.parametrize("name", ["tiny-clip", "tiny-vit"])
def test_a_misshapen_weight_is_refused(name: str, checkpoints: Path, tmp_path: Path):
    (file,) = weights_files(backbone(name), own_copy(checkpoints, name, tmp_path / "copy"))
    weights = load_file(file)
    key = next(key for key in sorted(weights) if weights[key].ndim == 4)
    save_file({**weights, key: weights[key][:-1].clone()}, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"cannot be loaded|does not fit"):
        load_encoder(backbone(name).changed(weights=f"path:{tmp_path / 'copy'}"), tmp_path)


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("tiny-vit", {"mean": (0.485, 0.456, 0.406)}, "image_mean"),
        ("tiny-vit", {"interpolation": "bicubic"}, "resample"),
        ("tiny-vit", {"resize": "shortest", "crop": "center_floor"}, "size"),
        ("tiny-clip", {"mean": (0.5, 0.5, 0.5)}, "mean"),
        ("tiny-clip", {"interpolation": "bilinear"}, "interpolation"),
        ("tiny-clip", {"resize": "squash", "crop": "none"}, "resize"),
        ("tiny-segvit", {"std": (0.5, 0.5, 0.5)}, "image_std"),
    ],
)
def test_other_preprocessing_than_the_checkpoint_was_made_for_is_refused(name, changes, said, checkpoints, tmp_path):
    folder = own_copy(checkpoints, name, tmp_path / "copy")
    with pytest.raises(CheckpointError, match=rf"prepares pictures with {said} = .* and the specification says"):
        load_encoder(backbone(name).changed(weights=f"path:{folder}", **changes), tmp_path)


def test_openai_weights_under_the_plain_architecture_are_an_error_not_a_warning(checkpoints: Path):
    spec = backbone("tiny-clip").changed(model_id="ViT-L-14", pretrained="openai")
    with pytest.raises(CheckpointError, match=r"trained with QuickGELU .* use model_id: ViT-L-14-quickgelu"):
        check_pretrained_tag(spec)
    check_pretrained_tag(spec.changed(model_id="ViT-L-14-quickgelu"))
    with pytest.raises(CheckpointError, match=r"prepares pictures with mean = "):
        check_pretrained_tag(spec.changed(model_id="ViT-L-14-quickgelu", mean=(0.5, 0.5, 0.5)))
    with pytest.raises(CheckpointError, match=r"knows no model 'ViT-Z-14'"):
        check_pretrained_tag(spec.changed(model_id="ViT-Z-14"))


def test_a_checkpoint_of_another_published_architecture_is_refused(checkpoints: Path, tmp_path: Path):
    spec = backbone("tiny-clip").changed(model_id="ViT-B-32-quickgelu")
    folder = own_copy(checkpoints, "tiny-clip", tmp_path / "copy")
    with pytest.raises(CheckpointError, match=r"has embed_dim = 192 and open_clip's ViT-B-32-quickgelu has 512"):
        load_encoder(spec.changed(weights=f"path:{folder}"), tmp_path)


def test_a_checkpoint_is_read_once_in_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Opened for its identity, loaded, and loaded again: each file of both networks is hashed once."""
    read: list[Path] = []
    monkeypatch.setattr(checkpoints_module, "file_sha256", lambda file: read.append(file) or file_sha256(file))
    spec = backbone("tiny-segvit")
    checkpoint = open_checkpoint(spec, tmp_path)
    load_encoder(spec, tmp_path)
    assert open_checkpoint(spec, tmp_path) == checkpoint
    assert sorted(read) == sorted(checkpoint.files)
    assert {file.parent.name for file in read} == {"tiny-segvit", "tiny-vit"}
    os.utime(checkpoint.files[0], ns=(1, 1))
    open_checkpoint(spec, tmp_path)
    assert read[len(checkpoint.files) :] == [checkpoint.files[0]]


def test_damaged_seeded_weights_are_made_again_where_that_is_asked_for(tmp_path: Path):
    spec = backbone("tiny-vit")
    before = open_checkpoint(spec, tmp_path)
    (before.path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="is not what it was"):
        open_checkpoint(spec, tmp_path)
    assert open_checkpoint(spec, tmp_path, mend_seeded=True) == before


@pytest.mark.parametrize("name", ["tiny-clip", "tiny-vit"])
def test_what_is_hashed_is_what_is_loaded(name: str, checkpoints: Path, tmp_path: Path):
    """A second file of weights, first by its name: the identity was of that one, the network of the other."""
    folder = own_copy(checkpoints, name, tmp_path / "copy")
    spec = backbone(name).changed(weights=f"path:{folder}")
    (file,) = weights_files(spec, folder)
    save_file({key: value + 1 for key, value in load_file(file).items()}, folder / "a.safetensors", {"format": "pt"})
    original = open_checkpoint(backbone(name), checkpoints).identity
    assert open_checkpoint(spec, tmp_path).identity.weights_sha256 == original.weights_sha256 == file_sha256(file)
    batch = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    vectors = load_encoder(spec, tmp_path).encode(batch)
    torch.testing.assert_close(vectors, load_encoder(backbone(name), checkpoints).encode(batch))
    file.rename(folder / "b.safetensors")
    with pytest.raises(
        CheckpointError, match=rf"several files of weights \(a.safe.*, b.safe.*\); call the .* {file.name}"
    ):
        load_encoder(spec, tmp_path / "other")


def test_the_identity_of_weights_in_shards_covers_each(tmp_path: Path):
    whole = open_checkpoint(backbone("tiny-vit"), tmp_path)
    path, weights = whole.path, load_file(whole.path / "model.safetensors")
    names = {key: f"model-0000{1 + number % 2}-of-00002.safetensors" for number, key in enumerate(weights)}
    for shard in set(names.values()):
        part = {key: value for key, value in weights.items() if names[key] == shard}
        save_file(part, path / shard, {"format": "pt"})
    (path / "model.safetensors").unlink()
    (path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    spec = backbone("tiny-vit").changed(weights=f"path:{path}")
    assert [file.name for file in weights_files(spec, path)] == sorted(set(names.values()))
    before = open_checkpoint(spec, tmp_path / "first").identity.weights_sha256
    batch = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = load_encoder(backbone("tiny-vit"), tmp_path / "again").encode(batch)
    torch.testing.assert_close(load_encoder(spec, tmp_path / "first").encode(batch), expected)
    second = path / sorted(set(names.values()))[1]
    save_file({key: value + 1 for key, value in load_file(second).items()}, second, {"format": "pt"})
    assert open_checkpoint(spec, tmp_path / "second").identity.weights_sha256 != before

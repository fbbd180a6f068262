"""A shard of a small project from pictures to vectors: what is made, what is kept, what is told."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from geoloc_core.errors import ProfileError
from geoloc_core.features.shards import read_shard
from geoloc_core.line.embed import embed_shard
from geoloc_core.line.layout import Layout
from geoloc_core.line.profile import Profile, parse_profile
from geoloc_core.photos.images import build_manifest
from geoloc_core.photos.rows import write_rows
from geoloc_core.photos.shard_rows import read_shard_rows
from tests.core.features.conftest import drawn

PROFILE = {
    "name": "small",
    "features": {"a": ["tiny-clip", "quick-vit"]},
    "backbones": {"quick-vit": {"of": "tiny-vit", "decode": "draft"}},
    "experiments": ["a.linear.country.thesis"],
}


@pytest.fixture
def shard(tmp_path: Path) -> tuple[Profile, Layout, Path]:
    """Six pictures, one of them broken, and their manifest."""
    folder = tmp_path / "photos"
    folder.mkdir()
    lines = ["IMG_ID,LAT,LON"]
    for number in range(6):
        drawn(300 + number, 200, number).save(folder / f"{number}.jpg", quality=92)
        lines.append(f"{number}.jpg,{number}.5,10.5")
    (folder / "3.jpg").write_bytes((folder / "3.jpg").read_bytes()[:900])
    (tmp_path / "photos.csv").write_text("\n".join(lines) + "\n")
    dataset = {"name": "mine", "metadata": str(tmp_path / "photos.csv"), "images": str(folder)}
    profile = parse_profile({**PROFILE, "training": [dataset]})
    layout = Layout(tmp_path / "home")
    manifest(profile, layout, folder)
    return profile, layout, folder


def manifest(profile: Profile, layout: Layout, folder: Path) -> None:
    photos = read_shard_rows(*profile.dataset_of("mine"), layout.cut("mine")).accepted
    layout.images("mine").parent.mkdir(parents=True, exist_ok=True)
    write_rows(build_manifest(photos, folder), layout.images("mine"))


def test_several_backbones_of_one_shard(shard: tuple[Profile, Layout, Path], tmp_path: Path):
    profile, layout, _ = shard
    both = embed_shard(profile, layout, tmp_path / "checkpoints", ["tiny-clip", "quick-vit"], "mine")
    for name, made in both.items():
        assert (made.report.embedded, made.vectors, made.failures) == (5, 5, {"truncated_image": 1})
        assert made.made["together"] == ["quick-vit", "tiny-clip"]
        assert made.made["images_per_second"] > 0
        block, metadata = read_shard(layout.embeddings(name, "mine"))
        assert metadata["identity"]["version"] == made.identity.version
        assert metadata["identity"]["decode"] == ("draft" if name == "quick-vit" else "exact")
        assert block.ok.tolist() == [True, True, True, False, True, True]
        assert made.files == [layout.embeddings(name, "mine"), layout.embedding_report(name, "mine")]
        assert all(file.is_file() for file in made.files)
    # Later, alone: nothing to do, and what is told is still how the vectors came to be.
    again = embed_shard(profile, layout, tmp_path / "checkpoints", ["quick-vit"], "mine")["quick-vit"]
    assert (again.report.embedded, again.report.reused) == (0, 6)
    assert again.made == both["quick-vit"].made
    assert json.loads(again.files[1].read_text())["embedded"] == 5


def test_ten_more_photos_embed_ten(shard: tuple[Profile, Layout, Path], tmp_path: Path):
    profile, layout, folder = shard
    first = embed_shard(profile, layout, tmp_path / "checkpoints", ["tiny-clip"], "mine")["tiny-clip"]
    before, _ = read_shard(first.files[0])
    metadata = tmp_path / "photos.csv"
    more = []
    for number in range(10, 20):
        drawn(300, 200, number).save(folder / f"{number}.jpg")
        more.append(f"{number}.jpg,1.5,10.5")
    metadata.write_text(metadata.read_text() + "\n".join(more) + "\n")
    manifest(profile, layout, folder)
    second = embed_shard(profile, layout, tmp_path / "checkpoints", ["tiny-clip"], "mine")["tiny-clip"]
    assert (second.report.rows, second.report.embedded, second.report.reused) == (16, 10, 6)
    after, _ = read_shard(second.files[0])
    np.testing.assert_array_equal(after.vectors[:6], before.vectors)


def test_another_specification_is_another_identity_and_embeds_anew(shard: tuple[Profile, Layout, Path], tmp_path: Path):
    profile, layout, _ = shard
    first = embed_shard(profile, layout, tmp_path / "checkpoints", ["quick-vit"], "mine")["quick-vit"]
    exact = replace(profile, derived={"quick-vit": {"of": "tiny-vit"}})
    second = embed_shard(exact, layout, tmp_path / "checkpoints", ["quick-vit"], "mine")["quick-vit"]
    assert second.report.embedded == 5
    assert first.identity.version != second.identity.version
    assert first.identity.weights_sha256 == second.identity.weights_sha256
    # Both read the weights of the backbone that they are derived from.
    assert not (tmp_path / "checkpoints" / "quick-vit").exists()
    assert (tmp_path / "checkpoints" / "tiny-vit").is_dir()


@pytest.mark.parametrize(
    ("backbones", "message"),
    [
        ({"x": {"of": "tiny-vit", "decode": "sloppy"}}, "backbone 'x': decode 'sloppy' is not known"),
        ({"x": {"of": "tiny-bat"}}, "backbone 'tiny-bat' is not known; choose one of"),
        ({"x": {"colour": "red"}}, "backbone 'x' is not known"),
        ({"tiny-vit": {"colour": "red"}}, "backbone 'tiny-vit' has no field 'colour'"),
        ({"x": "tiny-vit"}, "must map names to settings"),
        (["x"], "must map names to settings"),
    ],
)
def test_backbones_of_a_profile_are_checked(backbones: object, message: str):
    with pytest.raises(ProfileError, match=message):
        parse_profile({**PROFILE, "drawn": {}, "backbones": backbones})


def test_weights_that_are_others_lie_elsewhere():
    backbones = {"x": {"of": "tiny-vit", "weights": "seeded:7"}, "tiny-vit": {"dtype": "bfloat16"}}
    profile = parse_profile({**PROFILE, "drawn": {}, "backbones": backbones})
    assert profile.backbone("x").folder_name == "x"
    assert (profile.backbone("tiny-vit").folder_name, profile.backbone("tiny-vit").dtype) == ("tiny-vit", "bfloat16")
    assert profile.backbone("tiny-clip").decode == "exact"

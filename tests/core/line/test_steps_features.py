"""A shard of a small project from pictures to vectors: what is made, what is kept, what is told."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geoloc_core.errors import ProfileError
from geoloc_core.features.shards import read_shard
from geoloc_core.line.layout import Layout
from geoloc_core.line.profile import parse_profile
from geoloc_core.line.project import Project
from geoloc_core.line.steps import Job, photos
from geoloc_core.line.steps.features import embeddings
from tests.core.features.conftest import drawn

PROFILE = {
    "name": "small",
    "features": {"a": ["tiny-clip", "quick-vit"]},
    "backbones": {"quick-vit": {"of": "tiny-vit", "decode": "draft"}},
    "experiments": ["a.linear.country.thesis"],
}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Six pictures, one of them broken, and their manifest."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(6):
        drawn(300 + number, 200, number).save(folder / f"{number}.jpg", quality=92)
    (folder / "3.jpg").write_bytes((folder / "3.jpg").read_bytes()[:900])
    dataset = {"name": "mine", "metadata": str(tmp_path / "photos.csv"), "images": str(folder)}
    made = Project(parse_profile({**PROFILE, "training": [dataset]}), Path("p.yaml"), Layout(tmp_path / "home"))
    describe(made, range(6))
    return made


def describe(project: Project, numbers: Iterable[int]) -> None:
    """Write the metadata of these pictures, and bring rows and manifest up to it."""
    lines = ["IMG_ID,LAT,LON", *(f"{number}.jpg,1.5,10.5" for number in numbers)]
    Path(project.profile.training[0].metadata).write_text("\n".join(lines) + "\n")
    photos.raw_photos(Job(project, "mine"))
    photos.images(Job(project, "mine"))


def embed(project: Project, name: str, *also: str) -> dict[str, Any]:
    """The facts of one step."""
    return dict(embeddings(Job(project, f"{name}|mine", tuple(f"{other}|mine" for other in also))).facts)


def test_several_backbones_of_one_shard_share_a_decode(project: Project) -> None:
    first = embed(project, "tiny-clip", "quick-vit")
    assert (first["embedded_now"], first["vectors"], first["failures"]) == (5, 5, {"truncated_image": 1})
    assert first["decoded_together"] == "quick-vit, tiny-clip"
    assert first["images_per_second"] > 0
    # The second finds its vectors there; what is recorded is still how they were made.
    second = embed(project, "quick-vit")
    assert (second["embedded_now"], second["kept"], second["decoded_together"]) == (0, 6, "quick-vit, tiny-clip")
    for name, facts in (("tiny-clip", first), ("quick-vit", second)):
        block, metadata = read_shard(project.layout.embeddings(name, "mine"))
        assert metadata["identity"]["version"] == facts["backbone_version"]
        assert metadata["identity"]["decode"] == ("draft" if name == "quick-vit" else "exact")
        assert block.ok.tolist() == [True, True, True, False, True, True]


def test_ten_more_photos_embed_ten(project: Project) -> None:
    embed(project, "tiny-clip")
    before, _ = read_shard(project.layout.embeddings("tiny-clip", "mine"))
    for number in range(10, 20):
        drawn(300, 200, number).save(Path(project.profile.training[0].images) / f"{number}.jpg")
    describe(project, [*range(6), *range(10, 20)])
    facts = embed(project, "tiny-clip")
    assert (facts["rows"], facts["embedded_now"], facts["kept"]) == (16, 10, 6)
    after, _ = read_shard(project.layout.embeddings("tiny-clip", "mine"))
    np.testing.assert_array_equal(after.vectors[:6], before.vectors)


def test_another_specification_is_another_identity_and_embeds_again(project: Project) -> None:
    first = embed(project, "quick-vit")
    values = {**project.profile.model_dump(by_alias=True), "backbones": {"quick-vit": {"of": "tiny-vit"}}}
    second = embed(replace(project, profile=parse_profile(values)), "quick-vit")
    assert second["embedded_now"] == 5
    assert first["backbone_version"] != second["backbone_version"]
    assert first["weights_sha256"] == second["weights_sha256"]
    # Both read the weights of the backbone that they are derived from.
    assert [path.name for path in project.checkpoints.iterdir() if path.is_dir()] == ["tiny-vit"]


@pytest.mark.parametrize(
    ("backbones", "message"),
    [
        ({"x": {"of": "tiny-vit", "decode": "sloppy"}}, "backbone 'x': decode 'sloppy' is not known"),
        ({"x": {"of": "tiny-bat"}}, "backbone 'tiny-bat' is not known; choose one of"),
        ({"x": {"colour": "red"}}, "backbone 'x' is not known"),
        ({"tiny-vit": {"colour": "red"}}, "backbone 'tiny-vit' has no field 'colour'"),
        ({"x": "tiny-vit"}, "Input should be a valid mapping"),
        (["x"], "Input should be a valid mapping"),
    ],
)
def test_backbones_of_a_profile_are_checked(backbones: object, message: str):
    with pytest.raises(ProfileError, match=message):
        parse_profile({**PROFILE, "features": {"a": ["tiny-clip"]}, "drawn": {}, "backbones": backbones})


def test_weights_that_are_others_lie_elsewhere():
    backbones = {"x": {"of": "tiny-vit", "weights": "seeded:7"}, "tiny-vit": {"dtype": "bfloat16"}}
    profile = parse_profile({**PROFILE, "features": {"a": ["tiny-clip"]}, "drawn": {}, "backbones": backbones})
    assert profile.backbone("x").folder_name == "x"
    assert (profile.backbone("tiny-vit").folder_name, profile.backbone("tiny-vit").dtype) == ("tiny-vit", "bfloat16")
    assert profile.backbone("tiny-clip").decode == "exact"

"""What is read once, and what is read anew."""

import os

import numpy as np
import pytest

from geoloc_core.line import inputs
from geoloc_core.line.inputs import forget_vectors, read_blocks
from geoloc_core.line.project import Project

NAMES = ("tiny-clip", "tiny-vit")


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The backbone of each reading of vectors, as it happens."""
    happened: list[str] = []
    real = inputs.open_matrix

    def counted(paths, *arguments, **settings):
        happened.append(paths[0].parent.name)
        return real(paths, *arguments, **settings)

    monkeypatch.setattr(inputs, "open_matrix", counted)
    forget_vectors()
    return happened


def test_experiments_that_share_a_backbone_share_its_reading(made_project: Project, readings: list[str]) -> None:
    photos = made_project.warehouse().read_table("training_photos")
    shards = made_project.profile.training_shards()
    first, present = read_blocks(made_project.layout, ("tiny-clip",), shards, photos, keep=True)
    both, _ = read_blocks(made_project.layout, NAMES, shards, photos, keep=True)
    assert readings == ["tiny-clip", "tiny-vit"]
    assert both[0] is first[0]
    assert present.sum() > 100
    assert not first[0].flags.writeable
    fresh, _ = read_blocks(made_project.layout, NAMES, shards, photos)
    np.testing.assert_array_equal(fresh[1], both[1])
    assert readings == ["tiny-clip", "tiny-vit", "tiny-clip", "tiny-vit"]


def test_a_shard_made_anew_or_other_photos_are_read_anew(made_project: Project, readings: list[str]) -> None:
    photos = made_project.warehouse().read_table("training_photos")
    shards = made_project.profile.training_shards()
    read_blocks(made_project.layout, ("tiny-vit",), shards, photos, keep=True)
    fewer, _ = read_blocks(made_project.layout, ("tiny-vit",), shards, photos.head(7), keep=True)
    assert len(fewer[0]) == 7
    path = made_project.layout.embeddings("tiny-vit", shards[1])
    before = path.stat().st_mtime_ns
    os.utime(path, ns=(before + 1_000_000_000, before + 1_000_000_000))
    try:
        read_blocks(made_project.layout, ("tiny-vit",), shards, photos, keep=True)
    finally:
        os.utime(path, ns=(before, before))
    assert readings == ["tiny-vit"] * 3


def test_no_more_is_kept_than_a_table_needs(made_project, readings, monkeypatch):
    monkeypatch.setattr(inputs, "CACHE_SIZE", 1)
    photos = made_project.warehouse().read_table("training_photos").head(5)
    shards = made_project.profile.training_shards()
    for name in ("tiny-vit", "tiny-clip", "tiny-vit"):
        read_blocks(made_project.layout, (name,), shards, photos, keep=True)
    assert readings == ["tiny-vit", "tiny-clip", "tiny-vit"]
    forget_vectors()

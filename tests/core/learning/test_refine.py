"""Refinement answers with the nearest photo of a likely region, and never runs away."""

import numpy as np
import pytest

from geoloc_core.errors import CheckpointError
from geoloc_core.learning import refine

#                     region 0          region 1              region 2 has no photo
VECTORS = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.7, 0.7], [-1, 0]], dtype=np.float16)
LABELS = np.array([0, 0, 1, 1, -1])
LATITUDE = np.array([10.0, 11.0, 40.0, 41.0, 80.0])
LONGITUDE = np.array([10.0, 12.0, 5.0, 6.0, 80.0])
REFERENCES = refine.References.of([VECTORS], LABELS, LATITUDE, LONGITUDE, n_classes=3)


def test_unit_rows_give_every_block_the_same_say():
    rows = refine.unit_rows([np.array([[300.0, 400.0]]), np.array([[0.0, 0.01, 0.0]])])
    np.testing.assert_allclose(rows[0], np.array([0.6, 0.8, 0, 1, 0]) / 2**0.5, rtol=1e-6)
    assert refine.unit_rows([np.zeros((0, 2)), np.zeros((0, 3))]).shape == (0, 5)


@pytest.mark.parametrize(
    ("vector", "point", "answer"),
    [
        ([0.9, 0.12], [10.5, 11.0], [11.0, 12.0]),
        ([1.0, 0.0], [10.5, 11.0], [10.0, 10.0]),
        ([1.0, 0.0], [10.0, 19.0], [10.0, 10.0]),  # 985 km away
        ([1.0, 0.0], [10.0, 19.5], [10.0, 19.5]),  # 1,040 km away: too far to be believed
    ],
)
def test_the_nearest_photo_answers_unless_it_is_too_far_away(vector, point, answer):
    points = refine.refine_within([np.array([vector], np.float16)], np.array([0]), np.array([point]), REFERENCES)
    assert points.tolist() == [answer]


def test_within_one_region_the_nearest_photo_answers_however_near_another_region_is():
    blocks = [np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]], np.float16)]
    points = refine.refine_within(
        blocks, np.array([0, 1, 2]), np.array([[11.0, 11.0], [36.0, 5.0], [1.0, 2.0]]), REFERENCES
    )
    assert points.tolist() == [[11.0, 12.0], [40.0, 5.0], [1.0, 2.0]]  # region 2 has no photo and keeps its point


def test_some_photos_of_each_class_are_kept():
    labels = np.random.default_rng(1).permutation(np.repeat([-1, 0, 1, 2], [40, 500, refine.REFERENCES_PER_CLASS, 3]))
    rows = refine.choose_references(labels)
    assert refine.REFERENCES_PER_CLASS == 50
    assert np.bincount(labels[rows]).tolist() == [50, 50, 3]
    assert (np.diff(rows) > 0).all()
    assert np.array_equal(rows, refine.choose_references(labels))
    assert not np.array_equal(rows, refine.choose_references(labels, seed=1))
    # A draw, not the first rows.
    assert rows[labels[rows] == 0].mean() == pytest.approx(np.flatnonzero(labels == 0).mean(), rel=0.2)
    assert refine.choose_references(np.array([-1, -1])).tolist() == []


def test_kept_photos_are_read_back_or_refused(tmp_path):
    sha256 = REFERENCES.save(tmp_path)
    found = refine.References.load(tmp_path, sha256)
    assert np.array_equal(found.vectors.numpy(), REFERENCES.vectors.numpy())
    for name in ("latitude", "longitude", "starts"):
        assert np.array_equal(getattr(found, name), getattr(REFERENCES, name))
    file = tmp_path / refine.REFERENCES_FILE
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="not the file that"):
        refine.References.load(tmp_path, sha256)
    file.unlink()
    with pytest.raises(CheckpointError, match="train the head again"):
        refine.References.load(tmp_path, sha256)

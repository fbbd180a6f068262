"""Refinement answers with the nearest photo of a likely region, and never runs away."""

import numpy as np
import pytest

from geoloc_core.errors import CheckpointError, InputError
from geoloc_core.learning.refine import (
    REFERENCES_FILE,
    REFERENCES_PER_CLASS,
    References,
    Refinement,
    choose_references,
    refine_points,
    refine_within,
    unit_rows,
)

#                     region 0          region 1              region 2 has no photo
VECTORS = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.7, 0.7], [-1, 0]], dtype=np.float16)
LABELS = np.array([0, 0, 1, 1, -1])
LATITUDE = np.array([10.0, 11.0, 40.0, 41.0, 80.0])
LONGITUDE = np.array([10.0, 12.0, 5.0, 6.0, 80.0])
REFERENCES = References.of([VECTORS], LABELS, LATITUDE, LONGITUDE, n_classes=3)
NEAREST = Refinement(top_regions=3, neighbours=1)


def refine(vector, posterior, point, how=NEAREST):
    return refine_points([np.array([vector], np.float16)], np.array([posterior]), np.array([point]), REFERENCES, how)[0]


def test_the_answer_is_the_nearest_photo_not_the_farthest():
    np.testing.assert_allclose(refine([0.9, 0.12], [0.9, 0.1, 0.0], [10.5, 11.0]), [11.0, 12.0])
    np.testing.assert_allclose(refine([1.0, 0.0], [0.9, 0.1, 0.0], [10.5, 11.0]), [10.0, 10.0])


def test_similarity_can_overrule_a_slightly_likelier_region():
    np.testing.assert_allclose(refine([0.0, 1.0], [0.5, 0.4, 0.1], [36.0, 5.0]), [40.0, 5.0])
    np.testing.assert_allclose(refine([0.0, 1.0], [0.5, 0.4, 0.1], [36.0, 5.0], Refinement(1, 1)), [36.0, 5.0])


def test_the_score_by_hand():
    """p exp((c - 1) / width): region 1 wins exactly when its probability passes that of region 0 times the ratio."""
    query = np.array([1.0, 0.55])
    unit = query / np.linalg.norm(query)
    cosine = [max(unit @ (v / np.linalg.norm(v)) for v in VECTORS[rows].astype(float)) for rows in ([0, 1], [2, 3])]
    ratio = np.exp((cosine[0] - cosine[1]) / 0.1)
    for factor, expected in ((0.97, 0), (1.03, 1)):
        p = np.array([1.0, ratio * factor, 0.0])
        answer = refine(query, p / p.sum(), [25.0, 8.0], Refinement(3, 1, 0.1, 1e6))
        assert answer[0] == (LATITUDE[1] if expected == 0 else LATITUDE[3])


def test_a_point_does_not_move_farther_than_allowed():
    far = [-40.0, 150.0]
    np.testing.assert_allclose(refine([1.0, 0.0], [0.9, 0.1, 0.0], far), far)
    np.testing.assert_allclose(refine([1.0, 0.0], [0.9, 0.1, 0.0], far, Refinement(3, 1, 0.1, 1e5)), [10.0, 10.0])


def test_a_region_without_photos_keeps_its_point():
    np.testing.assert_allclose(refine([1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 2.0], Refinement(1, 1)), [1.0, 2.0])


def test_several_photos_speak_for_a_region():
    # One photo of region 1 is as near as can be; on average over two, region 0 is nearer.
    blocks = [np.array([[1, 0], [0.98, 0.2], [0.99, 0.14], [-1, 0]], np.float16)]
    references = References.of(blocks, np.array([0, 0, 1, 1]), np.zeros(4), np.arange(4.0), 2)
    query = [np.array([[0.99, 0.14]], np.float16)]
    answers = [
        refine_points(query, np.array([[0.5, 0.5]]), np.zeros((1, 2)), references, Refinement(2, k))[0, 1]
        for k in (1, 2)
    ]
    assert answers[0] == 2.0
    assert answers[1] in (0.0, 1.0)


def test_unit_rows_give_every_block_the_same_say():
    rows = unit_rows([np.array([[300.0, 400.0]]), np.array([[0.0, 0.01, 0.0]])])
    np.testing.assert_allclose(rows[0], np.array([0.6, 0.8, 0, 1, 0]) / 2**0.5, rtol=1e-6)
    assert unit_rows([np.zeros((0, 2)), np.zeros((0, 3))]).shape == (0, 5)


def test_refusal():
    with pytest.raises(InputError, match="has 2 classes, the reference photos 3"):
        refine([1.0, 0.0], [0.5, 0.5], [0.0, 0.0])


def test_within_one_region_the_nearest_photo_answers_however_near_another_region_is():
    blocks = [np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]], np.float16)]
    points = refine_within(blocks, np.array([0, 1, 2]), np.array([[11.0, 11.0], [36.0, 5.0], [1.0, 2.0]]), REFERENCES)
    assert points.tolist() == [[11.0, 12.0], [40.0, 5.0], [1.0, 2.0]]  # region 2 has no photo and keeps its point


def test_some_photos_of_each_class_are_kept():
    labels = np.random.default_rng(1).permutation(np.repeat([-1, 0, 1, 2], [40, 500, REFERENCES_PER_CLASS, 3]))
    rows = choose_references(labels)
    assert REFERENCES_PER_CLASS == 50
    assert np.bincount(labels[rows]).tolist() == [50, 50, 3]
    assert (np.diff(rows) > 0).all()
    assert np.array_equal(rows, choose_references(labels))
    assert not np.array_equal(rows, choose_references(labels, seed=1))
    # A draw, not the first rows.
    assert rows[labels[rows] == 0].mean() == pytest.approx(np.flatnonzero(labels == 0).mean(), rel=0.2)
    assert choose_references(np.array([-1, -1])).tolist() == []


def test_kept_photos_are_read_back_or_refused(tmp_path):
    sha256 = REFERENCES.save(tmp_path)
    found = References.load(tmp_path, sha256)
    assert np.array_equal(found.vectors.numpy(), REFERENCES.vectors.numpy())
    for name in ("labels", "latitude", "longitude", "starts"):
        assert np.array_equal(getattr(found, name), getattr(REFERENCES, name))
    file = tmp_path / REFERENCES_FILE
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="not the file that"):
        References.load(tmp_path, sha256)
    file.unlink()
    with pytest.raises(CheckpointError, match="train the head again"):
        References.load(tmp_path, sha256)

"""What a head answers: the two levels agree, the point is the region's."""

import numpy as np
import pandas as pd
import pytest
import torch

from geoloc_core.answering import anchor_points, answer, best_child, parent_positions
from geoloc_core.errors import StaleArtifactError
from geoloc_core.learning.heads import HeadSpec
from geoloc_core.learning.posterior import Head

ANCHORS = pd.DataFrame(
    {
        "region_id": ["AAA", "BBB", "AAA-1", "AAA-2", "BBB-1", "AAA"],
        "kind": ["centroid"] * 5 + ["medoid"],
        "latitude": [1.0, 2.0, 11.0, 12.0, 13.0, 5.0],
        "longitude": [-1.0, -2.0, -11.0, -12.0, -13.0, -5.0],
    }
)
BY_LEVEL = {"country": ANCHORS, "subdivision": ANCHORS}


def head(level: str, classes: list[str], parents: list[str], logits: list[float]) -> Head:
    """A linear head whose logits do not depend on its input."""
    state = {
        "bodies.0.weight": torch.zeros(len(classes), 2),
        "bodies.0.bias": torch.tensor(logits, dtype=torch.float32),
    }
    return Head(HeadSpec("linear"), (2,), state, level, classes, parents, np.ones(len(classes), dtype=np.int64))


def test_a_head_of_countries_answers_with_the_countrys_anchor() -> None:
    answers = answer(
        head("country", ["AAA", "BBB"], ["AAA", "BBB"], [0.0, 1.0]), [np.zeros((3, 2))], BY_LEVEL, "centroid"
    )
    assert answers.countries == ["AAA", "BBB"]
    assert answers.country_posterior[0] == pytest.approx([1 / (1 + np.e), np.e / (1 + np.e)])
    assert answers.points.tolist() == [[2.0, -2.0]] * 3
    assert answers.subdivision_ids is None


def test_the_subdivision_is_of_the_answered_country_even_when_another_is_more_probable() -> None:
    # AAA has 0.3 + 0.3, BBB's one sub-division has 0.4: the most probable sub-division lies in the wrong country.
    logits = list(np.log([0.3, 0.3001, 0.3999]))
    finer = head("hierarchical", ["AAA-1", "AAA-2", "BBB-1"], ["AAA", "AAA", "BBB"], logits)
    answers = answer(finer, [np.zeros((1, 2))], BY_LEVEL, "centroid")
    assert answers.country_posterior[0] == pytest.approx([0.6001, 0.3999], abs=1e-6)
    assert answers.subdivision_ids is not None
    assert answers.subdivision_ids.tolist() == ["AAA-2"]
    assert answers.subdivision_probability == pytest.approx([0.3001], abs=1e-6)
    assert answers.points.tolist() == [[12.0, -12.0]]


def test_best_child_and_parent_positions() -> None:
    assert parent_positions(["A", "B", "Z"], ["A", "B"]).tolist() == [0, 1, -1]
    best, probability = best_child(np.array([[0.1, 0.2, 0.7]]), np.array([0, 0, 1]), np.array([0]))
    assert best.tolist() == [1]
    assert probability.tolist() == [0.2]


def test_an_anchor_of_the_wanted_kind_or_the_centroid_or_an_error() -> None:
    assert anchor_points(ANCHORS, ["BBB", "AAA"], "medoid").tolist() == [[2.0, -2.0], [5.0, -5.0]]
    with pytest.raises(StaleArtifactError, match="no anchor for CCC"):
        anchor_points(ANCHORS, ["AAA", "CCC"], "centroid")

"""What a head answers: the two levels agree, the point is the region's or the posterior's, and it says how sure it is."""

import numpy as np
import pandas as pd
import pytest
import torch

from geoloc_core.answers import answer
from geoloc_core.answers.answer import Answerer, Places, anchor_points, best_child, parent_positions, share_out
from geoloc_core.answers.decide import RULES
from geoloc_core.errors import StaleArtifactError
from geoloc_core.geography.anchors import ANCHOR_KINDS
from geoloc_core.geography.distance import haversine_km
from geoloc_core.learning.posterior import Head
from geoloc_core.learning.recipes import HeadSpec
from geoloc_core.learning.refine import References
from geoloc_core.line.profile import ANSWERS, NEAREST_ANSWER

ANCHORS = pd.DataFrame(
    {
        "region_id": ["AAA", "BBB", "AAA-1", "AAA-2", "BBB-1", "AAA"],
        "kind": ["centroid"] * 5 + ["medoid"],
        "latitude": [1.0, 2.0, 11.0, 12.0, 13.0, 5.0],
        "longitude": [-1.0, -2.0, -11.0, -12.0, -13.0, -5.0],
    }
)
CELLS = pd.DataFrame(
    {
        "region_id": ["AAA", "BBB", "AAA-1", "AAA-2", "BBB-1"],
        "latitude": [1.0, 2.0, 11.0, 12.0, 13.0],
        "longitude": [-1.0, -2.0, -11.0, -12.0, -13.0],
        "photos": [3, 3, 1, 2, 3],
    }
)
BY_LEVEL = {"country": Places(ANCHORS, CELLS), "subdivision": Places(ANCHORS, CELLS)}


def head(level: str, classes: list[str], parents: list[str], logits: list[float], **calibration: float) -> Head:
    """A linear head whose logits do not depend on its input."""
    state = {
        "bodies.0.weight": torch.zeros(len(classes), 2),
        "bodies.0.bias": torch.tensor(logits, dtype=torch.float32),
    }
    return Head(
        HeadSpec("linear"),
        (2,),
        state,
        level,
        classes,
        parents,
        np.ones(len(classes), dtype=np.int64),
        calibration=calibration,
    )


COUNTRIES = ["AAA", "BBB"]
FINER = (["AAA-1", "AAA-2", "BBB-1"], ["AAA", "AAA", "BBB"])


def test_a_profile_may_name_every_anchor_and_every_rule() -> None:
    assert set(ANSWERS) == {*ANCHOR_KINDS, *RULES, NEAREST_ANSWER} - {"anchor"}


def test_a_head_of_countries_answers_with_the_countrys_anchor() -> None:
    answers = Answerer(head("country", COUNTRIES, COUNTRIES, [0.0, 1.0]), BY_LEVEL, "centroid").answers(
        [np.zeros((3, 2))]
    )
    assert answers.countries == ["AAA", "BBB"]
    assert answers.country_posterior[0] == pytest.approx([1 / (1 + np.e), np.e / (1 + np.e)])
    assert answers.points.tolist() == [[2.0, -2.0]] * 3
    assert answers.subdivision_ids is None


def test_the_subdivision_is_of_the_answered_country_even_when_another_is_more_probable() -> None:
    # AAA has 0.3 + 0.3, BBB's one sub-division has 0.4: the most probable sub-division lies in the wrong country.
    finer = head("hierarchical", *FINER, list(np.log([0.3, 0.3001, 0.3999])))
    answers = Answerer(finer, BY_LEVEL, "centroid").answers([np.zeros((1, 2))])
    assert answers.country_posterior[0] == pytest.approx([0.6001, 0.3999], abs=1e-6)
    assert answers.subdivision_ids is not None
    assert answers.subdivision_ids.tolist() == ["AAA-2"]
    assert answers.subdivision_probability == pytest.approx([0.3001], abs=1e-6)
    assert answers.points.tolist() == [[12.0, -12.0]]


def test_the_sets_and_sure_follow_the_heads_own_thresholds() -> None:
    logits = list(np.log([0.7, 0.3]))
    promises = {"set_threshold": 0.29, "sure_threshold": 0.69, "sure_max_risk": 0.1, "n_calibration": 50}
    told = Answerer(head("country", COUNTRIES, COUNTRIES, logits, **promises), BY_LEVEL, "medoid")
    answers = told.answers([np.zeros((1, 2))])
    assert answers.country_sets.tolist() == [[True, True]]
    assert answers.sure.tolist() == [True]
    stricter = {**promises, "set_threshold": 0.31, "sure_threshold": 0.71}
    answers = Answerer(head("country", COUNTRIES, COUNTRIES, logits, **stricter), BY_LEVEL, "medoid").answers(
        [np.zeros((1, 2))]
    )
    assert answers.country_sets.tolist() == [[True, False]]
    assert answers.sure.tolist() == [False]
    never = Answerer(head("country", COUNTRIES, COUNTRIES, logits), BY_LEVEL, "medoid").answers([np.zeros((1, 2))])
    assert never.country_sets.all()
    assert not never.sure.any()


@pytest.mark.parametrize("rule", ["expected_distance", "expected_geoscore"])
def test_a_rule_answers_from_the_whole_posterior(rule: str) -> None:
    """40 % of A, and 30 % each of two neighbours far from it: the best point lies with the two."""
    names = ["AAA", "BBB", "CCC"]
    places = pd.DataFrame({"region_id": names, "latitude": [0.0, 50.0, 51.0], "longitude": [0.0, 100.0, 100.0]})
    by_level = {"country": Places(places.assign(kind="centroid"), places.assign(photos=1))}
    three = head("country", names, names, list(np.log([0.4, 0.3, 0.3])))
    at_anchor = Answerer(three, by_level, "centroid").answers([np.zeros((1, 2))])
    assert at_anchor.points.tolist() == [[0.0, 0.0]]
    best = Answerer(three, by_level, rule).answers([np.zeros((1, 2))])
    assert best.country_posterior.argmax() == 0
    assert haversine_km(best.points[0, 0], best.points[0, 1], 50.5, 100.0) < 60


def test_a_companion_divides_each_countrys_probability_as_it_sees_fit() -> None:
    countries = head("country", COUNTRIES, COUNTRIES, list(np.log([0.8, 0.2])))
    companion = head("hierarchical", *FINER, list(np.log([0.1, 0.3, 0.6])))
    told = Answerer(countries, BY_LEVEL, "centroid", companion)
    answers = told.answers([np.zeros((2, 2))], [np.zeros((2, 2))])
    assert answers.subdivision_ids is not None
    assert answers.subdivision_ids.tolist() == ["AAA-2"] * 2
    assert answers.subdivision_probability == pytest.approx([0.6, 0.6], abs=1e-6)
    assert answers.points.tolist() == [[12.0, -12.0]] * 2
    posterior = share_out(np.array([[0.8, 0.2]]), np.array([[0.1, 0.3, 0.6]]), np.array([0, 0, 1]))
    assert posterior[0] == pytest.approx([0.2, 0.6, 0.2])


def test_a_country_that_the_companion_does_not_know_answers_for_itself() -> None:
    countries = head("country", COUNTRIES, COUNTRIES, list(np.log([0.8, 0.2])))
    companion = head("hierarchical", ["BBB-1"], ["BBB"], [0.0])
    answers = Answerer(countries, BY_LEVEL, "medoid", companion).answers([np.zeros((1, 2))], [np.zeros((1, 2))])
    assert answers.subdivision_ids is not None
    assert answers.subdivision_ids.tolist() == [""]
    assert answers.points.tolist() == [[5.0, -5.0]]


def test_many_photos_are_answered_some_at_a_time_and_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    finer = head("hierarchical", *FINER, [0.0, 0.0, 0.0])
    finer.state["bodies.0.weight"] = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    vectors = np.random.default_rng(0).normal(size=(10, 2)).astype(np.float32)
    whole = Answerer(finer, BY_LEVEL, "centroid").answers([vectors])
    monkeypatch.setattr(answer, "PHOTOS_AT_ONCE", 3)
    parts = Answerer(finer, BY_LEVEL, "centroid").answers([vectors])
    assert whole.subdivision_ids is not None
    assert parts.subdivision_ids is not None
    assert parts.subdivision_ids.tolist() == whole.subdivision_ids.tolist()
    np.testing.assert_allclose(parts.country_posterior, whole.country_posterior, rtol=1e-6)
    np.testing.assert_array_equal(parts.points, whole.points)
    np.testing.assert_allclose(parts.uncalibrated[1], whole.uncalibrated[1], rtol=1e-6)


def test_best_child_and_parent_positions() -> None:
    assert parent_positions(["A", "B", "Z"], ["A", "B"]).tolist() == [0, 1, -1]
    best, probability = best_child(np.array([[0.1, 0.2, 0.7]]), np.array([0, 0, 1]), np.array([0]))
    assert best.tolist() == [1]
    assert probability.tolist() == [0.2]


def test_an_anchor_of_the_wanted_kind_or_the_centroid_or_an_error() -> None:
    assert anchor_points(ANCHORS, ["BBB", "AAA"], "medoid").tolist() == [[2.0, -2.0], [5.0, -5.0]]
    with pytest.raises(StaleArtifactError, match="no anchor for CCC"):
        anchor_points(ANCHORS, ["AAA", "CCC"], "centroid")


def test_the_nearest_photo_of_the_answered_region_gives_the_point() -> None:
    finer = head("hierarchical", *FINER, list(np.log([0.3, 0.3001, 0.3999])))
    # AAA-2 is answered: its photos are at 12.5 and 16 degrees; one of AAA-1 looks more alike than both.
    photos = [np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [1.0, 0.1]], np.float16)]
    labels, latitude = np.array([0, 1, 1, 2]), np.array([11.5, 12.5, 16.0, 13.5])
    references = References.of(photos, labels, latitude, -latitude, 3)
    vectors = [np.array([[1.0, 0.0], [0.1, 1.0]], np.float16)]
    told = Answerer(finer, BY_LEVEL, NEAREST_ANSWER, references=references).answers(vectors)
    assert told.subdivision_ids is not None
    assert told.subdivision_ids.tolist() == ["AAA-2", "AAA-2"]
    assert told.points.tolist() == [[12.5, -12.5], [16.0, -16.0]]
    # A photo that lies farther away than a refinement may move the point is not believed.
    latitude = np.array([11.5, 60.0, 70.0, 13.5])
    far = References.of(photos, labels, latitude, -latitude, 3)
    told = Answerer(finer, BY_LEVEL, NEAREST_ANSWER, references=far).answers(vectors)
    assert told.points.tolist() == [[12.0, -12.0]] * 2

    countries = head("country", COUNTRIES, COUNTRIES, [1.0, 0.0])
    companion = Answerer(countries, BY_LEVEL, NEAREST_ANSWER, finer, references)
    assert companion.answers([np.zeros((2, 2), np.float16)], vectors).points.tolist() == [[12.5, -12.5], [16.0, -16.0]]
    with pytest.raises(StaleArtifactError, match="keeps no photos"):
        Answerer(finer, BY_LEVEL, NEAREST_ANSWER).answers(vectors)

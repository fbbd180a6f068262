"""Promises held against photos whose posterior is known."""

import numpy as np
import pytest

from geoloc_core.answers.answer import Answers
from geoloc_core.errors import InputError
from geoloc_core.evaluation.certainty import Certainty, certainty, share_over_authors
from geoloc_core.learning.calibrate import set_threshold, sure_threshold, top_confidence
from geoloc_core.learning.posterior import Head
from geoloc_core.learning.recipes import HeadSpec

COUNTRIES = ["AAA", "BBB", "CCC", "DDD"]


def simulated(n_authors, rng, photos_per_author=4):
    """Posteriors (n, 4) that are true: the truth of each photo is drawn from its own."""
    n = n_authors * photos_per_author
    logits = 2.0 * rng.normal(size=(n, 4))
    posterior = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (rng.random(n)[:, None] > posterior.cumsum(axis=1)).sum(axis=1)
    return posterior, truth, np.repeat([f"a{i}" for i in range(n_authors)], photos_per_author)


def a_head(**calibration):
    """A head of these countries that carries promises."""
    spec = HeadSpec("linear")
    counts = np.ones(4, dtype=np.int64)
    return Head(spec, (1,), {}, "country", COUNTRIES, COUNTRIES, counts, calibration=calibration, temperature=2.0)


def answers_of(head, posterior, uncalibrated):
    n = len(posterior)
    return Answers(
        COUNTRIES,
        posterior,
        np.zeros((n, 2)),
        head.country_sets(posterior),
        head.sure(posterior),
        None,
        None,
        uncalibrated,
    )


def test_promises_fitted_on_some_authors_are_kept_on_others():
    rng = np.random.default_rng(3)
    posterior, truth, authors = simulated(2_000, rng)
    at_truth = posterior[np.arange(len(truth)), truth]
    head = a_head(
        set_threshold=set_threshold(at_truth, authors, 0.9),
        set_coverage=0.9,
        sure_threshold=sure_threshold(*top_confidence(posterior, truth), 0.2),
        sure_max_risk=0.2,
        n_calibration=len(truth),
        stopping_source="held-out training authors",
    )
    fresh, fresh_truth, fresh_authors = simulated(2_000, rng)
    sharp = fresh**2 / (fresh**2).sum(axis=1, keepdims=True)  # what an overconfident head would have said
    names = np.array(COUNTRIES, dtype=object)[fresh_truth]
    uncalibrated = (sharp.argmax(axis=1), sharp.max(axis=1))
    given = np.ones(len(names), bool)
    kept = certainty(head, answers_of(head, fresh, uncalibrated), names, fresh_authors, given)
    assert kept.set_kept.value == pytest.approx(0.9, abs=0.02)
    assert kept.set_kept.low < kept.set_kept.value < kept.set_kept.high
    assert 1.0 < kept.set_size < 3.0
    assert kept.sure_wrong is not None
    assert 0.15 < kept.sure_wrong <= 0.22
    assert 0.2 < kept.sure_share < 0.95
    assert kept.ece < 0.02 < 0.08 < kept.ece_before
    assert (kept.fitted_on, kept.fitted_photos, kept.temperature) == ("held-out training authors", 8_000, 2.0)
    assert Certainty.from_json(kept.to_json()) == kept


def test_a_truth_that_is_no_class_is_in_no_set_and_a_photo_without_answer_does_not_count():
    head = a_head(set_threshold=0.0, sure_threshold=0.5, sure_max_risk=0.2)
    posterior = np.tile([0.7, 0.1, 0.1, 0.1], (4, 1))
    uncalibrated = (np.zeros(4, dtype=int), np.full(4, 0.9))
    names = np.array(["AAA", "ZZZ", "", "AAA"], dtype=object)
    answers = answers_of(head, posterior, uncalibrated)
    kept = certainty(head, answers, names, np.array(list("abcd"), dtype=object), np.array([True, True, True, False]))
    assert kept.photos == 3
    assert kept.set_kept.value == pytest.approx(1 / 3)
    assert kept.set_size == 4.0
    assert kept.sure_wrong == pytest.approx(2 / 3)
    with pytest.raises(InputError, match="no answered photo"):
        certainty(head, answers, names, names, np.zeros(4, bool))


def test_a_share_varies_with_the_authors_not_with_their_photos():
    held = np.repeat([True, False], 500)
    of_two = share_over_authors(held, np.repeat(["a", "b"], 500))
    of_many = share_over_authors(held, np.arange(1000).astype(str))
    assert of_two.value == of_many.value == 0.5
    assert (of_two.low, of_two.high) == (0.0, 1.0)
    assert of_many.high - of_many.low == pytest.approx(4 * 0.5 / 1000**0.5, rel=0.15)

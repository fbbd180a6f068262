"""Prediction sets and abstention keep their promises on authors they have not seen."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from geoloc_core.learning import calibrate

N_CLASSES = 40


def authors_photos(n_authors, seed, overconfidence=1.0):
    """Posteriors over 40 countries of authors with 1 to 60 photos, a home country each and a difficulty of their own.

    Labels are drawn from the true posterior; the one that is returned has its logits stretched by `overconfidence`.
    """
    rng = np.random.default_rng(seed)
    photos_of = np.minimum(rng.geometric(0.15, n_authors) ** 1.5, 60).astype(int)
    author = np.repeat(np.arange(n_authors), photos_of)
    prior = np.log(1.0 / np.arange(1, N_CLASSES + 1))
    home = rng.choice(N_CLASSES, n_authors, p=np.exp(prior) / np.exp(prior).sum())
    sharpness = rng.gamma(2.0, 2.0, n_authors)
    logits = prior + rng.normal(size=(len(author), N_CLASSES)) * 1.5
    logits[np.arange(len(author)), home[author]] += sharpness[author]
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (true.cumsum(axis=1) > rng.random((len(author), 1))).argmax(axis=1)
    claimed = np.exp(overconfidence * logits)
    return claimed / claimed.sum(axis=1, keepdims=True), labels, author


def truth_probability(posterior, labels):
    return posterior[np.arange(len(labels)), labels]


@pytest.mark.parametrize("overconfidence", [0.5, 1.0, 2.0])
def test_sets_hold_the_truth_nine_times_in_ten_for_fresh_authors(overconfidence):
    posterior, labels, author = authors_photos(1500, seed=1, overconfidence=overconfidence)
    threshold = calibrate.set_threshold(truth_probability(posterior, labels), author, coverage=0.9)
    fresh, truth, whose = authors_photos(3000, seed=2, overconfidence=overconfidence)
    sets = calibrate.prediction_sets(fresh, threshold)
    held = sets[np.arange(len(truth)), truth]
    of_author = np.bincount(whose, held) / np.bincount(whose)
    assert of_author.mean() == pytest.approx(0.9, abs=0.02)
    assert held.mean() == pytest.approx(0.9, abs=0.02)
    assert sets.sum(axis=1).mean() < 0.6 * N_CLASSES
    assert sets.any(axis=1).all()


def test_few_authors_never_promise_too_much():
    covered = []
    for seed in range(60):
        posterior, labels, author = authors_photos(25, seed=1000 + seed)
        threshold = calibrate.set_threshold(truth_probability(posterior, labels), author, coverage=0.9)
        fresh, truth, whose = authors_photos(200, seed=5000 + seed)
        held = calibrate.prediction_sets(fresh, threshold)[np.arange(len(truth)), truth]
        covered.append((np.bincount(whose, held) / np.bincount(whose)).mean())
    assert np.mean(covered) >= 0.895
    assert np.mean(covered) < 0.96


def test_threshold_by_hand():
    p_truth = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    # Ten authors with the unseen one: nine photos reach 0.9 exactly; eight reach 0.8.
    assert calibrate.set_threshold(p_truth, coverage=0.9) == 0.1
    assert calibrate.set_threshold(p_truth, coverage=0.8) == 0.2
    assert calibrate.set_threshold(p_truth, coverage=0.95) == 0.0
    assert calibrate.set_threshold(np.array([]), coverage=0.9) == 0.0


def test_an_author_weighs_the_same_with_one_photo_or_a_hundred():
    once = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    often = np.concatenate([once, np.full(99, 0.1)])
    author = np.concatenate([np.arange(9), np.full(99, 8)]).astype(str)
    assert calibrate.set_threshold(often, author, coverage=0.8) == 0.2


def test_a_set_is_never_empty_and_never_above_the_threshold():
    posterior = np.array([[0.5, 0.3, 0.2], [0.34, 0.33, 0.33]])
    np.testing.assert_array_equal(calibrate.prediction_sets(posterior, 0.3), [[True, True, False], [True, True, True]])
    np.testing.assert_array_equal(calibrate.prediction_sets(posterior, 0.9), [[True, False, False]] * 2)


def test_risk_and_coverage_by_hand():
    confidence = np.array([0.9, 0.5, 0.9, 0.2])
    correct = np.array([True, False, False, True])
    curve = calibrate.risk_coverage(confidence, correct)
    assert curve["threshold"].tolist() == [0.9, 0.5, 0.2]
    assert curve["coverage"].tolist() == [0.5, 0.75, 1.0]
    assert curve["risk"].tolist() == pytest.approx([1 / 2, 2 / 3, 2 / 4])
    assert calibrate.area_under_risk(confidence, correct) == pytest.approx(0.5 / 2 + 0.25 * 2 / 3 + 0.25 / 2)


def test_sure_means_at_most_one_in_five_wrong():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0, 1, 20_000)
    correct = rng.random(20_000) < confidence
    threshold = calibrate.sure_threshold(confidence, correct, max_risk=0.2)
    # Above t the mean confidence is (1 + t) / 2, so risk 0.2 is reached at t = 0.6; the bound asks for a little more.
    assert threshold == pytest.approx(0.6, abs=0.03)
    fresh = rng.uniform(threshold, 1, 20_000)
    assert (rng.random(20_000) >= fresh).mean() <= 0.2


def test_never_sure_of_fewer_than_thirty_answers_or_of_wrong_ones():
    assert calibrate.sure_threshold(np.full(30, 0.9), np.ones(30, bool)) == 0.9
    assert calibrate.sure_threshold(np.full(29, 0.9), np.ones(29, bool)) == math.inf
    assert calibrate.sure_threshold(np.full(10, 0.99), np.full(10, True)) == math.inf
    assert calibrate.sure_threshold(np.full(100, 0.99), np.full(100, False)) == math.inf


@pytest.mark.parametrize("n", [60, 100, 400])
def test_the_promise_is_kept_with_95_percent_confidence_by_the_binomial_itself(n):
    """The most wrong answers that still allow "sure" are those that a risk of 20 % would show in at most 5 % of all draws."""
    allowed = max(wrong for wrong in range(n) if binom.cdf(wrong, n, 0.2) <= 0.05)
    for wrong, found in ((allowed, 0.7), (allowed + 1, np.inf)):
        correct = np.arange(n) >= wrong
        assert calibrate.sure_threshold(np.full(n, 0.7), correct, 0.2) == found

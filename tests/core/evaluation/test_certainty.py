"""Probabilities against what happened, what saying "not sure" gains, and promises against photos whose posterior is known."""

import numpy as np
import pandas as pd
import pytest

from geoloc_core.errors import InputError
from geoloc_core.evaluation.certainty import (
    Certainty,
    area_under_risk,
    calibration,
    certainty,
    coverage_curve,
    share_over_authors,
    threshold_for,
)
from geoloc_core.evaluation.predictions import predictions_frame
from geoloc_core.learning.calibrate import set_threshold, sure_threshold, top_confidence
from geoloc_core.learning.posterior import Head
from geoloc_core.learning.recipes import HeadSpec

CLASSES = ["A", "B", "C"]
COUNTRIES = ["AAA", "BBB", "CCC", "DDD"]


def predictions(posterior, truth, status=None) -> pd.DataFrame:
    names = [f"{number:05d}" for number in range(len(truth))]
    photos = pd.DataFrame({"photo_id": names, "author_id": "", "latitude": 0.0, "longitude": 0.0, "country_id": truth})
    points = np.zeros((len(truth), 2))
    return predictions_frame(photos, np.asarray(posterior), CLASSES, points, continents={}, status=status)


def simulated(n: int = 6000, sharpen: float = 1.0, seed: int = 0) -> pd.DataFrame:
    """Truths drawn from the posterior itself, which is then sharpened: 1 is calibrated, above it too sure."""
    chance = np.random.default_rng(seed)
    posterior = chance.dirichlet([1.0, 1.0, 1.0], size=n)
    truth = np.array(CLASSES, dtype=object)[(posterior.cumsum(axis=1) < chance.uniform(size=(n, 1))).sum(axis=1)]
    sharpened = posterior**sharpen
    return predictions(sharpened / sharpened.sum(axis=1, keepdims=True), truth)


NOBODY = predictions([[1.0, 0.0, 0.0]], ["A"], ["undecodable"])


def test_calibration_by_hand():
    frame = predictions(
        [[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.5, 0.25, 0.25], [0.9, 0.05, 0.05], [1.0, 0.0, 0.0]],
        ["A", "B", "Z", "A", "A"],
        ["ok", "ok", "ok", "ok", "undecodable"],
    )
    result = calibration(frame, n_bins=2)
    assert result.n == 4
    assert result.accuracy == 0.5
    assert result.confidence == pytest.approx((0.8 + 0.6 + 0.5 + 0.9) / 4)
    # Bins (0, 0.5] and (0.5, 1]: the photo of the country never seen is promised 0.5 and kept 0; the others 2.3 and 2 of 3.
    assert result.ece == pytest.approx((1 * 0.5 + 3 * abs(2.3 / 3 - 2 / 3)) / 4)
    of_each = [0.04 + 0.01 + 0.01, 0.36 + 0.49 + 0.01, 0.25 + 0.0625 * 2 + 1.0, 0.01 + 0.0025 * 2]
    assert result.brier == pytest.approx(np.mean(of_each), rel=1e-6)
    assert result.log_loss == pytest.approx(-np.log([0.8, 0.3, 0.9]).mean(), rel=1e-6)
    nothing = calibration(NOBODY)
    assert nothing.n == 0
    assert np.isnan([nothing.ece, nothing.brier, nothing.accuracy, nothing.log_loss]).all()


def test_a_model_that_is_too_sure_is_found_out():
    honest, boastful = calibration(simulated()), calibration(simulated(sharpen=3.0))
    assert len(honest.table) == 15
    assert honest.ece < 0.03 < boastful.ece
    assert boastful.confidence > boastful.accuracy + 0.1
    assert boastful.brier > honest.brier
    assert boastful.log_loss > honest.log_loss


def test_risk_and_coverage_by_hand():
    frame = predictions(
        [[0.9, 0.1, 0.0], [0.7, 0.2, 0.1], [0.7, 0.3, 0.0], [0.5, 0.3, 0.2], [1.0, 0.0, 0.0]],
        ["A", "A", "B", "B", "A"],
        ["ok", "ok", "ok", "ok", "undecodable"],
    )
    curve = coverage_curve(frame)
    assert curve["threshold"].to_numpy() == pytest.approx([0.9, 0.7, 0.5])  # equal probabilities are one step
    assert curve["coverage"].tolist() == pytest.approx([20.0, 60.0, 80.0])  # the missing photo is never covered
    assert curve["accuracy"].tolist() == pytest.approx([100.0, 100 * 2 / 3, 50.0])
    # Of the four that are answered: risk 0 over a quarter, a third over a half, a half over a quarter.
    assert area_under_risk(frame) == pytest.approx(100 * (0.25 * 0 + 0.5 / 3 + 0.25 * 0.5))
    assert coverage_curve(NOBODY).empty
    assert np.isnan(area_under_risk(NOBODY))


def test_the_threshold_keeps_its_promise_and_answers_as_many_as_it_can():
    frame = simulated()
    result = threshold_for(frame, 80.0)
    covered = frame[frame["probability"].astype(float) >= result.threshold]
    assert result.coverage == pytest.approx(100 * len(covered) / len(frame))
    assert result.accuracy == pytest.approx(100 * (covered["rank"] == 1).mean())
    assert 80.0 <= result.accuracy <= 83.0  # the bound keeps a little distance from the target
    assert threshold_for(frame, 90.0).coverage < result.coverage
    for hopeless in (predictions([[0.5, 0.3, 0.2]] * 60, ["B"] * 60), NOBODY):
        result = threshold_for(hopeless, 90.0)
        assert (result.threshold, result.coverage) == (np.inf, 0.0)
        assert np.isnan(result.accuracy)


def drawn_from_themselves(n_authors, rng, photos_per_author=4):
    """Posteriors (n, 4) that are true: the truth of each photo is drawn from its own."""
    n = n_authors * photos_per_author
    logits = 2.0 * rng.normal(size=(n, 4))
    posterior = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (rng.random(n)[:, None] > posterior.cumsum(axis=1)).sum(axis=1)
    return posterior, truth, np.repeat([f"a{i}" for i in range(n_authors)], photos_per_author)


def head_that_promises(**promises):
    counts = np.ones(4, dtype=np.int64)
    return Head(HeadSpec("linear"), (1,), {}, "country", COUNTRIES, COUNTRIES, counts, calibration=promises)


def test_promises_fitted_on_some_authors_are_kept_on_others():
    rng = np.random.default_rng(3)
    posterior, truth, authors = drawn_from_themselves(2_000, rng)
    head = head_that_promises(
        set_threshold=set_threshold(posterior[np.arange(len(truth)), truth], authors, 0.9),
        set_coverage=0.9,
        sure_threshold=sure_threshold(*top_confidence(posterior, truth), 0.2),
        sure_max_risk=0.2,
        n_calibration=len(truth),
        stopping_source="held-out training authors",
    )
    fresh, fresh_truth, fresh_authors = drawn_from_themselves(2_000, rng)
    sharp = fresh**2 / (fresh**2).sum(axis=1, keepdims=True)  # what an overconfident head would have said
    names = np.array(COUNTRIES, dtype=object)[fresh_truth]
    uncalibrated = (sharp.argmax(axis=1), sharp.max(axis=1))
    result = certainty(head, fresh, uncalibrated, names, fresh_authors, np.ones(len(names), bool))
    assert result.set_kept.value == pytest.approx(0.9, abs=0.02)
    assert result.set_kept.low < result.set_kept.value < result.set_kept.high
    assert 1.0 < result.set_size < 3.0
    assert result.sure_wrong is not None
    assert 0.15 < result.sure_wrong <= 0.22
    assert 0.2 < result.sure_share < 0.95
    assert result.ece < 0.02 < 0.08 < result.ece_before
    assert (result.fitted_on, result.fitted_photos) == ("held-out training authors", 8_000)
    assert Certainty.model_validate(result.model_dump()) == result


def test_a_truth_that_is_no_class_is_in_no_set_and_a_photo_without_answer_does_not_count():
    head = head_that_promises(set_threshold=0.0, sure_threshold=0.5, sure_max_risk=0.2)
    posterior = np.tile([0.7, 0.1, 0.1, 0.1], (4, 1))
    uncalibrated = (np.zeros(4, dtype=int), np.full(4, 0.9))
    names, authors = np.array(["AAA", "ZZZ", "", "AAA"], dtype=object), np.array(list("abcd"), dtype=object)
    result = certainty(head, posterior, uncalibrated, names, authors, np.array([True, True, True, False]))
    assert (result.photos, result.set_size) == (3, 4.0)
    assert result.set_kept.value == pytest.approx(1 / 3)
    assert result.sure_wrong == pytest.approx(2 / 3)
    with pytest.raises(InputError, match="no answered photo"):
        certainty(head, posterior, uncalibrated, names, authors, np.zeros(4, bool))


def test_a_share_varies_with_the_authors_not_with_their_photos():
    holds = np.repeat([True, False], 500)
    of_two = share_over_authors(holds, np.repeat(["a", "b"], 500))
    of_many = share_over_authors(holds, np.arange(1000).astype(str))
    assert of_two.value == of_many.value == 0.5
    assert (of_two.low, of_two.high) == (0.0, 1.0)
    assert of_many.high - of_many.low == pytest.approx(4 * 0.5 / 1000**0.5, rel=0.15)

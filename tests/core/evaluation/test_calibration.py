"""Probabilities against what happened, and what saying "not sure" gains."""

import numpy as np
import pandas as pd
import pytest
from geoloc_core.evaluation.calibration import calibration
from geoloc_core.evaluation.selective import area_under_risk, coverage_curve, threshold_for

from geoloc_core.errors import InputError
from geoloc_core.evaluation.predictions import predictions_frame
from geoloc_core.learning.calibrate import brier_score, negative_log_likelihood

CLASSES = ["A", "B", "C"]


def made(posterior, truth, status=None) -> pd.DataFrame:
    n = len(truth)
    photos = pd.DataFrame(
        {
            "photo_id": [f"{i:05d}" for i in range(n)],
            "author_id": "",
            "latitude": 0.0,
            "longitude": 0.0,
            "country_id": truth,
        }
    )
    return predictions_frame(photos, np.asarray(posterior), CLASSES, np.zeros((n, 2)), continents={}, status=status)


def simulated(n: int = 6000, sharpen: float = 1.0, seed: int = 0) -> pd.DataFrame:
    """Truths drawn from the posterior itself, which is then sharpened: 1 is calibrated, above it too sure."""
    chance = np.random.default_rng(seed)
    posterior = chance.dirichlet([1.0, 1.0, 1.0], size=n)
    truth = np.array(CLASSES, dtype=object)[(posterior.cumsum(axis=1) < chance.uniform(size=(n, 1))).sum(axis=1)]
    sharpened = posterior**sharpen
    return made(sharpened / sharpened.sum(axis=1, keepdims=True), truth)


def test_by_hand():
    frame = made(
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


def test_the_same_figures_as_from_the_whole_posterior():
    chance = np.random.default_rng(2)
    posterior = chance.dirichlet([0.5, 0.5, 0.5], size=400)
    labels = chance.integers(-1, 3, size=400)
    result = calibration(made(posterior, np.array([*CLASSES, "Z"], dtype=object)[labels]))
    assert result.brier == pytest.approx(brier_score(posterior, labels), rel=1e-5)
    assert result.log_loss == pytest.approx(negative_log_likelihood(np.log(posterior), labels), rel=1e-5)


def test_a_model_that_is_too_sure_is_found_out():
    honest, boastful = calibration(simulated()), calibration(simulated(sharpen=3.0))
    assert len(honest.table) == 15
    assert honest.ece < 0.03 < boastful.ece
    assert boastful.confidence > boastful.accuracy + 0.1
    assert boastful.brier > honest.brier
    assert boastful.log_loss > honest.log_loss


def test_no_answer_at_all_gives_no_figure():
    result = calibration(made([[1.0, 0.0, 0.0]], ["A"], ["undecodable"]))
    assert result.n == 0
    assert np.isnan([result.ece, result.brier, result.accuracy, result.log_loss]).all()


def test_risk_and_coverage_by_hand():
    frame = made(
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


def test_the_threshold_keeps_its_promise_and_answers_as_many_as_it_can():
    frame = simulated()
    found = threshold_for(frame, 80.0)
    taken = frame[frame["probability"].astype(float) >= found.threshold]
    assert found.coverage == pytest.approx(100 * len(taken) / len(frame))
    assert found.accuracy == pytest.approx(100 * (taken["rank"] == 1).mean())
    assert 80.0 <= found.accuracy <= 83.0  # the bound keeps a little distance from the target
    assert threshold_for(frame, 90.0).coverage < found.coverage


def test_a_target_out_of_reach_answers_nothing():
    found = threshold_for(made([[0.5, 0.3, 0.2]] * 60, ["B"] * 60), 90.0)
    assert found.threshold == np.inf
    assert found.coverage == 0.0
    assert np.isnan(found.accuracy)
    with pytest.raises(InputError, match="between 0 and 100"):
        threshold_for(simulated(10), 0.0)


def test_nothing_answered_has_no_curve():
    nobody = made([[1.0, 0.0, 0.0]], ["A"], ["undecodable"])
    assert coverage_curve(nobody).empty
    assert np.isnan(area_under_risk(nobody))
    assert threshold_for(nobody, 90.0).coverage == 0.0


def test_saying_not_sure_gains_nothing_for_a_model_that_cannot_tell():
    chance = np.random.default_rng(1)
    posterior = np.column_stack([chance.uniform(0.5, 1.0, 4000), np.zeros((4000, 2))])
    posterior[:, 1] = 1 - posterior[:, 0]
    truth = np.where(chance.uniform(size=4000) < 0.6, "A", "B").astype(object)
    assert area_under_risk(made(posterior, truth)) == pytest.approx(40.0, abs=3)

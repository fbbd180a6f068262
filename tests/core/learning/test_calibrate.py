"""Calibration figures against brute force and against what a temperature is known to do."""

import numpy as np
import pytest
from scipy.special import softmax

from geoloc_core.learning import calibrate
from geoloc_core.learning.calibrate import fit_group_temperatures
from geoloc_core.learning.posterior import Head, within_groups
from geoloc_core.learning.recipes import HeadSpec

RNG = np.random.default_rng(8)


def draws(n=40_000, n_classes=6, temperature=1.0):
    """Logits, and labels drawn from softmax(logits / temperature)."""
    logits = RNG.normal(size=(n, n_classes)) * 3
    p = softmax(logits / temperature, axis=1)
    return logits, (p.cumsum(axis=1) > RNG.random((n, 1))).argmax(axis=1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_temperature_finds_the_one_the_labels_were_drawn_with(temperature):
    logits, labels = draws(temperature=temperature)
    assert calibrate.fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.03)


def test_photos_whose_truth_is_no_class_are_left_out_of_the_fit():
    logits, labels = draws(n=2000)
    more = np.concatenate([logits, logits[:300]]), np.concatenate([labels, np.full(300, -1)])
    assert calibrate.fit_temperature(*more) == calibrate.fit_temperature(logits, labels)
    assert calibrate.fit_temperature(logits[:5], np.full(5, -1)) == 1.0


def test_error_by_hand_in_two_bins():
    confidence = np.array([0.2, 0.4, 0.5, 0.6, 0.9])
    correct = np.array([False, True, False, True, True])
    by_hand = 3 / 5 * abs(1.1 / 3 - 1 / 3) + 2 / 5 * abs(0.75 - 1)
    assert calibrate.expected_calibration_error(confidence, correct, n_bins=2) == pytest.approx(by_hand)
    table = calibrate.reliability_table(confidence, correct, n_bins=2)
    assert list(table["n"]) == [3, 2]
    assert table["accuracy"].tolist() == pytest.approx([1 / 3, 1.0])


def test_brier_by_hand():
    p = np.array([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4], [1.0, 0.0, 0.0]])
    labels = np.array([0, 1, -1])
    by_hand = np.mean([0.3**2 + 0.2**2 + 0.1**2, 0.3**2 + 0.7**2 + 0.4**2, 2.0])
    assert calibrate.brier_score(p, labels) == pytest.approx(by_hand)


def test_each_level_gets_the_temperature_that_undoes_its_own_distortion():
    """Countries overconfident by 1.5, shares within them by 3: both are found again, and nothing else is changed."""
    rng = np.random.default_rng(5)
    group = np.repeat(np.arange(6), 4)
    n = 20_000
    country = 1.5 * rng.normal(size=(n, 6))
    within = 1.5 * rng.normal(size=(n, 24))
    among = softmax(country, axis=1)
    shares = within_groups(within, group, 1.0)
    posterior = among[:, group] * shares
    labels = (rng.random(n)[:, None] > posterior.cumsum(axis=1)).sum(axis=1).clip(max=23)
    # Logits whose sums over a country and whose shares within it are both too sharp.
    norm = np.log(np.add.reduceat(np.exp(3.0 * within), np.arange(0, 24, 4), axis=1))
    logits = 3.0 * within + (1.5 * country - norm)[:, group]
    found_among, found_within = fit_group_temperatures(logits, labels, group)
    assert found_within == pytest.approx(3.0, rel=0.04)
    # Softening all logits also softens the sums: the best temperature of the countries is not exactly 1.5.
    assert 1.2 < found_among < 1.8
    assert fit_group_temperatures(logits[:0], labels[:0], group) == (1.0, 1.0)


def test_the_shares_within_groups_are_a_softmax_of_each_group():
    logits = np.array([[0.0, 1000.0, 1.0, -1000.0, 2.0]], np.float32)
    group = np.array([1, 0, 1, 0, 1])
    shares = within_groups(logits, group, 2.0)
    expected = np.exp(np.array([0.0, 1.0, 2.0]) / 2.0)
    assert shares[0, [0, 2, 4]] == pytest.approx(expected / expected.sum(), rel=1e-5)
    assert shares[0, [1, 3]] == pytest.approx([1.0, 0.0])


def test_a_head_keeps_its_countries_at_one_temperature_and_its_shares_at_another():
    logits = np.array([[2.0, 1.0, 0.5, -1.0]], np.float32)
    counts = np.ones(4, dtype=np.int64)
    head = Head(
        HeadSpec("linear"), (1,), {}, "hierarchical", ["A1", "A2", "B1", "B2"], ["A", "A", "B", "B"], counts,
        temperature=2.0, within_temperature=0.5,
    )  # fmt: skip
    posterior = head.posterior_of_logits(logits)[0]
    among = softmax(logits[0] / 2.0)
    assert posterior[:2].sum() == pytest.approx(among[:2].sum(), rel=1e-5)
    assert posterior[2:].sum() == pytest.approx(among[2:].sum(), rel=1e-5)
    assert posterior[:2] / posterior[:2].sum() == pytest.approx(softmax(logits[0, :2] / 0.5), rel=1e-5)
    assert posterior[2] / posterior[3] == pytest.approx(np.exp(1.5 / 0.5), rel=1e-4)

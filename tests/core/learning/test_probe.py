"""The probe against scipy on the plain formula, and what it refuses."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from geoloc_core.learning import probe
from geoloc_core.learning.data import split_rows
from geoloc_core.learning.recipes import DEFAULT, HeadSpec
from geoloc_core.learning.train import train_head

PROBE = HeadSpec("probe")


def fit(data, names, spec=PROBE, n_classes=5, **options):
    return train_head(data, spec, DEFAULT, names(n_classes), device="cpu", progress=False, **options)


def test_the_answer_is_the_one_minimum(clusters, names, monkeypatch):
    """With one strength to choose from, compared to a straight minimisation of the penalised likelihood."""
    monkeypatch.setattr(probe, "INVERSE_PENALTIES", (0.05,))
    data = clusters(n=300, spread=1.5, validation_share=0.2)
    trained = fit(data, names)
    mean, scale = (trained.head.state[f"standardise.{name}"].double().numpy() for name in ("mean", "scale"))
    rows = split_rows(data, DEFAULT.held_out_share, 0).fit.numpy()
    x = (np.concatenate(data.blocks, axis=1)[rows].astype(np.float64) - mean) * scale
    y = data.labels[rows]

    def loss(flat):
        w, b = flat[:50].reshape(5, 10), flat[50:]
        logits = x @ w.T + b
        error = softmax(logits, axis=1)
        error[np.arange(len(y)), y] -= 1
        value = -log_softmax(logits, axis=1)[np.arange(len(y)), y].sum() + (w**2).sum() / (2 * 0.05)
        return value, np.concatenate([(error.T @ x + w / 0.05).ravel(), error.sum(axis=0)])

    best = minimize(loss, np.zeros(55), jac=True, method="BFGS")
    ours = np.concatenate(
        [trained.head.state[f"bodies.0.{name}"].double().numpy().ravel() for name in ("weight", "bias")]
    )
    assert loss(ours)[0] == pytest.approx(best.fun, rel=1e-4)
    np.testing.assert_allclose(ours[:50], best.x[:50], atol=0.02)


def test_the_penalty_is_chosen_on_held_out_photos(clusters, names):
    trained = fit(clusters(n=400, dims=(40, 20), spread=4.0), names)
    sweep = trained.history.iloc[:-1]
    chosen = sweep.loc[sweep["stopping_loss"].idxmin(), "inverse_penalty"]
    assert trained.history["inverse_penalty"].iloc[-1] == chosen
    assert chosen < probe.INVERSE_PENALTIES[-1], "sixty noisy dimensions need a strong penalty"
    assert trained.head.calibration["stopping_source"] == "held-out training authors"


@pytest.mark.parametrize("fusion", ["concat", "normalised"])
def test_it_learns_and_repeats_itself(clusters, names, fusion):
    data = clusters(n=500)
    one, two = (fit(data, names, HeadSpec("probe", fusion=fusion)) for _ in range(2))
    assert one.head.calibration["accuracy"] > 0.9
    assert all(torch.equal(one.head.state[key], two.head.state[key]) for key in one.head.state)


@pytest.mark.parametrize("n_classes", [1, 2])
def test_one_class_and_two_classes_are_answered(clusters, names, n_classes):
    """scikit-learn keeps the weights of the second of two classes alone, and refuses a single one."""
    trained = fit(clusters(n=200, n_classes=n_classes), names, n_classes=n_classes)
    assert trained.head.calibration["accuracy"] > 0.95
    assert np.isfinite(trained.history["stopping_loss"]).all()


def test_more_photos_than_fit_into_memory_are_drawn_at_random(clusters, names, monkeypatch):
    monkeypatch.setattr(probe, "MAX_NUMBERS", 200 * 15)
    assert fit(clusters(n=2000), names).head.calibration["accuracy"] > 0.9

"""The probe against scipy on the plain formula, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from geoloc_core.geography.sphere import haversine_km, unit_vectors
from geoloc_core.learning import probe
from geoloc_core.learning.data import TrainingData, split_rows
from geoloc_core.learning.recipes import DEFAULT, SMALL, HeadSpec
from geoloc_core.learning.train import train_head

PROBE = HeadSpec("probe")


PLAIN = replace(DEFAULT, smoothing_mass=0.0)


def fit(data, names, spec=PROBE, n_classes=5, how=PLAIN):
    return train_head(data, spec, how, names(n_classes), device="cpu", progress=False)


@pytest.mark.parametrize(("share", "n"), [(0.0, 300), (0.6, 300), (0.6, 12)])
def test_the_answer_is_the_one_minimum(share, n, clusters, names, monkeypatch):
    """With one strength to choose from, compared to a straight minimisation of the penalised likelihood: the penalty is
    sum_kl w_k . w_l (covariance^-1)_kl / (2 C), and the covariance is the plain formula on the classes' mean places.
    """
    monkeypatch.setattr(probe, "INVERSE_PENALTIES", (0.05,))
    data = clusters(n=n, spread=1.5, validation_share=0.2)
    trained = fit(data, names, how=replace(PLAIN, shared=share, shared_km=1500.0))
    mean, scale = (trained.head.state[f"standardise.{name}"].double().numpy() for name in ("mean", "scale"))
    rows = split_rows(data, DEFAULT.held_out_share, 0).fit.numpy()
    x = (np.concatenate(data.blocks, axis=1)[rows].astype(np.float64) - mean) * scale
    y = data.labels[rows]
    place = np.stack([unit_vectors(data.latitude, data.longitude)[rows][y == k].mean(axis=0) for k in range(5)])
    latitude = np.degrees(np.arctan2(place[:, 2], np.hypot(place[:, 0], place[:, 1])))
    longitude = np.degrees(np.arctan2(place[:, 1], place[:, 0]))
    distance = haversine_km(latitude[:, None], longitude[:, None], latitude[None, :], longitude[None, :])
    assert 1000 < distance[0, 1] < 1250  # classes lie 10 degrees apart
    precision = np.linalg.inv((1 - share) * np.eye(5) + share * np.exp(-distance / 1500.0))

    def loss(flat):
        w, b = flat[:50].reshape(5, 10), flat[50:]
        logits = x @ w.T + b
        error = softmax(logits, axis=1)
        error[np.arange(len(y)), y] -= 1
        value = -log_softmax(logits, axis=1)[np.arange(len(y)), y].sum() + (w * (precision @ w)).sum() / (2 * 0.05)
        return value, np.concatenate([(error.T @ x + precision @ w / 0.05).ravel(), error.sum(axis=0)])

    best = minimize(loss, np.zeros(55), jac=True, method="BFGS")
    ours = np.concatenate(
        [trained.head.state[f"bodies.0.{name}"].double().numpy().ravel() for name in ("weight", "bias")]
    )
    assert loss(ours)[0] == pytest.approx(best.fun, rel=1e-4)
    np.testing.assert_allclose(ours[:50], best.x[:50], atol=0.02)


def test_the_penalty_is_chosen_on_held_out_photos(clusters, names):
    trained = fit(clusters(n=400, dims=(40, 20), spread=4.0), names)
    history = trained.history
    assert trained.best_epoch == history.loc[history["stopping_loss"].idxmin(), "epoch"]
    chosen = history["inverse_penalty"][trained.best_epoch - 1]
    assert probe.INVERSE_PENALTIES[0] < chosen < probe.INVERSE_PENALTIES[-1], "sixty noisy dimensions need a penalty"
    assert trained.head.calibration["stopping_source"] == "held-out training authors"


def test_cross_validation_judges_photos_by_fits_that_have_not_seen_them(clusters, names, monkeypatch):
    """Of labels that have nothing to do with the vectors nothing can be promised, however well they were learned by heart."""
    monkeypatch.setattr(probe, "INVERSE_PENALTIES", (10.0,))
    data = clusters(n=400, dims=(200, 200), spread=1.0)
    data = replace(data, labels=np.random.default_rng(0).permutation(data.labels))
    trained = fit(data, names, how=replace(SMALL, shared=0.0))
    learned = trained.head.posterior(data.blocks).argmax(axis=1)[data.is_train] == data.labels[data.is_train]
    assert trained.head.calibration["stopping_source"] == "cross-validation by author"
    assert trained.head.calibration["n_calibration"] == data.is_train.sum()
    assert trained.head.calibration["accuracy"] < 0.3 < 0.95 < learned.mean()


def test_near_regions_lend_each_other_what_few_photos_do_not_tell(names):
    """Sixty regions on a circle whose looks change smoothly along it, three photos of each."""
    rng = np.random.default_rng(1)
    n_classes, dimension = 60, 40
    angle = np.arange(n_classes) * 2 * np.pi / n_classes
    waves = np.concatenate(
        [
            np.outer(np.cos(k * angle), rng.normal(size=dimension))
            + np.outer(np.sin(k * angle), rng.normal(size=dimension))
            for k in (1, 2)
        ]
    ).reshape(2, n_classes, -1)
    looks = waves.sum(axis=0)
    labels = np.tile(np.arange(n_classes), 23)
    data = TrainingData(
        blocks=[(looks[labels] + 1.5 * rng.normal(size=(len(labels), dimension))).astype(np.float32)],
        labels=labels,
        is_train=np.arange(len(labels)) < 3 * n_classes,
        latitude=np.zeros(len(labels)),
        longitude=np.degrees(angle)[labels] - 180.0,
        author_id=np.arange(len(labels)),
    )
    held, loss = ~data.is_train, {}
    for share in (0.0, SMALL.shared):
        head = fit(data, names, n_classes=n_classes, how=replace(SMALL, shared=share)).head
        posterior = head.posterior([data.blocks[0][held]])
        loss[share] = -np.log(posterior[np.arange(held.sum()), labels[held]]).mean()
    assert loss[SMALL.shared] < loss[0.0] - 0.1


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

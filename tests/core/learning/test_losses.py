"""Losses and their gradients against brute force in float64."""

import numpy as np
import pytest
import torch

from geoloc_core.geography.sphere import haversine_km, unit_vectors
from geoloc_core.learning import losses

RNG = np.random.default_rng(3)
LOGITS = torch.tensor(RNG.normal(size=(7, 6)) * 4)
LABELS = torch.tensor([0, 5, 2, 2, 1, 4, 3])
COUNTRY_OF_CLASS = torch.tensor([0, 1, 0, 2, 1, 1])


def softmax_by_hand(logits):
    powers = np.exp(np.asarray(logits))
    return powers / powers.sum(axis=1, keepdims=True)


def test_the_objective_by_hand():
    """Both levels, weighted by the photos' classes, divided by the sum of the batch's weights as torch does."""
    weights, rows = torch.tensor(RNG.uniform(0.1, 5, 6)), torch.arange(7)
    plain = torch.nn.functional.cross_entropy(LOGITS, LABELS, weight=weights)
    assert losses.Objective(weights)(LOGITS, LABELS, rows).item() == pytest.approx(plain.item(), rel=1e-12)
    p, at = softmax_by_hand(LOGITS), np.arange(7)
    country = np.stack([p[:, [0, 2]].sum(1), p[:, [1, 4, 5]].sum(1), p[:, 3]], axis=1)
    by_hand = -np.log(p[at, LABELS]) - np.log(country[at, COUNTRY_OF_CLASS[LABELS]])
    both = losses.Objective(parent_of_class=COUNTRY_OF_CLASS)
    assert both(LOGITS, LABELS, rows).item() == pytest.approx(by_hand.mean())
    assert both.stopping_loss(LOGITS, LABELS).item() == pytest.approx(by_hand.sum())


def test_the_loss_of_the_parent_survives_what_underflows():
    logits = torch.tensor([[0.0, -400.0, -400.0, 0.0, -401.0, -400.0]], requires_grad=True)
    loss = losses.parent_cross_entropy(logits, COUNTRY_OF_CLASS, torch.tensor([1]))
    assert loss.item() == pytest.approx(400 + np.log(2) - np.log(2 + np.exp(-1)), rel=1e-6)
    loss.sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[0, 1].item() == pytest.approx(-1 / (2 + np.exp(-1)), rel=1e-5)


def test_distance_is_the_haversine():
    latitude, longitude = np.array([52.3676, -17.0, 90.0]), np.array([4.9041, 179.9, 0.0])
    anchors = np.array([[40.7128, -74.0060], [-17.0, -179.9], [-41.3, 174.8], [89.0, 123.0]])
    ours = losses.great_circle_km(
        torch.from_numpy(unit_vectors(latitude, longitude)).float(),
        torch.from_numpy(unit_vectors(anchors[:, 0], anchors[:, 1])).float(),
    )
    truth = haversine_km(latitude[:, None], longitude[:, None], anchors[None, :, 0], anchors[None, :, 1])
    np.testing.assert_allclose(ours, truth, atol=3.0)
    assert ours[0, 0].item() == pytest.approx(5863.216, abs=0.5)


def test_haversine_targets_by_hand():
    distance = torch.tensor([[500.0, 50.0, 200.0, 1000.0]])
    targets = losses.haversine_targets(distance, torch.tensor([0]), 75.0)
    unnormalised = np.array([1.0, 0.513417, 0.069483, 1.6e-6])  # exp(-d / 75) with the true region at distance 0
    np.testing.assert_allclose(targets[0], unnormalised / unnormalised.sum(), rtol=1e-4, atol=1e-6)
    assert targets.sum().item() == pytest.approx(1.0)


def test_tau_gives_away_the_mass_it_is_asked_to():
    distance, labels = torch.tensor(RNG.uniform(10, 8000, (50, 12))), torch.tensor(RNG.integers(0, 12, 50))
    taus = [losses.fit_tau_km(distance, labels, mass) for mass in (0.02, 0.1)]
    for tau, mass in zip(taus, (0.02, 0.1), strict=True):
        kept = losses.haversine_targets(distance, labels, tau).gather(1, labels[:, None])
        assert 1 - kept.mean().item() == pytest.approx(mass, abs=1e-3)
    assert taus[0] < taus[1]
    assert losses.fit_tau_km(distance * 10, labels, 0.1) == pytest.approx(taus[1] * 10, rel=1e-3)

"""Decisions against brute force over the whole Earth."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from geoloc_core.answers import decide as module
from geoloc_core.answers.decide import RULES, Mass, decider, expected_loss_by_region, mass_of_cells, photo_cells
from geoloc_core.errors import InputError
from geoloc_core.geography.sphere import haversine_km

CHANCE = np.random.default_rng(11)
LATITUDE, LONGITUDE = CHANCE.uniform(-50, 65, 12), CHANCE.uniform(-180, 180, 12)
ANCHORS = np.column_stack([LATITUDE, LONGITUDE])
POSTERIOR = CHANCE.dirichlet(np.full(12, 0.4), size=12)


def expected_loss(row: np.ndarray, mass: Mass, latitude, longitude, rule: str) -> np.ndarray:
    """The definition, place by place."""
    distance = haversine_km(
        np.asarray(latitude)[..., None], np.asarray(longitude)[..., None], mass.latitude, mass.longitude
    )
    loss = distance if rule == "expected_distance" else -5000 * np.exp(-distance / 1492.7)
    return (loss * (row[mass.region] * mass.weight)).sum(axis=-1)


def spread_mass() -> Mass:
    """Twelve regions of eight places each, some across the antimeridian."""
    latitude = (LATITUDE[:, None] + CHANCE.normal(0, 3, (12, 8))).ravel()
    longitude = ((LONGITUDE[:, None] + CHANCE.normal(0, 4, (12, 8))).ravel() + 180) % 360 - 180
    weight = CHANCE.dirichlet(np.ones(8), size=12).ravel()
    return Mass(latitude, longitude, np.repeat(np.arange(12), 8), weight, 12)


def decide(posterior, anchors, rule, mass, **changes):
    return dataclasses.replace(decider(anchors, rule, mass), **changes).points(posterior)


def at_anchors(anchors) -> Mass:
    return Mass(anchors[:, 0], anchors[:, 1], np.arange(len(anchors)), np.ones(len(anchors)), len(anchors))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("mass", [at_anchors(ANCHORS), spread_mass()], ids=["anchors", "photos"])
def test_no_point_of_a_dense_grid_is_better(rule, mass):
    points = decide(POSTERIOR, ANCHORS, rule, mass)
    lat, lon = np.meshgrid(np.arange(-89, 90, 2.0), np.arange(-180, 180, 2.0), indexing="ij")
    for row, point in zip(POSTERIOR, points, strict=True):
        best = expected_loss(row, mass, lat, lon, rule).min()
        assert expected_loss(row, mass, *point, rule) <= best + 1e-4 * abs(best)
    # Refinement never makes it worse.
    coarse = decide(POSTERIOR, ANCHORS, rule, mass, refine=False)
    losses = [
        [expected_loss(row, mass, *p, rule) for p in two] for row, *two in zip(POSTERIOR, coarse, points, strict=True)
    ]
    gain = [before - after for before, after in losses]
    assert min(gain) > -1e-6
    assert max(gain) > 1.0 or len(mass.weight) == len(ANCHORS)  # at anchors alone there is nothing to gain


def test_loss_by_region_is_the_definition():
    mass = spread_mass()
    points = np.array([[10.0, 20.0], [-33.0, 179.0]])
    for rule in RULES:
        made = expected_loss_by_region(points, mass, rule)
        for region in range(12):
            one = np.eye(12)[region]
            assert made[:, region] == pytest.approx(expected_loss(one, mass, points[:, 0], points[:, 1], rule))


def test_mass_of_photos_follows_the_photos():
    photos = pd.DataFrame(
        {
            "region_id": ["A", "A", "A", "B", "Z"],
            "latitude": [10.1, 10.2, 40.0, -5.0, 0.0],
            "longitude": [20.1, 20.2, 60.0, 179.9, 0.0],
        }
    )
    mass = mass_of_cells(photo_cells(photos), ["B", "A", "C"], np.array([(1.0, 1.0), (2.0, 2.0), (7.0, 8.0)]))
    made = sorted(zip(mass.region.tolist(), mass.latitude, mass.longitude, mass.weight, strict=True))
    expected = [(0, -5.0, 179.9, 1.0), (1, 10.15, 20.15, 2 / 3), (1, 40.0, 60.0, 1 / 3), (2, 7.0, 8.0, 1.0)]
    assert np.array(made) == pytest.approx(np.array(expected))


def test_a_photo_without_answer_has_no_point_and_lots_change_nothing():
    prepared = decider(ANCHORS, "expected_geoscore", spread_mass())
    with pytest.raises(InputError, match="12 anchors"):
        prepared.points(POSTERIOR[:, :3])
    whole = prepared.points(POSTERIOR)
    assert np.vstack([prepared.points(row[None, :]) for row in POSTERIOR]) == pytest.approx(whole)
    posterior = POSTERIOR.copy()
    posterior[0] = np.nan
    points = prepared.points(posterior)
    assert np.isnan(points[0]).all()
    assert points[1:] == pytest.approx(whole[1:])


def test_a_dense_mass_is_not_refined(monkeypatch):
    mass = spread_mass()
    assert decider(ANCHORS, "expected_distance", mass).refine
    monkeypatch.setattr(module, "PLACES_WORTH_REFINING", 95)
    assert not decider(ANCHORS, "expected_distance", mass).refine


def test_the_whole_posterior_beats_its_arg_max():
    """Truths drawn from the posterior itself: the Bayes decision must win by the loss that it minimises."""
    chance = np.random.default_rng(3)
    mass = spread_mass()
    posterior = chance.dirichlet(np.full(12, 0.7), size=3000)
    region = (posterior.cumsum(axis=1) < chance.uniform(size=(3000, 1))).sum(axis=1)
    place = region * 8 + np.array([chance.choice(8, p=mass.weight[8 * r : 8 * r + 8]) for r in region])
    truth = mass.latitude[place], mass.longitude[place]
    km = {rule: haversine_km(*truth, *decide(posterior, ANCHORS, rule, mass, refine=False).T) for rule in RULES}
    km["anchor"] = haversine_km(*truth, *ANCHORS[posterior.argmax(axis=1)].T)
    points = {rule: (5000 * np.exp(-distance / 1492.7)).mean() for rule, distance in km.items()}
    assert km["expected_distance"].mean() < 0.95 * km["anchor"].mean()
    assert km["expected_distance"].mean() < km["expected_geoscore"].mean()
    assert points["expected_geoscore"] > 1.02 * points["anchor"]
    assert points["expected_geoscore"] > points["expected_distance"]

"""The author bootstrap against a plain loop, and what it must have as properties."""

import numpy as np
import pandas as pd
import pytest

from geoloc_core.evaluation import intervals as module
from geoloc_core.evaluation.intervals import author_weights, bootstrap, difference, intervals
from geoloc_core.evaluation.metrics import DEFINITIONS, score
from geoloc_core.evaluation.predictions import bootstrap_units


def test_every_resample_equals_scoring_the_drawn_authors(random_predictions):
    made = random_predictions(n=150, n_authors=20)
    boot = bootstrap(made, resamples=25, seed=7)
    units = bootstrap_units(made)
    authors = np.unique(units.astype(str))
    weights = np.vstack(list(author_weights(len(authors), 25, 7, len(made))))
    for number in range(25):
        times = pd.Series(weights[number].astype(int), index=authors)[units].to_numpy()
        drawn = made.loc[made.index.repeat(times)]
        expected = score(drawn)
        for name in DEFINITIONS.keys() - {"subdivision_accuracy"}:
            assert boot.values[name].iloc[number] == pytest.approx(expected[name]), name


def test_estimates_are_the_scores_themselves(random_predictions):
    made = random_predictions()
    scores = score(made)
    for name, span in intervals(bootstrap(made, 200)).items():
        assert span.value == pytest.approx(scores[name])
        assert span.low <= span.value <= span.high


def test_draws_depend_neither_on_blocks_nor_on_the_order_of_rows(random_predictions, monkeypatch):
    made = random_predictions()
    whole = bootstrap(made, 60, seed=2)
    monkeypatch.setattr(module, "NUMBERS_AT_ONCE", 1_500)
    blocks = bootstrap(made.sample(frac=1.0, random_state=1), 60, seed=2)
    pd.testing.assert_frame_equal(whole.values, blocks.values)
    assert not bootstrap(made, 60, seed=3).values.equals(blocks.values)


def test_authors_with_alike_photos_widen_the_interval():
    """100 authors with 10 photos each, all right or all wrong: the spread is that of 100 things, not of 1,000."""
    right = np.repeat(np.arange(100) % 2, 10)
    made = pd.DataFrame({"photo_id": [f"{number:04d}" for number in range(1000)], "rank": np.where(right, 1, 2)})
    authors = np.repeat([f"a{number}" for number in range(100)], 10)
    made = made.assign(author_id=authors, country_id="FRA", distance_km=1.0, status="ok")
    by_author = intervals(bootstrap(made, 4000))["accuracy"]
    by_photo = intervals(bootstrap(made.assign(author_id=""), 4000))["accuracy"]
    assert by_author.value == by_photo.value == 50.0
    # Normal approximation: 1.96 * 50 / sqrt(100) = 9.8, and / sqrt(1000) = 3.1.
    assert (by_author.high - by_author.low) / 2 == pytest.approx(9.8, rel=0.08)
    assert (by_photo.high - by_photo.low) / 2 == pytest.approx(3.1, rel=0.08)


def test_differences_are_paired(random_predictions):
    a, b = random_predictions(skill=3.0), random_predictions(skill=1.0)
    boot_a, boot_b = bootstrap(a, 400), bootstrap(b, 400)
    gap = difference(boot_a, boot_b, "accuracy")
    assert gap.value == pytest.approx(score(a)["accuracy"] - score(b)["accuracy"])
    assert gap.low > 0
    assert not gap.tie
    # What both have in common cancels: the paired interval is narrower than that of independent resamples.
    unpaired = boot_a.values["accuracy"] - bootstrap(b, 400, seed=1).values["accuracy"]
    assert gap.high - gap.low < np.percentile(unpaired, 97.5) - np.percentile(unpaired, 2.5)
    same = difference(boot_a, bootstrap(a.iloc[::-1], 400), "median_km")
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    assert same.tie


def test_none_of_few_authors_is_not_certainty(random_predictions):
    made = random_predictions(n=60, n_authors=20).assign(rank=2, distance_km=0.5, status="ok", country_id="FRA")
    boot = bootstrap(made, 50)
    spans = intervals(boot)
    # With 97.5 % confidence, an event that none of n authors shows has a probability below 1 - 0.025 ** (1 / n).
    bound = 100 * (1 - 0.025 ** (1 / boot.n_authors))
    assert (spans["accuracy"].low, spans["accuracy"].high) == pytest.approx((0.0, bound))
    assert (spans["within_1"].low, spans["within_1"].high) == pytest.approx((100 - bound, 100.0))

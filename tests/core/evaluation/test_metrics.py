"""Figures worked out by hand, the golden distances, and brute force."""

import math

import numpy as np
import pandas as pd
import pytest

from geoloc_core.errors import InputError
from geoloc_core.evaluation.metrics import DEFINITIONS, distance_curve, geoscore, score
from geoloc_core.evaluation.predictions import NEVER, predictions_frame

# From the research notes, section 3.1: latitude, longitude, latitude, longitude, km with R = 6371.0.
GOLDEN = [
    (52.3676, 4.9041, 40.7128, -74.0060, 5863.216),
    (-17.0, 179.9, -17.0, -179.9, 21.267),
    (0.0, 0.0, 0.0, 180.0, 20015.087),
    (90.0, 0.0, 89.0, 123.0, 111.195),
    (40.74847, -73.98570, 35.75040, -83.99380, 1034.659),
]


def one_class(places, answers, **changes):
    """Photos that are all in FRA, at `places`, answered with FRA at `answers`."""
    photos = pd.DataFrame(places, columns=["latitude", "longitude"]).assign(
        photo_id=[str(number) for number in range(len(places))], author_id="", country_id="FRA"
    )
    points = np.array(answers, dtype=float)
    return predictions_frame(
        photos, np.ones((len(places), 1)), ["FRA"], points, continents={"FRA": "Europe"}, **changes
    )


def test_golden_distances_and_a_geoscore_that_is_not_rounded():
    made = one_class([row[:2] for row in GOLDEN], [row[2:4] for row in GOLDEN])
    assert made["distance_km"].to_numpy() == pytest.approx([row[4] for row in GOLDEN], abs=5e-4)
    assert geoscore(np.array([5863.216])) == pytest.approx([98.422], abs=5e-4)
    assert geoscore(np.array([0.0, 1492.7])) == pytest.approx([5000.0, 5000.0 / math.e])


def by_hand() -> pd.DataFrame:
    """Six photos: right, third, never seen, in no country, missing, right; distances set by hand."""
    made = one_class([(0.0, 0.0)] * 6, [(0.0, 0.0)] * 6, status=["ok"] * 4 + ["undecodable", "ok"])
    made["country_id"] = ["FRA", "FRA", "NAM", "", "DEU", "DEU"]
    made["continent"] = ["Europe", "Europe", "Africa", "", "Europe", "Europe"]
    made["rank"] = [1, 6, NEVER, NEVER, NEVER, 1]
    made["distance_km"] = [1.0, 25.0, 200.0, 750.0, np.nan, 2500.0]
    return made


def test_all_metrics_by_hand():
    scores = score(by_hand())
    assert scores["n"] == 6
    assert (scores["n_missing"], scores["n_no_country"], scores["n_unseen_country"]) == (1, 1, 1)
    assert scores["accuracy"] == pytest.approx(100 * 2 / 6)
    assert scores["top5"] == pytest.approx(100 * 2 / 6)
    assert scores["top10"] == pytest.approx(100 * 3 / 6)
    # FRA 1 of 2, NAM 0 of 1, DEU 1 of 2 (one has no answer)
    assert scores["macro_accuracy"] == pytest.approx(100 * (0.5 + 0.0 + 0.5) / 3)
    # a photo at exactly r km is within r, and the missing photo stays in the denominator
    within = [scores[f"within_{radius}"] for radius in (1, 25, 200, 750, 2500)]
    assert within == pytest.approx([100 * k / 6 for k in (1, 2, 3, 4, 5)])
    known = [1.0, 25.0, 200.0, 750.0, 2500.0]
    assert scores["mean_km"] == pytest.approx((sum(known) + 20015.0868) / 6, abs=1e-3)
    assert scores["mean_km_answered"] == pytest.approx(sum(known) / 5)
    assert scores["median_km"] == pytest.approx((200.0 + 750.0) / 2)
    assert scores["geoscore"] == pytest.approx(sum(5000 * math.exp(-d / 1492.7) for d in known) / 6)
    assert "subdivision_accuracy" not in scores  # nobody was asked for one
    # The first two and the last lie in Europe, the missing one as well, and the answer is always France.
    assert scores["continent_accuracy"] == pytest.approx(100 * 3 / 6)
    assert set(DEFINITIONS) - {"subdivision_accuracy"} <= set(scores)


def test_distance_curve_ends_at_the_share_that_has_an_answer():
    curve = distance_curve(by_hand(), [0.5, 1.0, 199.9, 200.0, 30000.0])
    assert curve == pytest.approx([100 * k / 6 for k in (0, 1, 2, 3, 5)])


def test_subdivisions_are_scored_where_they_are_predicted():
    made = by_hand()
    made["subdivision_id"] = ["FR-01", "FR-02", "", "", "DE-BE", "DE-BE"]
    made["predicted_subdivision_id"] = ["FR-01", "FR-03", "", "", "", "DE-BE"]
    assert score(made)["subdivision_accuracy"] == pytest.approx(100 * 2 / 6)


def test_no_answer_scores_nothing_and_nothing_to_score_is_an_error():
    scores = score(by_hand().assign(status="undecodable"))
    assert (scores["geoscore"], scores["accuracy"], scores["within_2500"]) == (0.0, 0.0, 0.0)
    assert scores["mean_km"] == pytest.approx(20015.0868, abs=1e-3)
    assert math.isnan(scores["mean_km_answered"])
    with pytest.raises(InputError, match="no prediction"):
        score(by_hand().iloc[:0])

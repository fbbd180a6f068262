"""The bars: what they know, what they answer, and that no other point serves the training photos better."""

import numpy as np
import pandas as pd
import pytest

from geoloc_core.errors import InputError
from geoloc_core.evaluation import baselines
from geoloc_core.evaluation.metrics import score
from geoloc_core.geography.sphere import haversine_km
from tests.core.evaluation.conftest import make_photos

NAMES = {"continents": {"FRA": "Europe", "DEU": "Europe", "USA": "North America"}}
ANCHORS = pd.DataFrame(
    {"region_id": ["DEU", "FRA", "USA"], "latitude": [51.0, 46.5, 39.5], "longitude": [10.0, 2.5, -98.5]}
)
TRAINING = pd.DataFrame(
    {
        "country_id": ["USA"] * 5 + ["FRA"] * 3 + ["DEU"] * 2 + ["FRA"] * 6,
        "latitude": [40.0] * 5 + [48.8] * 3 + [52.5] * 2 + [43.0] * 6,
        "longitude": [-75.0] * 5 + [2.3] * 3 + [13.4] * 2 + [5.0] * 6,
        "subdivision_id": ["US-NY"] * 2 + ["US-PA"] * 3 + ["FR-75"] * 3 + ["DE-BE"] * 2 + ["FR-13"] * 6,
        "split": ["train"] * 10 + ["validation"] * 6,
    }
)
PHOTOS = make_photos(
    [("p1", "", 40.0, -75.0, "USA"), ("p2", "", 48.8, 2.3, "FRA"), ("p3", "", 52.5, 13.4, "DEU"), ("p4", "", 0, 0, "")]
).assign(subdivision_id=["US-PA", "FR-75", "", ""])


def test_the_prior_knows_training_photos_only_and_says_the_same_of_every_photo():
    classes, shares = baselines.class_shares(TRAINING)
    assert classes == ["DEU", "FRA", "USA"]
    assert shares == pytest.approx([0.2, 0.3, 0.5])
    prior = baselines.baseline_predictions(TRAINING, PHOTOS, ANCHORS, **NAMES)["class prior"]
    assert prior["predicted_country_id"].unique().tolist() == ["USA"]
    assert prior["rank"].tolist()[:3] == [1, 2, 3]
    assert prior["probability"].to_numpy() == pytest.approx([0.5] * 4)
    points = prior[["predicted_latitude", "predicted_longitude"]].to_numpy()
    assert points == pytest.approx(np.array([[39.5, -98.5]] * 4))
    assert (score(prior)["accuracy"], score(prior)["top5"]) == (25.0, 75.0)
    # One photo of four lies in North America, and in the commonest state of the commonest country.
    assert (score(prior)["continent_accuracy"], score(prior)["subdivision_accuracy"]) == (25.0, 25.0)
    with pytest.raises(InputError, match="no training photo"):
        baselines.class_shares(TRAINING[TRAINING["split"] == "validation"])


def test_baselines_do_not_answer_where_models_could_not():
    others = {**NAMES, "status": ["ok", "missing", "ok", "ok"]}
    frames = baselines.baseline_predictions(TRAINING, PHOTOS, ANCHORS, **others)
    assert len(frames) == 3
    for frame in (*frames.values(), baselines.perfect_predictions(PHOTOS, ANCHORS, **others)):
        assert frame["status"].tolist()[1] == "missing"
        assert score(frame)["n_missing"] >= 1


def test_the_constant_point_names_the_country_that_it_lies_in():
    constant = baselines.constant_point_predictions(TRAINING, PHOTOS, **NAMES)
    # Five of ten training photos are at one place in the USA: nowhere else is the GeoScore of all as high.
    assert constant["predicted_country_id"].unique().tolist() == ["USA"]
    scores = score(constant)
    assert (scores["within_25"], scores["accuracy"], scores["top10"]) == (25.0, 25.0, 25.0)


def test_no_point_of_a_dense_grid_serves_better():
    chance = np.random.default_rng(5)
    centre = chance.choice(4, size=150, p=[0.4, 0.3, 0.2, 0.1])
    latitude = np.array([40.0, 48.0, 35.0, -17.0])[centre] + chance.normal(0, 3, 150)
    longitude = np.array([-90.0, 8.0, 138.0, 179.9])[centre] + chance.normal(0, 4, 150)
    longitude = (longitude + 180) % 360 - 180
    grid_lat, grid_lon = np.meshgrid(np.arange(-60, 75, 1.5), np.arange(-180, 180, 1.5), indexing="ij")

    def geoscore_at(lat, lon):
        distance = haversine_km(np.asarray(lat)[..., None], np.asarray(lon)[..., None], latitude, longitude)
        return (5000 * np.exp(-distance / 1492.7)).mean(axis=-1)

    best_of_grid = max(geoscore_at(lat, lon).max() for lat, lon in zip(grid_lat, grid_lon, strict=True))
    assert geoscore_at(*baselines.best_constant_point(latitude, longitude)) >= best_of_grid * (1 - 1e-6)
    across = baselines.best_constant_point(np.array([-17.0, -17.0]), np.array([179.5, -179.5]))
    assert haversine_km(*across, -17.0, 180.0) < 200


def test_random_photos_are_right_as_often_as_chance_says():
    many = pd.concat([PHOTOS.iloc[:1]] * 4000, ignore_index=True).assign(photo_id=[str(n) for n in range(4000)])
    frame = baselines.random_photo_predictions(TRAINING, many, seed=1, **NAMES)
    assert score(frame)["accuracy"] == pytest.approx(50.0, abs=2.5)  # 0.5, standard error 0.8
    assert frame["distance_km"].min() == 0.0
    pd.testing.assert_frame_equal(frame, baselines.random_photo_predictions(TRAINING, many, seed=1, **NAMES))


def test_the_ceiling_loses_only_what_the_anchors_lose():
    coarse = baselines.perfect_predictions(PHOTOS, ANCHORS, **NAMES)
    assert coarse["status"].tolist() == ["ok", "ok", "ok", "no_region"]
    assert coarse["rank"].tolist()[:3] == [1, 1, 1]
    distance = haversine_km(PHOTOS["latitude"][:3], PHOTOS["longitude"][:3], [39.5, 46.5, 51.0], [-98.5, 2.5, 10.0])
    assert coarse["distance_km"].to_numpy()[:3] == pytest.approx(distance)
    units = pd.DataFrame({"region_id": ["US-PA", "FR-75"], "latitude": [40.9, 48.86], "longitude": [-77.8, 2.34]})
    finer = baselines.perfect_predictions(PHOTOS, units, level="subdivision", **NAMES)
    assert finer["status"].tolist() == ["ok", "ok", "no_region", "no_region"]
    assert finer["distance_km"][1] < 10 < coarse["distance_km"][1]

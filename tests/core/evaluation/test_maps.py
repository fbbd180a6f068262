"""Maps show what they are given, and stay small."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from geoloc_core.errors import InputError
from geoloc_core.evaluation.maps import country_map, country_value_map, coverage_map, error_map, great_circle
from geoloc_core.geography.boundaries import load_boundaries
from geoloc_core.geography.sphere import haversine_km


@pytest.fixture(scope="module")
def boundaries():
    return load_boundaries()


def picture(content: bytes) -> Image.Image:
    assert len(content) <= 100_000
    image = Image.open(io.BytesIO(content))
    assert image.format == "PNG"
    return image.convert("RGB")


def test_a_great_circle_is_the_shortest_way_and_is_cut_at_the_antimeridian():
    first, second = great_circle((140.0, 35.0), (-122.0, 37.0))
    steps = [haversine_km(way[:-1, 1], way[:-1, 0], way[1:, 1], way[1:, 0]).sum() for way in (first, second)]
    across = haversine_km(first[-1, 1], first[-1, 0], second[0, 1], second[0, 0])
    assert sum(steps) + across == pytest.approx(haversine_km(35.0, 140.0, 37.0, -122.0))
    assert first[-1, 0] > 170
    assert second[0, 0] < -170
    assert great_circle((20.0, 10.0), (20.0, 10.0))[0] == pytest.approx(np.tile([20.0, 10.0], (40, 1)))


def test_coverage_shows_where_photos_are(boundaries):
    chance = np.random.default_rng(0)
    photos = pd.DataFrame({"latitude": chance.normal(47, 3, 5000), "longitude": chance.normal(5, 5, 5000)})
    empty = np.asarray(picture(coverage_map(photos.iloc[:0], boundaries, "None")), dtype=int)
    full = np.asarray(picture(coverage_map(photos, boundaries, "Photos")), dtype=int)
    changed = np.abs(full - empty).sum(axis=2)[80:-90] > 60  # below the title, above the colour bar
    rows, columns = np.nonzero(changed)
    # Western Europe is right of the middle and in the upper half.
    assert 0.45 < np.median(columns) / full.shape[1] < 0.6
    assert np.median(rows) + 80 < full.shape[0] / 2
    assert changed.sum() > 100


def test_error_map_draws_answered_photos_only(boundaries, random_predictions):
    made = random_predictions(n=900)
    first = error_map(made, boundaries, "Errors")
    picture(first)
    none = made.assign(status="undecodable")
    picture(error_map(none, boundaries, "Errors"))
    assert error_map(made.sample(frac=1.0, random_state=0), boundaries, "Errors") == first


def test_countries_are_shaded_by_value(boundaries):
    low = picture(country_value_map(pd.Series({"AUS": 0.0}), boundaries, "Recall", "recall (%)"))
    high = picture(country_value_map(pd.Series({"AUS": 100.0, "BRA": np.nan}), boundaries, "Recall", "recall (%)"))
    difference = np.abs(np.asarray(low, dtype=int) - np.asarray(high, dtype=int)).sum(axis=2) > 150
    rows, columns = np.nonzero(difference)
    # Australia is in the lower right.
    assert 0.75 < np.median(columns) / low.width < 0.95
    assert 0.55 < np.median(rows) / low.height < 0.85
    share = difference.sum() / (low.width * low.height)
    assert 0.005 < share < 0.02  # 7.7 of 510 million square km, on a map that fills two thirds of the picture


def test_one_country_with_its_subdivisions(boundaries):
    for country in ("FJI", "FRA"):
        assert picture(country_map(boundaries, country)).width > 400
    with pytest.raises(InputError, match="'XYZ'"):
        country_map(boundaries, "XYZ")

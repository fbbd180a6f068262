"""Deliveries that are garbage as a whole, and real ones that are not."""

import numpy as np
import pandas as pd
import pytest

from geoloc_core.geography.boundaries import load_boundaries
from geoloc_core.geography.locate import RegionLocator
from geoloc_core.photos.damage import REPAIRS, coordinate_damage, problems_of
from geoloc_core.photos.sources.base import parse_coordinates


@pytest.fixture(scope="module")
def on_land():
    locator = RegionLocator(load_boundaries("embedded"))
    return lambda latitude, longitude: locator.locate(longitude=longitude, latitude=latitude).index["country"] >= 0


@pytest.fixture(scope="module")
def real(shared_data):
    frame = pd.read_csv(shared_data / "benchmarks" / "yfcc26k_half_places365.csv", keep_default_na=False)
    return frame.sample(3000, random_state=0)


def assess(latitude, longitude, author_id, on_land):
    lat, lon, reason = parse_coordinates(pd.Series(latitude), pd.Series(longitude))
    good = reason == ""
    authors = np.asarray(author_id, dtype=object)
    return coordinate_damage(lat[good], lon[good], authors[good], int((reason == "out_of_range").sum()), on_land)


def test_real_deliveries_pass(real, shared_data, on_land):
    damage = assess(real["LAT"], real["LON"], real["AUTHOR"], on_land)
    assert damage["rows"] == 3000
    assert problems_of(damage) == []
    assert damage["unlabelled"] < 0.02
    im2gps = pd.read_csv(shared_data / "benchmarks" / "im2gps_places365.csv", keep_default_na=False)
    assert problems_of(assess(im2gps["LAT"], im2gps["LON"], im2gps["AUTHOR"], on_land)) == []


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_exchanged_coordinates_are_found(real, on_land, share):
    swapped = np.random.default_rng(1).random(len(real)) < share
    lat = np.where(swapped, real["LON"], real["LAT"])
    lon = np.where(swapped, real["LAT"], real["LON"])
    problems = problems_of(assess(lat, lon, real["AUTHOR"], on_land))
    assert any("out of range" in problem for problem in problems)
    # Also where no longitude is beyond 90 degrees, so that nothing is out of range.
    europe = real[real["LON"].between(-25, 40) & (real["LAT"] > 35)]
    swapped = np.random.default_rng(1).random(len(europe)) < share
    lat, lon = np.where(swapped, europe["LON"], europe["LAT"]), np.where(swapped, europe["LAT"], europe["LON"])
    problems = problems_of(assess(lat, lon, europe["AUTHOR"], on_land))
    assert len(problems) == 1
    assert "exchanging latitude and longitude" in problems[0]


def test_lost_signs_are_found(real, on_land):
    problems = problems_of(assess(-real["LAT"], real["LON"], real["AUTHOR"], on_land))
    assert any("sign of the latitude" in problem for problem in problems)


def test_one_point_and_whole_degrees(real, on_land):
    spoilt = np.arange(len(real)) % 4 == 0
    at_one = assess(np.where(spoilt, 37.5, real["LAT"]), np.where(spoilt, -97.5, real["LON"]), real["AUTHOR"], on_land)
    assert at_one["at_one_point"] == pytest.approx(0.25, abs=0.005)
    assert any("exactly one point" in problem for problem in problems_of(at_one))
    by_one_author = np.where(spoilt, "me", real["AUTHOR"])
    alone = assess(np.where(spoilt, 37.5, real["LAT"]), np.where(spoilt, -97.5, real["LON"]), by_one_author, on_land)
    assert alone["at_one_point"] < 0.02
    rounded = assess(real["LAT"].round(), real["LON"].round(), real["AUTHOR"], on_land)
    assert any("whole degrees" in problem for problem in problems_of(rounded))


def test_limits_decide():
    def problems(rows, out_of_range, unlabelled, repaired, one_point, whole):
        shares = {"out_of_range": out_of_range, "unlabelled": unlabelled, "at_one_point": one_point}
        repairs = {f"on_land_after_{name}": repaired * (number == 1) for number, name in enumerate(REPAIRS)}
        return problems_of({"rows": rows, "on_whole_degrees": whole, **shares, **repairs})

    assert len(problems(1000, 0.0101, 0.03, 0.021, 0.0, 0.0)) == 2
    assert problems(1000, 0.01, 0.04, 0.021, 0.2, 0.2) == []
    assert problems(49, 1.0, 1.0, 1.0, 1.0, 1.0) == []


def test_points_at_sea_are_no_garbage(on_land):
    rng = np.random.default_rng(3)
    lat, lon = rng.uniform(-60, 60, 4000), rng.uniform(-180, 180, 4000)
    sea = ~on_land(lat, lon)
    authors = np.array([f"a{n}" for n in range(sea.sum())], dtype=object)
    assert problems_of(assess(lat[sea], lon[sea], authors, on_land)) == []
    assert problems_of(coordinate_damage(lat[:0], lon[:0], authors[:0], 0, on_land)) == []

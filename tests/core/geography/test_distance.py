"""Haversine against golden distances computed elsewhere, and its edges."""

import numpy as np
import pytest

from geoloc_core.geography.distance import EARTH_RADIUS_KM, haversine_km, pairwise_haversine_km


@pytest.mark.parametrize(
    ("a", "b", "kilometres"),
    [
        ((52.3676, 4.9041), (40.7128, -74.0060), 5863.216),  # Amsterdam to New York
        ((-17.0, 179.9), (-17.0, -179.9), 21.267),  # across the antimeridian
        ((0.0, 0.0), (0.0, 180.0), 20015.087),  # the antipode
        ((90.0, 0.0), (89.0, 123.0), 111.195),  # from the pole
        ((40.74847, -73.98570), (35.75040, -83.99380), 1034.659),
    ],
)
def test_golden_distances(a: tuple[float, float], b: tuple[float, float], kilometres: float) -> None:
    assert haversine_km(*a, *b) == pytest.approx(kilometres, abs=5e-4)
    assert haversine_km(*b, *a) == pytest.approx(kilometres, abs=5e-4)


def test_same_point_is_zero_and_antipodes_do_not_break() -> None:
    rng = np.random.default_rng(0)
    latitude, longitude = rng.uniform(-90, 90, 10_000), rng.uniform(-180, 180, 10_000)
    assert (haversine_km(latitude, longitude, latitude, longitude) == 0).all()
    opposite = haversine_km(latitude, longitude, -latitude, longitude + 180)
    np.testing.assert_allclose(opposite, np.pi * EARTH_RADIUS_KM, rtol=1e-6)


def test_equals_the_angle_between_unit_vectors() -> None:
    rng = np.random.default_rng(1)
    lat, lon = np.radians(rng.uniform(-90, 90, (2, 2000))), np.radians(rng.uniform(-180, 180, (2, 2000)))
    vectors = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    a, b = vectors[:, 0], vectors[:, 1]
    angle = np.arctan2(np.linalg.norm(np.cross(a, b, axis=0), axis=0), (a * b).sum(axis=0))
    np.testing.assert_allclose(haversine_km(*np.degrees([lat[0], lon[0], lat[1], lon[1]])), angle * 6371.0, atol=1e-6)


def test_pairwise_is_every_pair() -> None:
    lat_a, lon_a, lat_b, lon_b = [0.0, 50.0], [0.0, 5.0], [10.0, -20.0, 51.0], [170.0, 5.0, 4.0]
    matrix = pairwise_haversine_km(lat_a, lon_a, lat_b, lon_b)
    assert matrix.shape == (2, 3)
    for i in range(2):
        for j in range(3):
            assert matrix[i, j] == haversine_km(lat_a[i], lon_a[i], lat_b[j], lon_b[j])


def test_missing_coordinates_give_missing_distances() -> None:
    assert np.isnan(haversine_km([np.nan, 0.0], [0.0, 0.0], 0.0, 0.0)).tolist() == [True, False]

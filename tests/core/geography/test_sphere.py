"""Distances against figures computed elsewhere; areas and centroids on the sphere against closed forms."""

import numpy as np
import pytest
import shapely

from geoloc_core.geography import sphere


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
    assert sphere.haversine_km(*a, *b) == pytest.approx(kilometres, abs=5e-4)
    assert sphere.haversine_km(*b, *a) == pytest.approx(kilometres, abs=5e-4)


def test_same_point_is_zero_and_antipodes_do_not_break() -> None:
    rng = np.random.default_rng(0)
    latitude, longitude = rng.uniform(-90, 90, 10_000), rng.uniform(-180, 180, 10_000)
    assert (sphere.haversine_km(latitude, longitude, latitude, longitude) == 0).all()
    opposite = sphere.haversine_km(latitude, longitude, -latitude, longitude + 180)
    np.testing.assert_allclose(opposite, np.pi * sphere.EARTH_RADIUS_KM, rtol=1e-6)


def test_equals_the_angle_between_unit_vectors() -> None:
    rng = np.random.default_rng(1)
    latitude, longitude = rng.uniform(-90, 90, (2, 2000)), rng.uniform(-180, 180, (2, 2000))
    a, b = sphere.unit_vectors(latitude, longitude)
    np.testing.assert_allclose(sphere.latitude_longitude(a * 7.5), [latitude[0], longitude[0]], atol=1e-10)
    angle = np.arctan2(np.linalg.norm(np.cross(a, b), axis=1), (a * b).sum(axis=1))
    distance = sphere.haversine_km(latitude[0], longitude[0], latitude[1], longitude[1])
    np.testing.assert_allclose(distance, angle * 6371.0, atol=1e-6)


def test_pairs_and_missing_coordinates() -> None:
    lat_a, lon_a, lat_b, lon_b = [0.0, 50.0], [0.0, 5.0], [10.0, -20.0, np.nan], [170.0, 5.0, 4.0]
    expected = [
        [sphere.haversine_km(*a, *b) for b in zip(lat_b, lon_b, strict=True)] for a in zip(lat_a, lon_a, strict=True)
    ]
    np.testing.assert_array_equal(sphere.pairwise_haversine_km(lat_a, lon_a, lat_b, lon_b), expected)
    assert np.isnan(expected).tolist() == [[False, False, True]] * 2


def moments(*shapes: shapely.Geometry) -> tuple[np.ndarray, np.ndarray]:
    return sphere.polygon_moments(np.array(shapes, dtype=object))


def test_area_and_moment_of_a_box_a_cap_and_the_whole_sphere() -> None:
    # Between two parallels the area is Δλ (sin φ2 - sin φ1), and the z moment Δλ (sin² φ2 - sin² φ1) / 2.
    area, moment = moments(shapely.box(10, 20, 40, 65))
    south, north, width = np.radians(20), np.radians(65), np.radians(30)
    assert area[0] == pytest.approx(width * (np.sin(north) - np.sin(south)), rel=1e-12)
    assert moment[0, 2] == pytest.approx(width * (np.sin(north) ** 2 - np.sin(south) ** 2) / 2, rel=1e-12)
    assert sphere.latitude_longitude(moment)[1][0] == pytest.approx(25.0, abs=1e-9)

    area, moment = moments(shapely.box(-180, -90, 180, 90), shapely.box(-180, 70, 180, 90))
    assert area == pytest.approx([4 * np.pi, 2 * np.pi * (1 - np.sin(np.radians(70)))], rel=1e-12)
    assert np.abs(moment[0]).max() < 1e-12
    assert sphere.latitude_longitude(moment[1:])[0][0] == pytest.approx(90.0)


def test_a_hole_counts_against_and_winding_does_not_matter() -> None:
    shell, hole = shapely.box(0, 0, 30, 30), shapely.box(10, 10, 12, 20)
    area, moment = moments(shell, hole, shapely.difference(shell, hole))
    assert area[2] == pytest.approx(area[0] - area[1], rel=1e-12)
    np.testing.assert_allclose(moment[2], moment[0] - moment[1], rtol=1e-12)
    assert moments(shapely.reverse(shell))[0] == pytest.approx(area[:1], rel=1e-14)


def test_centroid_across_the_antimeridian() -> None:
    split = shapely.MultiPolygon([shapely.box(178, -20, 180, -10), shapely.box(-180, -20, -178, -10)])
    latitude, longitude = sphere.latitude_longitude(moments(split)[1])
    assert abs(longitude[0]) == pytest.approx(180.0)
    assert -15.2 < latitude[0] < -14.9


def test_a_sloping_edge_is_straight_in_degrees() -> None:
    # A right triangle: ∫ cos φ over 0 <= φ <= 10 (1 - λ/40), by one-dimensional quadrature.
    area, _ = moments(shapely.Polygon([(0, 0), (40, 0), (0, 10)]))
    lam = np.linspace(0, np.radians(40), 200_001)
    top = np.radians(10) * (1 - lam / np.radians(40))
    assert area[0] == pytest.approx(np.trapezoid(np.sin(top), lam), rel=1e-9)

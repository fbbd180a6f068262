"""The nearest border against brute force on the sphere."""

import itertools

import numpy as np
import pytest
import shapely

from geoloc_core.geography.nearest import NearestRegion, outer_edges
from geoloc_core.geography.sphere import haversine_km, ring_edges


def brute_force(shapes: np.ndarray, latitude: float, longitude: float) -> tuple[int, float]:
    """The nearest of many points strewn along every edge, and of many more around that one."""
    start, end, region = ring_edges(shapes)

    def distances(share: np.ndarray, edges: slice) -> np.ndarray:
        lon, lat = (start[edges, None, i] + (end - start)[edges, None, i] * share for i in (0, 1))
        return haversine_km(latitude, longitude, lat, lon)

    coarse = distances(np.linspace(0, 1, 2001), slice(None))
    edge, place = np.unravel_index(coarse.argmin(), coarse.shape)
    fine = distances(((place + np.linspace(-1, 1, 2001)) / 2000).clip(0, 1), slice(edge, edge + 1))
    return int(region[edge]), float(fine.min())


@pytest.mark.parametrize("latitude", [0.0, 45.0, -63.0, 79.0, 85.5, -89.0, 89.7])
def test_distances_are_those_of_brute_force(latitude: float) -> None:
    rng = np.random.default_rng(int(abs(latitude)))
    width = 1.0 / np.cos(np.radians(latitude))
    shapes = []
    for _ in range(6):
        angle = np.sort(rng.uniform(0, 2 * np.pi, 7))
        x, y = rng.uniform(-1.5, 1.5, 2)
        ring = np.stack([(x + 0.3 * np.cos(angle)) * width, latitude + 0.2 * (y + 0.7 * np.sin(angle))], axis=1)
        shapes.append(shapely.convex_hull(shapely.MultiPoint(ring.clip(-180, 180))))
    shapes = np.array(shapes, dtype=object)
    nearest = NearestRegion(shapes, cap_km=60.0)
    points = np.stack([rng.uniform(-2, 2, 150) * width, latitude + rng.uniform(-0.29, 0.29, 150)], axis=1)
    points = points.clip(-180, 180)
    outside = ~shapely.intersects(shapely.union_all(shapes), shapely.points(points))
    points = points[outside & (np.abs(points[:, 1]) <= 90)]
    index, distance = nearest.find(points[:, 1], points[:, 0])
    for (longitude_, latitude_), nearest_index, km in zip(points, index, distance, strict=True):
        region, expected = brute_force(shapes, latitude_, longitude_)
        if expected > 60.1:
            assert (nearest_index, np.isnan(km)) == (-1, True)
        elif expected < 59.9:
            assert km == pytest.approx(expected, rel=1e-3, abs=2e-3)
            to_nearest = brute_force(shapes[[nearest_index]], latitude_, longitude_)[1]
            assert nearest_index == region or abs(to_nearest - expected) < 5e-3


def test_equal_distances_go_to_the_lowest_index() -> None:
    # Off a coast where two boxes meet, the end of their common border is nearest to a whole wedge of sea.
    a, b = shapely.Polygon([(0, 0), (1, 0), (0, -1)]), shapely.Polygon([(1, 0), (2, -1), (0, -1)])
    for shapes in (np.array([a, b], object), np.array([b, a], object)):
        index, distance = NearestRegion(shapes, 100.0).find(np.array([0.1, 0.3]), np.array([1.02, 1.05]))
        assert index.tolist() == [0, 0]
        np.testing.assert_allclose(distance, haversine_km([0.1, 0.3], [1.02, 1.05], 0, 1), rtol=1e-9)


def test_across_the_antimeridian() -> None:
    shapes = np.array([shapely.box(179, -1, 179.95, 1), shapely.box(-179, -1, -178, 1)], object)
    index, distance = NearestRegion(shapes, 25.0).find(np.array([0.0, 0.0]), np.array([-179.98, -179.1]))
    assert index.tolist() == [0, 1]
    np.testing.assert_allclose(distance, haversine_km(0, [-179.98, -179.1], 0, [179.95, -179.0]), rtol=1e-4)


def test_many_borders_at_one_place() -> None:
    # Twenty needles whose tips meet near one point: many pieces compete.
    angles = np.linspace(0, np.pi, 21)
    needles = [
        shapely.Polygon([(0, 0), (np.cos(a), np.sin(a)), (np.cos(b), np.sin(b))]) for a, b in itertools.pairwise(angles)
    ]
    index, distance = NearestRegion(np.array(needles[::-1], object), 25.0).find(np.array([-0.05]), np.array([0.0]))
    assert index[0] == 0
    assert distance[0] == pytest.approx(haversine_km(-0.05, 0, 0, 0))


def test_the_nearest_border_need_not_have_the_nearest_vertex() -> None:
    # 56 m above the middle of an edge of 990 m, whose ends are 500 m away; another region's tip is 400 m above.
    below = shapely.box(0, -0.5, 0.0089, 0)
    above = shapely.Polygon([(0.00445, 0.0041), (0.3, 0.5), (-0.3, 0.5)])
    for shapes, expected in ((np.array([below, above], object), 0), (np.array([above, below], object), 1)):
        index, distance = NearestRegion(shapes, 25.0).find(np.array([0.0005]), np.array([0.00445]))
        assert index[0] == expected
        assert distance[0] == pytest.approx(0.0556, abs=1e-4)


def test_outer_edges_leave_out_what_neighbours_share() -> None:
    _start, _end, region = outer_edges(np.array([shapely.box(0, 0, 1, 1), shapely.box(1, 0, 2, 1)], object))
    assert np.bincount(region).tolist() == [3, 3]
    assert len(outer_edges(np.array([shapely.box(0, 0, 1, 1)] * 2, object))[0]) == 8

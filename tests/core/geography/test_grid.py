"""The grid against shapely's predicate: on more than two million points they agree on every one.

The points are the hard ones as well as the many: vertices, points on edges and a rounding error beside them, corners and
sides of cells, the antimeridian, the poles.
"""

import dataclasses
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geoloc_core.geography import grid_cache, locate
from geoloc_core.geography.boundaries import BoundarySet
from geoloc_core.geography.exact import ExactRegions
from geoloc_core.geography.grid import ASK_SHAPELY, CELLS_PER_DEGREE, NO_REGION, RegionGrid
from geoloc_core.geography.grid_build import build_grid, distinct_edges
from geoloc_core.geography.locate import RegionLocator

LATTICES = (2.0, 0.5, 1 / CELLS_PER_DEGREE, 0.001, 1e-9)


def shapely_says(shapes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The lowest index of the shapes that intersect each point, with nothing of ours in between."""
    found = np.full(len(points), NO_REGION)
    for index in range(len(shapes))[::-1]:
        shapely.prepare(shapes[index])
        found[shapely.intersects_xy(shapes[index], points)] = index
    return found


def some_shapes(rng: np.random.Generator, kind: str) -> np.ndarray:
    """A few valid polygons somewhere on the globe, with corners on a lattice so that they touch in every way."""
    size = 10.0 ** rng.uniform(-2.5, 1.3)
    lattice = rng.choice(LATTICES)
    span = np.array([180 - size, 90 - size])
    centre = rng.choice([rng.uniform(-span, span), np.sign(rng.uniform(-1, 1, 2)) * span])
    if kind == "coverage":  # Voronoi cells share their borders
        seeds = shapely.MultiPoint(centre + rng.uniform(-size, size, (12, 2)))
        shapes = shapely.get_parts(shapely.voronoi_polygons(seeds))
    elif kind == "overlap":
        shapes = shapely.convex_hull([shapely.MultiPoint(centre + rng.uniform(-size, size, (6, 2))) for _ in range(6)])
    else:  # boxes with holes
        low = centre + rng.uniform(-size, 0, (6, 2))
        high = low + rng.uniform(size / 100, size, (6, 2))
        shapes = shapely.box(*low.T, *high.T)
        shapes = shapely.difference(shapes, shapely.box(*(low + (high - low) / 4).T, *(low + (high - low) / 2).T))
    snapped = shapely.transform(shapes, lambda p: np.clip(np.round(p / lattice) * lattice, [-180, -90], [180, 90]))
    whole = shapely.make_valid(snapped)
    parts = [[p for p in shapely.get_parts(shape) if p.geom_type in ("Polygon", "MultiPolygon")] for shape in whole]
    return np.array([shapely.union_all(p) for p in parts if p], dtype=object)


def some_points(rng: np.random.Generator, shapes: np.ndarray, n: int) -> np.ndarray:
    """Points (about n, 2) in and around the shapes, most of them where it is hard."""
    west, south, east, north = shapely.total_bounds(shapes)
    corners = shapely.get_coordinates(shapes)
    edges = distinct_edges(shapes)
    a, b = np.stack([edges.xa, edges.ya], 1), np.stack([edges.xb, edges.yb], 1)
    pick, share = rng.integers(0, len(a), n // 3), rng.uniform(0, 1, (n // 3, 1))
    on_edge = a[pick] + (b - a)[pick] * share
    anywhere = rng.uniform([west, south], [east, north], (n // 3, 2))
    cells = np.round(rng.uniform([west, south], [east, north], (n // 6, 2)) * CELLS_PER_DEGREE) / CELLS_PER_DEGREE
    same_height = np.stack([rng.uniform(west, east, n // 6), corners[rng.integers(0, len(corners), n // 6), 1]], 1)
    nudged = on_edge + rng.choice([1e-15, 1e-13, 1e-11, 1e-9, 1e-6], (n // 3, 1)) * rng.normal(size=(n // 3, 2))
    points = np.concatenate([corners, (a + b) / 2, on_edge, nudged, anywhere, cells, same_height])
    return points[(np.abs(points[:, 0]) <= 180) & (np.abs(points[:, 1]) <= 90)]


def grid_says(grid: RegionGrid, shapes: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, float]:
    """The grid's answers with those it gives back to shapely filled in, and the share of these."""
    found = grid.find(*np.ascontiguousarray(points.T))
    ask = found == ASK_SHAPELY
    found[ask] = ExactRegions(shapes).find_on_plane(*points[ask].T)
    return found, float(ask.mean())


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32), kind=st.sampled_from(["coverage", "overlap", "boxes"]))
def test_any_shapes_any_points(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    shapes = some_shapes(rng, kind)
    if len(shapes):
        points = some_points(rng, shapes, 8_000)
        found, _ = grid_says(build_grid(shapes), shapes, points)
        np.testing.assert_array_equal(found, shapely_says(shapes, points))


def test_the_embedded_regions_on_more_than_a_million_points(embedded: BoundarySet) -> None:
    shapes = np.asarray(embedded.subdivisions.geometry.values)
    grid, exact = build_grid(shapes), ExactRegions(shapes)
    rng = np.random.default_rng(0)
    corners = shapely.get_coordinates(shapes)[::3]
    near_borders = corners[rng.integers(0, len(corners), 500_000)] + rng.normal(0, 0.01, (500_000, 2))
    around = rng.uniform([-180, -90], [180, 90], (600_000, 2))
    points = np.concatenate([corners, near_borders, around]).clip([-180, -90], [180, 90])
    assert len(points) > 1_200_000  # with the 800,000 of the test above: two million
    found = grid.find(*np.ascontiguousarray(points.T))
    decided = found != ASK_SHAPELY
    assert decided[len(corners) :].mean() > 0.999  # vertices are given back, and points put on the seam
    np.testing.assert_array_equal(found[decided], exact.find_on_plane(*points[decided].T))


def test_a_cell_with_too_many_regions_is_given_back() -> None:
    slices = np.array([shapely.box(x, 0, x + 0.001, 1) for x in np.arange(0, 0.02, 0.001)], object)
    points = np.random.default_rng(0).uniform([-0.01, -0.01], [0.03, 1.01], (5000, 2))
    found, asked = grid_says(build_grid(slices), slices, points)
    np.testing.assert_array_equal(found, shapely_says(slices, points))
    assert asked > 0.3


def test_no_regions() -> None:
    grid = build_grid(np.array([], object))
    assert grid.find(np.array([0.0, 180.0]), np.array([0.0, 90.0])).tolist() == [NO_REGION, NO_REGION]


def test_a_region_of_everything() -> None:
    world = np.array([shapely.box(-180, -90, 180, 90)], object)
    points = np.random.default_rng(0).uniform([-180, -90], [180, 90], (1000, 2))
    found, _ = grid_says(build_grid(world), world, np.concatenate([points, [[-180, -90], [180, 90], [0, 90]]]))
    assert (found == 0).all()


def random_points(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    longitude, latitude = rng.uniform(-180, 180, n), rng.uniform(-90, 90, n)
    longitude[::1000], latitude[1::1000] = rng.choice([-180.0, 180.0], n // 1000), rng.choice([-90.0, 90.0], n // 1000)
    longitude[2::1000] = np.nan
    return longitude, latitude


def same(a: locate.Located, b: locate.Located) -> bool:
    return all(
        np.array_equal(x, y, equal_nan=x.dtype == np.float32)
        for x, y in zip(dataclasses.astuple(a), dataclasses.astuple(b), strict=True)
    )


@pytest.fixture
def few_regions(embedded: BoundarySet) -> Iterator[BoundarySet]:
    """Fiji, Antarctica and some others, so that making their grid is quick."""
    some = embedded.countries[embedded.countries["region_id"].isin(["FJI", "ATA", "NZL", "NLD", "BEL"])]
    units = embedded.subdivisions[embedded.subdivisions["parent_id"].isin(some["region_id"])]
    return dataclasses.replace(
        embedded, countries=some.reset_index(drop=True), subdivisions=units.reset_index(drop=True), identity="few"
    )


def test_few_points_and_many_points_have_the_same_answers(
    few_regions: BoundarySet, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = random_points(20_000)
    by_shapely = RegionLocator(few_regions).locate(*points)
    by_grid = RegionLocator(few_regions).prepare().locate(*points)
    assert same(by_shapely, by_grid)
    assert set(by_grid.quality) == {"inside", "near", "none"}
    monkeypatch.setattr(locate, "_CHUNK", 777)
    assert same(RegionLocator(few_regions, threads=3).prepare().locate(*points), by_grid)
    monkeypatch.setattr(locate, "_GRID_PAYS_FROM", 10_000)
    assert same(RegionLocator(few_regions).locate(*points), by_grid)


def test_one_locator_serves_many_threads(few_regions: BoundarySet) -> None:
    points = random_points(3_000)
    expected = RegionLocator(few_regions).locate(*points)
    locator = RegionLocator(few_regions)
    start = threading.Barrier(4)

    def work(_: int) -> locate.Located:
        start.wait()
        return locator.locate(*points)

    with ThreadPoolExecutor(4) as pool:
        assert all(same(result, expected) for result in pool.map(work, range(4)))


def test_the_grid_is_kept_on_disk(few_regions: BoundarySet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = random_points(2_000)
    made = RegionLocator(few_regions, cache=tmp_path).prepare().locate(*points)
    (file,) = tmp_path.iterdir()

    def refuse(_: np.ndarray) -> RegionGrid:
        raise AssertionError("made again")

    with monkeypatch.context() as patch:
        patch.setattr(locate, "build_grid", refuse)
        assert same(RegionLocator(few_regions, cache=tmp_path).prepare().locate(*points), made)
        other = dataclasses.replace(few_regions, identity="other")
        with pytest.raises(AssertionError, match="made again"):
            RegionLocator(other, cache=tmp_path).prepare()

    content = bytearray(file.read_bytes())
    for damaged in (content[: len(content) // 2], b"", content[:4000] + bytes(50) + content[4050:]):
        file.write_bytes(damaged)
        assert grid_cache.load_grid(file) is None
        assert same(RegionLocator(few_regions, cache=tmp_path).prepare().locate(*points), made)
    assert grid_cache.load_grid(file) is not None

"""Points to regions: known places, the documented rules on borders, seams and poles, and agreement with other maps."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

from geoloc_core.errors import InputError
from geoloc_core.geography import locate
from geoloc_core.geography.boundaries import BoundarySet, import_boundaries, make_boundary_set
from geoloc_core.geography.boundary_formats import BoundarySpec
from geoloc_core.geography.locate import PolygonIndex, RegionLocator
from geoloc_core.geography.sphere import latitude_longitude

CITIES = [  # latitude, longitude, country, sub-division
    ("Amsterdam", 52.373, 4.893, "NLD", "NL-NH"),
    ("Windhoek", -22.560, 17.084, "NAM", "NA-KH"),
    ("Juba", 4.859, 31.571, "SSD", None),
    ("Paris", 48.857, 2.352, "FRA", "FR-75"),
    ("Oslo", 59.913, 10.752, "NOR", "NO-03"),
    ("Longyearbyen", 78.20, 15.60, "NOR", None),
    ("Pristina", 42.663, 21.162, "XKX", None),
    ("Ramallah", 31.903, 35.204, "PSE", None),
    ("Taipei", 25.037, 121.564, "TWN", "TW-TPE"),
    ("Hong Kong", 22.337, 114.176, "HKG", None),
    ("Anchorage", 61.195, -149.80, "USA", "US-AK"),
    ("Honolulu", 21.33, -157.83, "USA", "US-HI"),
    ("Canberra", -35.28, 149.13, "AUS", "AU-ACT"),
    ("Suva", -18.10, 178.44, "FJI", "FJ-C"),
    ("McMurdo", -77.845, 166.69, "ATA", None),
    ("South Pole", -90.0, 0.0, "ATA", None),
]


def squares(**boxes: tuple[float, float, float, float]) -> BoundarySet:
    """A set of countries without sub-divisions, each a box (west, south, east, north)."""
    return polygons(**{name: shapely.box(*box) for name, box in boxes.items()})


def polygons(**shapes: shapely.Geometry) -> BoundarySet:
    facts = {"region_id": list(shapes), "name": list(shapes), "iso_a2": "", "continent": ""}
    return make_boundary_set("", "", gpd.GeoDataFrame(facts, geometry=list(shapes.values()), crs="EPSG:4326"))


def test_cities(embedded: BoundarySet, locator: RegionLocator) -> None:
    names, latitude, longitude, countries, units = zip(*CITIES, strict=True)
    located = locator.locate(longitude, latitude)
    assert embedded.ids("country", located.index["country"]).tolist() == list(countries)
    for name, unit, expected in zip(
        names, embedded.ids("subdivision", located.index["subdivision"]), units, strict=True
    ):
        assert expected in (None, unit), name
    assert set(located.quality) == {"inside"}
    assert (located.distance_km == 0).all()


def test_the_sea_near_and_far(embedded: BoundarySet, locator: RegionLocator) -> None:
    # Off Scheveningen, 10 km from the beach; the middle of the Atlantic; the north pole; a buoy where no one lives.
    located = locator.locate(longitude=[4.1388, -40.0, 0.0, -30.0], latitude=[52.154, 30.0, 90.0, 0.0])
    assert located.quality.tolist() == ["near", "none", "none", "none"]
    assert embedded.countries["region_id"][located.index["country"][0]] == "NLD"
    assert located.distance_km[0] == pytest.approx(10, abs=3)
    assert located.index["country"][1:].tolist() == located.index["subdivision"][1:].tolist() == [-1, -1, -1]
    assert np.isnan(located.distance_km[1:]).all()


def test_shared_borders_and_overlaps_go_to_the_lowest_index() -> None:
    locator = RegionLocator(squares(AAA=(0, 0, 1, 1), BBB=(1, 0, 2, 1), CCC=(0, 1, 2, 2)))
    located = locator.locate([1.0, 1.0, 1.5, 1.0, 2.0], [0.5, 1.0, 1.0, 0.0, 1.0])
    assert located.index["country"].tolist() == [0, 0, 1, 0, 1]
    assert set(located.quality) == {"inside"}
    locator = RegionLocator(squares(BIG=(0, 0, 10, 10), SML=(4, 4, 6, 6), ZZZ=(9, 9, 12, 12)))
    assert locator.locate([5, 9.5, 11], [5, 9.5, 11]).index["country"].tolist() == [0, 0, 2]
    locator = RegionLocator(squares(BIG=(4, 4, 6, 6), SML=(0, 0, 10, 10)))
    assert locator.locate([5, 1], [5, 1]).index["country"].tolist() == [0, 1]


def test_a_hole_belongs_to_the_region_that_fills_it() -> None:
    ring = shapely.difference(shapely.box(0, 0, 10, 10), shapely.box(4, 4, 6, 6))
    locator = RegionLocator(polygons(AAA=ring, BBB=shapely.box(4.5, 4.5, 6, 6)), near_cap_km=100)
    located = locator.locate([5.5, 4.0, 4.2, 4.4], [5.5, 5.0, 4.2, 5.0])
    assert located.index["country"].tolist() == [1, 0, 0, 1]
    assert located.quality.tolist() == ["inside", "inside", "near", "near"]


def test_the_antimeridian_is_one_line() -> None:
    locator = RegionLocator(squares(EAS=(170, 0, 180, 10), WES=(-180, 0, -170, 4), XXX=(-180, 4, -170, 10)))
    located = locator.locate([180.0, -180.0, -180.0, 180.0, 179.5, -179.5], [2, 2, 7, 7, 2, 2])
    assert located.index["country"].tolist() == [0, 0, 0, 0, 0, 1]
    only_west = RegionLocator(squares(WES=(-180, 0, -170, 4)))
    located = only_west.locate([180.0, -180.0, 179.9, 540.0], [2, 2, 2, 2])
    assert located.quality.tolist() == ["inside", "inside", "near", "inside"]
    assert located.distance_km[2] == pytest.approx(11.11, abs=0.02)


def test_a_pole_is_one_point() -> None:
    locator = RegionLocator(squares(AAA=(-180, -80, 180, -70), BBB=(-180, -90, -60, -80), CCC=(-60, -90, 180, -80)))
    located = locator.locate([-120.0, 0.0, 77.0, 0.0], [-90, -90, -90, 90])
    assert located.index["country"].tolist() == [1, 1, 1, -1]
    north = RegionLocator(squares(CAP=(-180, 89.9, 180, 90)))
    located = north.locate([0.0, 33.0], [90, 89.8])
    assert located.quality.tolist() == ["inside", "near"]
    assert located.distance_km[1] == pytest.approx(11.12, abs=0.02)


def test_whole_turns_and_missing_coordinates() -> None:
    locator = RegionLocator(squares(AAA=(0, 0, 10, 10)))
    located = locator.locate([365.0, -355.0, np.nan, 5.0], [5.0, 5.0, 5.0, np.nan])
    assert located.index["country"].tolist() == [0, 0, -1, -1]
    assert located.quality.tolist() == ["inside", "inside", "none", "none"]

    with pytest.raises(InputError, match=r"1 points lie off the globe, the first at position 1.*swapped"):
        locator.locate([5.0, 52.3], [5.0, 104.9])
    with pytest.raises(InputError, match="off the globe"):
        locator.locate([np.inf], [5.0])
    with pytest.raises(InputError, match="must be of one length"):
        locator.locate([1.0, 2.0], [1.0])
    with pytest.raises(InputError, match="near_cap_km"):
        RegionLocator(squares(AAA=(0, 0, 1, 1)), near_cap_km=-1)


@pytest.mark.parametrize(
    ("cap", "kilometres", "quality"),
    [(11.0, 11.12, "none"), (11.2, 11.12, "near"), (0, 0.0001, "none"), (None, 24.95, "near"), (None, 25.05, "none")],
)
def test_the_cap_is_obeyed_and_25_km_by_default(cap: float | None, kilometres: float, quality: str) -> None:
    boxes = squares(AAA=(0, -1, 1, 1))
    locator = RegionLocator(boxes) if cap is None else RegionLocator(boxes, near_cap_km=cap)
    located = locator.locate([1.0, 1 + kilometres / 111.1949], [0.0, 0.0])  # along the equator
    assert located.quality.tolist() == ["inside", quality]
    if quality == "near":
        assert located.distance_km[1] == pytest.approx(kilometres, abs=0.001)


def lowest_intersecting(shapes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The lowest index of the shapes that intersect each point, -1 for none, with nothing of ours in between."""
    shape, point = shapely.STRtree(shapely.points(points)).query(shapes, predicate="intersects")
    return pd.Series(shape).groupby(point).min().reindex(range(len(points)), fill_value=-1).to_numpy()


def test_random_overlapping_shapes_agree_with_shapely() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        low = np.round(rng.uniform([-170, -80], [100, 40], (8, 2)) / 10) * 10  # on a lattice, so that borders coincide
        high = low + rng.choice([10.0, 20.0, 40.0], (8, 2))
        hulls = shapely.convex_hull([shapely.MultiPoint(rng.uniform([-170, -80], [140, 80], (5, 2))) for _ in range(3)])
        holes = shapely.box(*(low + 2).T, *(low + 5).T)
        shapes = np.concatenate([shapely.difference(shapely.box(*low.T, *high.T), holes), hulls])
        vertices = shapely.get_coordinates(shapes)
        nudged = vertices[rng.integers(0, len(vertices), 2000)] + rng.choice([1e-15, 1e-12, 1e-6], (2000, 1))
        lattice = np.round(rng.uniform([-170, -80], [140, 80], (2000, 2)))
        points = np.concatenate([vertices, nudged, lattice]).clip(-89, 89)
        np.testing.assert_array_equal(PolygonIndex(shapes).find(*points.T), lowest_intersecting(shapes, points))


def test_embedded_regions_agree_with_shapely(embedded: BoundarySet, locator: RegionLocator) -> None:
    shapes = np.asarray(embedded.subdivisions.geometry.values)
    rng = np.random.default_rng(3)
    vertices = shapely.get_coordinates(shapes)
    near_borders = vertices[rng.integers(0, len(vertices), 100_000)] + rng.normal(0, 0.01, (100_000, 2))
    vectors = rng.normal(size=(100_000, 3))
    around = np.stack(latitude_longitude(vectors)[::-1], axis=1)
    points = np.concatenate([vertices[::20], near_borders, around])
    points = points[(np.abs(points[:, 0]) < 180) & (np.abs(points[:, 1]) < 90)]
    located = locator.locate(*points.T)
    inside = located.quality == "inside"
    expected = lowest_intersecting(shapes, points)
    country, unit = located.index["country"], located.index["subdivision"]
    np.testing.assert_array_equal(np.where(inside, unit, -1), expected)
    assert country.dtype == unit.dtype == np.int32
    assert (located.distance_km.dtype, located.quality.dtype) == (np.float32, object)
    np.testing.assert_array_equal(country, np.append(embedded.parent_indices(), -1)[unit])
    assert len(locator.locate([], []).quality) == 0


def test_chunks_and_threads_change_nothing(embedded, locator, monkeypatch):
    rng = np.random.default_rng(5)
    points = rng.uniform(-180, 180, 20_000), rng.uniform(-90, 90, 20_000)
    points[0][::1000], points[1][1::1000], points[0][2::1000] = 180.0, -90.0, np.nan
    expected = locator.locate(*points)
    assert set(expected.quality) == {"inside", "near", "none"}
    monkeypatch.setattr(locate, "_CHUNK", 777)
    fresh = RegionLocator(embedded)
    with ThreadPoolExecutor(4) as pool:
        for located in pool.map(lambda _: fresh.locate(*points), range(4)):
            assert np.array_equal(located.index["subdivision"], expected.index["subdivision"])
            assert np.array_equal(located.index["country"], expected.index["country"])
            assert np.array_equal(located.quality, expected.quality)
            assert np.array_equal(located.distance_km, expected.distance_km, equal_nan=True)


@pytest.fixture(scope="module")
def later_map(shared_data: Path) -> BoundarySet:
    path = shared_data / "boundaries" / "ne_10m_admin_0_countries.gpkg"
    return import_boundaries(BoundarySpec("later", "natural_earth", countries=str(path)))


@pytest.mark.parametrize("file", ["im2gps_places365.csv", "yfcc26k_half_places365.csv"])
def test_country_agrees_with_a_later_map(embedded, locator, later_map, shared_data, file):
    photos = pd.read_csv(shared_data / "benchmarks" / file)
    located = locator.locate(photos["LON"], photos["LAT"])
    later = RegionLocator(later_map).locate(photos["LON"], photos["LAT"])
    ours, theirs = embedded.ids("country", located.index["country"]), later_map.ids("country", later.index["country"])
    assert (ours == theirs).mean() >= 0.995
    assert (located.quality == "none").mean() < 0.005

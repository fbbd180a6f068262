"""Points to regions: known places, the documented rules on borders, seams and poles, and agreement with other maps."""

from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

from geoloc_core.errors import InputError
from geoloc_core.geography.boundaries import BoundarySet, make_boundary_set
from geoloc_core.geography.boundary_import import import_boundaries
from geoloc_core.geography.boundary_spec import BoundarySpec
from geoloc_core.geography.locate import RegionLocator

CITIES = [  # latitude, longitude, country, sub-division
    ("Amsterdam", 52.373, 4.893, "NLD", "NL-NH"),
    ("Windhoek", -22.560, 17.084, "NAM", "NA-KH"),
    ("Nairobi", -1.286, 36.817, "KEN", None),
    ("Cairo", 30.044, 31.236, "EGY", "EG-C"),
    ("Juba", 4.859, 31.571, "SSD", None),
    ("Paris", 48.857, 2.352, "FRA", "FR-75"),
    ("Cayenne", 4.93, -52.33, "FRA", None),
    ("Oslo", 59.913, 10.752, "NOR", "NO-03"),
    ("Longyearbyen", 78.20, 15.60, "NOR", None),
    ("Pristina", 42.663, 21.162, "XKX", None),
    ("Ramallah", 31.903, 35.204, "PSE", None),
    ("Delhi", 28.644, 77.216, "IND", "IN-DL"),
    ("Kyoto", 35.012, 135.768, "JPN", "JP-26"),
    ("Taipei", 25.037, 121.564, "TWN", "TW-TPE"),
    ("Hong Kong", 22.337, 114.176, "HKG", None),
    ("Denver", 39.739, -104.990, "USA", "US-CO"),
    ("Anchorage", 61.195, -149.80, "USA", "US-AK"),
    ("Honolulu", 21.33, -157.83, "USA", "US-HI"),
    ("Mexico City", 19.43, -99.13, "MEX", None),
    ("La Paz", -16.50, -68.13, "BOL", "BO-L"),
    ("Brasilia", -15.78, -47.93, "BRA", "BR-DF"),
    ("Canberra", -35.28, 149.13, "AUS", "AU-ACT"),
    ("Suva", -18.10, 178.44, "FJI", "FJ-C"),
    ("McMurdo", -77.845, 166.69, "ATA", None),
    ("South Pole", -90.0, 0.0, "ATA", None),
]


def squares(**boxes: tuple[float, float, float, float]) -> BoundarySet:
    """A set of countries without sub-divisions, each a box (west, south, east, north)."""
    return polygons(**{name: shapely.box(*box) for name, box in boxes.items()})


def polygons(**shapes: shapely.Geometry) -> BoundarySet:
    countries = gpd.GeoDataFrame(
        {"region_id": list(shapes), "name": list(shapes), "iso_a2": "", "continent": ""},
        geometry=list(shapes.values()),
        crs="EPSG:4326",
    )
    nothing = gpd.GeoDataFrame({"region_id": [], "parent_id": [], "name": []}, geometry=[], crs="EPSG:4326")
    return make_boundary_set("boxes", "", countries, nothing)


@pytest.mark.parametrize(
    ("latitude", "longitude", "country", "unit"), [c[1:] for c in CITIES], ids=[c[0] for c in CITIES]
)
def test_cities(
    embedded: BoundarySet, locator: RegionLocator, latitude: float, longitude: float, country: str, unit: str | None
) -> None:
    found = locator.locate(longitude=[longitude], latitude=[latitude])
    assert embedded.countries["region_id"][found.country_index[0]] == country
    assert found.quality[0] == "inside"
    assert found.distance_km[0] == 0
    if unit:
        assert embedded.subdivisions["region_id"][found.subdivision_index[0]] == unit


def test_the_sea_near_and_far(embedded: BoundarySet, locator: RegionLocator) -> None:
    # Off Scheveningen, 10 km from the beach; the middle of the Atlantic; the north pole; a buoy where no one lives.
    found = locator.locate(longitude=[4.1388, -40.0, 0.0, -30.0], latitude=[52.154, 30.0, 90.0, 0.0])
    assert found.quality.tolist() == ["near", "none", "none", "none"]
    assert embedded.countries["region_id"][found.country_index[0]] == "NLD"
    assert found.distance_km[0] == pytest.approx(10, abs=3)
    assert found.country_index[1:].tolist() == found.subdivision_index[1:].tolist() == [-1, -1, -1]
    assert np.isnan(found.distance_km[1:]).all()


def test_dtypes_and_lengths(locator: RegionLocator) -> None:
    found = locator.locate([4.9, 0.0], [52.37, -60.0])
    assert found.subdivision_index.dtype == found.country_index.dtype == np.int32
    assert found.distance_km.dtype == np.float32
    assert found.quality.dtype == object
    empty = locator.locate([], [])
    assert len(empty.country_index) == len(empty.quality) == 0


def test_country_is_the_parent_of_the_subdivision(embedded: BoundarySet, locator: RegionLocator) -> None:
    rng = np.random.default_rng(0)
    found = locator.locate(rng.uniform(-180, 180, 20_000), rng.uniform(-90, 90, 20_000))
    some = found.subdivision_index >= 0
    assert (found.country_index[some] == embedded.parent_indices()[found.subdivision_index[some]]).all()
    assert ((found.country_index >= 0) == some).all()


def test_shared_border_goes_to_the_lowest_index() -> None:
    locator = RegionLocator(squares(AAA=(0, 0, 1, 1), BBB=(1, 0, 2, 1), CCC=(0, 1, 2, 2)))
    x, y = [1.0, 1.0, 1.5, 1.0, 2.0], [0.5, 1.0, 1.0, 0.0, 1.0]
    assert locator.locate(x, y).country_index.tolist() == [0, 0, 1, 0, 1]
    assert set(locator.locate(x, y).quality) == {"inside"}


def test_overlap_goes_to_the_lowest_index() -> None:
    locator = RegionLocator(squares(BIG=(0, 0, 10, 10), SML=(4, 4, 6, 6), ZZZ=(9, 9, 12, 12)))
    assert locator.locate([5, 9.5, 11], [5, 9.5, 11]).country_index.tolist() == [0, 0, 2]
    locator = RegionLocator(squares(BIG=(4, 4, 6, 6), SML=(0, 0, 10, 10)))
    assert locator.locate([5, 1], [5, 1]).country_index.tolist() == [0, 1]


def test_holes_belong_to_who_fills_them() -> None:
    ring = shapely.difference(shapely.box(0, 0, 10, 10), shapely.box(4, 4, 6, 6))
    locator = RegionLocator(polygons(AAA=ring, BBB=shapely.box(4.5, 4.5, 6, 6)), near_cap_km=100)
    found = locator.locate([5.5, 4.0, 4.2, 4.4], [5.5, 5.0, 4.2, 5.0])
    assert found.country_index.tolist() == [1, 0, 0, 1]
    assert found.quality.tolist() == ["inside", "inside", "near", "near"]


def test_the_antimeridian_is_one_line() -> None:
    locator = RegionLocator(squares(EAS=(170, 0, 180, 10), WES=(-180, 0, -170, 4), XXX=(-180, 4, -170, 10)))
    found = locator.locate([180.0, -180.0, -180.0, 180.0, 179.5, -179.5], [2, 2, 7, 7, 2, 2])
    assert found.country_index.tolist() == [0, 0, 0, 0, 0, 1]
    only_west = RegionLocator(squares(WES=(-180, 0, -170, 4)))
    found = only_west.locate([180.0, -180.0, 179.9, 540.0], [2, 2, 2, 2])
    assert found.quality.tolist() == ["inside", "inside", "near", "inside"]
    assert found.distance_km[2] == pytest.approx(11.11, abs=0.02)


def test_a_pole_is_one_point() -> None:
    locator = RegionLocator(squares(AAA=(-180, -80, 180, -70), BBB=(-180, -90, -60, -80), CCC=(-60, -90, 180, -80)))
    found = locator.locate([-120.0, 0.0, 77.0, 0.0], [-90, -90, -90, 90])
    assert found.country_index.tolist() == [1, 1, 1, -1]
    north = RegionLocator(squares(CAP=(-180, 89.9, 180, 90)))
    found = north.locate([0.0, 33.0], [90, 89.8])
    assert found.quality.tolist() == ["inside", "near"]
    assert found.distance_km[1] == pytest.approx(11.12, abs=0.02)


def test_whole_turns_and_missing_coordinates() -> None:
    locator = RegionLocator(squares(AAA=(0, 0, 10, 10)))
    found = locator.locate([365.0, -355.0, np.nan, 5.0], [5.0, 5.0, 5.0, np.nan])
    assert found.country_index.tolist() == [0, 0, -1, -1]
    assert found.quality.tolist() == ["inside", "inside", "none", "none"]


def test_impossible_coordinates_are_refused() -> None:
    locator = RegionLocator(squares(AAA=(0, 0, 10, 10)))
    with pytest.raises(InputError, match=r"1 points lie off the globe, the first at position 1.*swapped"):
        locator.locate([5.0, 52.3], [5.0, 104.9])
    with pytest.raises(InputError, match="off the globe"):
        locator.locate([np.inf], [5.0])
    with pytest.raises(InputError, match="must be of one length"):
        locator.locate([1.0, 2.0], [1.0])
    with pytest.raises(InputError, match="near_cap_km"):
        RegionLocator(squares(AAA=(0, 0, 1, 1)), near_cap_km=-1)


def test_the_cap_is_obeyed() -> None:
    boxes = squares(AAA=(0, 0, 1, 1))
    point = ([1.1], [0.5])  # 11.12 km east of the box
    assert RegionLocator(boxes, near_cap_km=11.0).locate(*point).quality[0] == "none"
    near = RegionLocator(boxes, near_cap_km=11.2).locate(*point)
    assert near.quality[0] == "near"
    assert near.distance_km[0] == pytest.approx(11.119, abs=0.01)
    assert RegionLocator(boxes, near_cap_km=0).locate([1.0, 1.000001], [0.5, 0.5]).quality.tolist() == [
        "inside",
        "none",
    ]


def test_the_cap_is_25_km_unless_said_otherwise() -> None:
    degrees = np.array([24.95, 25.05]) / 111.1949  # along the equator
    found = RegionLocator(squares(AAA=(0, -1, 1, 1))).locate(1 + degrees, [0.0, 0.0])
    assert found.quality.tolist() == ["near", "none"]


def test_embedded_agrees_with_shapely_on_random_points(embedded: BoundarySet, locator: RegionLocator) -> None:
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(3000, 3))
    longitude = np.degrees(np.arctan2(vectors[:, 1], vectors[:, 0]))
    latitude = np.degrees(np.arctan2(vectors[:, 2], np.hypot(vectors[:, 0], vectors[:, 1])))
    found = locator.locate(longitude, latitude)
    tree = shapely.STRtree(np.asarray(embedded.subdivisions.geometry.values))
    point, region = tree.query(shapely.points(longitude, latitude), predicate="intersects")
    lowest = pd.Series(region).groupby(point).min().reindex(range(3000), fill_value=-1)
    inside = found.quality == "inside"
    assert np.where(inside, found.subdivision_index, -1).tolist() == lowest.tolist()


@pytest.fixture(scope="module")
def later_map(shared_data: Path) -> BoundarySet:
    path = shared_data / "boundaries" / "ne_10m_admin_0_countries.gpkg"
    return import_boundaries(BoundarySpec("later", "natural_earth", countries=str(path)))


@pytest.mark.parametrize("file", ["im2gps_places365.csv", "yfcc26k_half_places365.csv"])
def test_country_agrees_with_a_later_map(
    embedded: BoundarySet, locator: RegionLocator, later_map: BoundarySet, shared_data: Path, file: str
) -> None:
    photos = pd.read_csv(shared_data / "benchmarks" / file)
    ours, theirs = (
        np.append(boundaries.countries["region_id"].to_numpy(object), "")[
            RegionLocator(boundaries).locate(photos["LON"], photos["LAT"]).country_index
        ]
        for boundaries in (embedded, later_map)
    )
    assert (ours == theirs).mean() >= 0.995
    quality = pd.Series(locator.locate(photos["LON"], photos["LAT"]).quality).value_counts()
    assert quality.sum() == len(photos)
    assert quality["none"] < 0.005 * len(photos)

"""What the tests of the sample share."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import pytest
import shapely

from geoloc_core.geography.boundaries import BoundarySet, load_boundaries, make_boundary_set
from geoloc_core.photos.sample.delivery import draw_delivery
from geoloc_core.photos.sample.spec import SampleSpec


@pytest.fixture(scope="session")
def embedded() -> BoundarySet:
    return load_boundaries()


@pytest.fixture(scope="session")
def two_countries() -> BoundarySet:
    """The United States and Spain as squares of 10 degrees, each of 2 x 2 sub-divisions."""
    corners = {"USA": (-100, 35, "North America"), "ESP": (-6, 36, "Europe")}
    subdivisions = []
    for country, (west, south, _) in corners.items():
        for column in range(2):
            for row in range(2):
                x, y = west + 5 * column, south + 5 * row
                name = f"{country[:2]}-{column}{row}"
                subdivisions.append((name, country, name, shapely.box(x, y, x + 5, y + 5)))
    countries = [
        (name, name, name[:2], continent, shapely.box(west, south, west + 10, south + 10))
        for name, (west, south, continent) in corners.items()
    ]
    return make_boundary_set(
        "two squares",
        "drawn for a test",
        gpd.GeoDataFrame(countries, columns=["region_id", "name", "iso_a2", "continent", "geometry"], crs="EPSG:4326"),
        gpd.GeoDataFrame(subdivisions, columns=["region_id", "parent_id", "name", "geometry"], crs="EPSG:4326"),
    )


@pytest.fixture(scope="session")
def small_spec() -> SampleSpec:
    return SampleSpec(shards=2, photos_per_shard=60, benchmarks={"bench": 30}, image_size=96, authors=12)


@pytest.fixture(scope="session")
def small_delivery(
    small_spec: SampleSpec, two_countries: BoundarySet, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The shard sample-00 of `small_spec`, in the world of two squares."""
    folder = tmp_path_factory.mktemp("small") / "sample-00"
    draw_delivery(small_spec, "sample-00", folder, two_countries)
    return folder

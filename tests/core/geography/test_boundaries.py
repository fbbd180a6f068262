"""The embedded boundaries, and the file that keeps a boundary set."""

import re
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from geoloc_core.errors import InputError
from geoloc_core.geography.boundaries import (
    COLUMN_DOCS,
    COUNTRY_COLUMNS,
    EMBEDDED_FILE,
    SUBDIVISION_COLUMNS,
    BoundarySet,
    load_boundaries,
    make_boundary_set,
    read_boundaries,
    write_boundaries,
)


def country(region_id: str, box: tuple[float, float, float, float]) -> dict:
    return {
        "region_id": region_id,
        "name": region_id,
        "iso_a2": region_id[:2],
        "continent": "Asia",
        "geometry": shapely.box(*box),
    }


def frames(crs: str = "EPSG:4326") -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]:
    countries = gpd.GeoDataFrame([country("BBB", (1, 0, 2, 1)), country("AAA", (0, 0, 1, 1))], crs=crs)
    units = gpd.GeoDataFrame(
        [
            {"region_id": "AA-2", "parent_id": "AAA", "name": "two", "geometry": shapely.box(0, 0.5, 1, 1)},
            {"region_id": "AA-1", "parent_id": "AAA", "name": "one", "geometry": shapely.box(0, 0, 1, 0.5)},
            {"region_id": "BB-1", "parent_id": "BBB", "name": "Ünïcode", "geometry": shapely.box(1, 0, 2, 1)},
        ],
        crs=crs,
    )
    return countries, units


def test_counts_columns_and_order(embedded: BoundarySet) -> None:
    assert len(embedded.countries) == 249
    assert len(embedded.subdivisions) == 4556
    for frame, columns in ((embedded.countries, COUNTRY_COLUMNS), (embedded.subdivisions, SUBDIVISION_COLUMNS)):
        assert tuple(frame.columns) == columns
        assert frame.crs.to_epsg() == 4326
        assert frame["region_id"].is_unique
        assert frame["region_id"].is_monotonic_increasing
        assert frame.geometry.is_valid.all()
        assert not frame.isna().any().any()
        assert (frame.drop(columns="geometry") != "").all().all()


def test_ids_have_their_shapes(embedded: BoundarySet) -> None:
    assert embedded.countries["region_id"].str.fullmatch(r"[A-Z]{3}").all()
    assert embedded.countries["iso_a2"].str.fullmatch(r"[A-Z]{2}").all()
    assert embedded.countries["iso_a2"].is_unique
    assert embedded.subdivisions["region_id"].str.fullmatch(r"[A-Z]{2}-[A-Z0-9]{1,3}").all()
    prefix_of = dict(zip(embedded.countries["region_id"], embedded.countries["iso_a2"], strict=True))
    prefix = embedded.subdivisions["parent_id"].map(prefix_of)
    assert (embedded.subdivisions["region_id"].str[:2] == prefix).all()
    invented = embedded.subdivisions["region_id"].str.fullmatch(r"[A-Z]{2}-0[A-Z][A-Z0-9]")
    assert invented.mean() < 0.12


@pytest.mark.parametrize(
    ("region_id", "iso_a2", "name", "continent"),
    [
        ("NAM", "NA", "Namibia", "Africa"),
        ("FRA", "FR", "France", "Europe"),
        ("NOR", "NO", "Norway", "Europe"),
        ("XKX", "XK", "Kosovo", "Europe"),
        ("SSD", "SS", "South Sudan", "Africa"),
        ("PSE", "PS", "Palestine", "Asia"),
        ("ESH", "EH", "Western Sahara", "Africa"),
        ("ALA", "AX", "Åland Islands", "Europe"),
        ("MDV", "MV", "Maldives", "Asia"),
        ("TWN", "TW", "Taiwan", "Asia"),
    ],
)
def test_countries_that_codes_trip_over(
    embedded: BoundarySet, region_id: str, iso_a2: str, name: str, continent: str
) -> None:
    row = embedded.countries.set_index("region_id").loc[region_id]
    assert (row["iso_a2"], row["name"], row["continent"]) == (iso_a2, name, continent)


def test_continents(embedded: BoundarySet) -> None:
    expected = {"Africa", "Antarctica", "Asia", "Europe", "North America", "Oceania", "South America"}
    assert set(embedded.countries["continent"]) == expected


@pytest.mark.parametrize(
    ("region_id", "name"),
    [("NL-NH", "Noord-Holland"), ("US-AK", "Alaska"), ("US-HI", "Hawaii"), ("DE-BY", "Bayern"), ("NA-KH", "Khomas")],
)
def test_known_subdivisions(embedded: BoundarySet, region_id: str, name: str) -> None:
    assert embedded.subdivisions.set_index("region_id").at[region_id, "name"] == name


def test_countries_are_the_union_of_their_subdivisions(embedded: BoundarySet) -> None:
    units = embedded.subdivisions.groupby("parent_id").geometry.agg(lambda s: shapely.union_all(s.to_numpy()))
    countries = embedded.countries.set_index("region_id").geometry
    assert set(units.index) == set(countries.index)
    difference = shapely.symmetric_difference(np.asarray(units.reindex(countries.index)), np.asarray(countries))
    assert shapely.area(difference).max() == 0.0


def test_neighbours_share_their_borders(embedded: BoundarySet) -> None:
    assert shapely.coverage_is_valid(np.asarray(embedded.subdivisions.geometry.values))
    assert shapely.coverage_is_valid(np.asarray(embedded.countries.geometry.values))


def test_the_map_reaches_the_antimeridian_and_the_pole(embedded: BoundarySet) -> None:
    by_id = embedded.countries.set_index("region_id").geometry
    for region_id in ("FJI", "RUS", "ATA"):
        west, south, east, _ = by_id[region_id].bounds
        assert (west, east) == (-180.0, 180.0)
    assert south == -90.0 or by_id["ATA"].bounds[1] == -90.0


def test_parents(embedded: BoundarySet) -> None:
    parents = embedded.parent_indices()
    assert parents.dtype == np.int32
    assert (embedded.countries["region_id"].to_numpy()[parents] == embedded.subdivisions["parent_id"]).all()


def test_the_file_is_small_and_says_where_it_is_from() -> None:
    assert EMBEDDED_FILE.stat().st_size <= 6_000_000
    schema = pq.read_schema(EMBEDDED_FILE)
    assert schema.names == list(COLUMN_DOCS)
    assert all(schema.field(name).metadata[b"description"].decode() == COLUMN_DOCS[name] for name in schema.names)
    attribution = schema.metadata[b"geoloc:attribution"].decode()
    assert re.search(r"Natural Earth.*public domain", attribution)
    assert b"zstd" in pq.ParquetFile(EMBEDDED_FILE).metadata.row_group(0).column(0).compression.lower().encode()


def test_any_reader_of_geoparquet_opens_the_file() -> None:
    frame = gpd.read_parquet(EMBEDDED_FILE)
    assert frame["level"].value_counts().to_dict() == {"country": 249, "subdivision": 4556}
    assert frame.loc[frame["region_id"] == "NAM", "iso_a2"].item() == "NA"


def test_embedded_is_read_once() -> None:
    assert load_boundaries() is load_boundaries("embedded")


def test_write_and_read_back(tmp_path: Path) -> None:
    made = make_boundary_set("two", "nobody", *frames())
    assert made.countries["region_id"].tolist() == ["AAA", "BBB"]
    assert made.subdivisions["region_id"].tolist() == ["AA-1", "AA-2", "BB-1"]
    write_boundaries(made, tmp_path / "a.parquet")
    write_boundaries(made, tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    back = read_boundaries(tmp_path / "a.parquet")
    assert (back.name, back.attribution, back.identity) == ("two", "nobody", made.identity)
    assert back.subdivisions["name"].tolist() == ["one", "two", "Ünïcode"]
    assert load_boundaries(tmp_path / "a.parquet").identity == made.identity


def test_identity_is_the_content(tmp_path: Path) -> None:
    countries, units = frames()
    base = make_boundary_set("x", "y", countries, units).identity
    assert make_boundary_set("x", "y", countries.iloc[::-1], units.iloc[::-1]).identity == base
    renamed = units.assign(name=["other", "one", "Ünïcode"])
    moved = units.assign(geometry=shapely.transform(units.geometry.values, lambda p: p * 0.999999))
    identities = {base, make_boundary_set("x", "y", countries, renamed).identity}
    identities.add(make_boundary_set("x", "y", countries, moved).identity)
    assert len(identities) == 3


def test_faults_are_named(tmp_path: Path) -> None:
    countries, units = frames()
    with pytest.raises(InputError, match="'AA-2' occurs more than once"):
        make_boundary_set("x", "", countries, units.assign(region_id=["AA-2", "AA-2", "BB-1"]))
    with pytest.raises(InputError, match="no country has the id 'CCC'"):
        make_boundary_set("x", "", countries, units.assign(parent_id=["AAA", "AAA", "CCC"]))
    with pytest.raises(InputError, match="EPSG:4326"):
        make_boundary_set("x", "", *frames("EPSG:3857"))
    with pytest.raises(InputError, match="lacks the column"):
        make_boundary_set("x", "", countries.drop(columns="continent"), units)
    bow_tie = countries.assign(geometry=[shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])] * 2)
    with pytest.raises(InputError, match="'BBB' is not a valid polygon"):
        make_boundary_set("x", "", bow_tie, units)
    with pytest.raises(InputError, match="cannot be read"):
        load_boundaries(tmp_path / "nothing.parquet")
    (tmp_path / "text.parquet").write_text("no")
    with pytest.raises(InputError, match="not GeoParquet"):
        load_boundaries(tmp_path / "text.parquet")

"""The embedded boundaries, the file that keeps a boundary set, and the levels and cells drawn from it."""

import re
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import shapely

from geoloc_core.errors import InputError
from geoloc_core.geography.anchors import region_anchors
from geoloc_core.geography.boundaries import EMBEDDED_FILE, BoundarySet, load_boundaries, make_boundary_set
from geoloc_core.geography.boundary_set import COLUMN_DOCS, read_boundaries, write_boundaries
from geoloc_core.geography.cells import BOUNDARY_LEVELS, FINEST, KINDS, LEVELS, ROOT, id_column
from geoloc_core.storage import file_sha256


def two_countries(crs: str = "EPSG:4326") -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]:
    facts = {"region_id": ["BBB", "AAA"], "name": ["B", "A"], "iso_a2": ["BB", "AA"], "continent": "Asia"}
    countries = gpd.GeoDataFrame(facts, geometry=[shapely.box(1, 0, 2, 1), shapely.box(0, 0, 1, 1)], crs=crs)
    rows = {"region_id": ["AA-2", "AA-1", "BB-1"], "parent_id": ["AAA", "AAA", "BBB"], "name": ["two", "one", "Ünï"]}
    boxes = [shapely.box(0, 0.5, 1, 1), shapely.box(0, 0, 1, 0.5), shapely.box(1, 0, 2, 1)]
    return countries, gpd.GeoDataFrame(rows, geometry=boxes, crs=crs)


def test_levels_columns_and_order(embedded: BoundarySet) -> None:
    assert {level: len(embedded.level(level)) for level in LEVELS} == {"country": 249, "subdivision": 4556}
    assert (ROOT, FINEST, embedded.finest) == ("country", "subdivision", "subdivision")
    for level, kind in BOUNDARY_LEVELS.items():
        frame = embedded.level(level)
        assert tuple(frame.columns) == kind.columns
        assert frame.crs.to_epsg() == 4326
        assert frame["region_id"].is_unique
        assert frame["region_id"].is_monotonic_increasing
        assert frame.geometry.is_valid.all()
        assert not frame.isna().any().any()
        assert (frame.drop(columns="geometry") != "").all().all()
        assert shapely.coverage_is_valid(np.asarray(frame.geometry.values))  # neighbours share their borders
    with pytest.raises(InputError, match="no level 's2'; it has country, subdivision"):
        embedded.level("s2")


def test_ids_have_their_shapes(embedded: BoundarySet) -> None:
    assert embedded.countries["region_id"].str.fullmatch(r"[A-Z]{3}").all()
    assert embedded.countries["iso_a2"].str.fullmatch(r"[A-Z]{2}").all()
    assert embedded.countries["iso_a2"].is_unique
    unit_ids = embedded.subdivisions["region_id"]
    assert unit_ids.str.fullmatch(r"[A-Z]{2}-[A-Z0-9]{1,3}").all()
    prefix_of = dict(zip(embedded.countries["region_id"], embedded.countries["iso_a2"], strict=True))
    assert (unit_ids.str[:2] == embedded.subdivisions["parent_id"].map(prefix_of)).all()
    assert unit_ids.str.fullmatch(r"[A-Z]{2}-0[A-Z][A-Z0-9]").mean() < 0.12  # invented


def test_countries_that_codes_trip_over(embedded: BoundarySet) -> None:
    expected = """
        NAM,NA,Namibia,Africa        FRA,FR,France,Europe       NOR,NO,Norway,Europe          XKX,XK,Kosovo,Europe
        SSD,SS,South Sudan,Africa    PSE,PS,Palestine,Asia      ESH,EH,Western Sahara,Africa  MDV,MV,Maldives,Asia
        ALA,AX,Åland Islands,Europe  TWN,TW,Taiwan,Asia"""
    rows = set(embedded.countries[["region_id", "iso_a2", "name", "continent"]].agg(",".join, axis=1))
    assert set(re.split(r"\s{2,}", expected.strip())) <= rows


def test_known_names_and_edges(embedded: BoundarySet) -> None:
    names = embedded.subdivisions.set_index("region_id")["name"]
    expected = {"NL-NH": "Noord-Holland", "US-AK": "Alaska", "US-HI": "Hawaii", "DE-BY": "Bayern", "NA-KH": "Khomas"}
    assert names[list(expected)].to_dict() == expected
    continents = {"Africa", "Antarctica", "Asia", "Europe", "North America", "Oceania", "South America"}
    assert set(embedded.countries["continent"]) == continents
    bounds = embedded.countries.set_index("region_id").geometry.bounds
    assert (bounds.loc[["FJI", "RUS", "ATA"], ["minx", "maxx"]].to_numpy() == [-180.0, 180.0]).all()
    assert bounds.at["ATA", "miny"] == -90.0


def test_countries_are_the_union_of_their_subdivisions(embedded: BoundarySet) -> None:
    units = embedded.subdivisions.groupby("parent_id").geometry.agg(lambda s: shapely.union_all(s.to_numpy()))
    countries = embedded.countries.set_index("region_id").geometry
    assert set(units.index) == set(countries.index)
    difference = shapely.symmetric_difference(np.asarray(units.reindex(countries.index)), np.asarray(countries))
    assert shapely.area(difference).max() == 0.0


def test_parents_and_ids(embedded: BoundarySet) -> None:
    parents = embedded.parent_indices()
    assert (embedded.ids("country", parents) == embedded.subdivisions["parent_id"]).all()
    assert embedded.ids("country", np.array([0, -1])).tolist() == ["ABW", ""]


def test_the_embedded_file(tmp_path: Path) -> None:
    """Small, open to any reader of GeoParquet, documented; and written again, the bytes that runs have recorded."""
    assert EMBEDDED_FILE.stat().st_size <= 6_000_000
    frame = gpd.read_parquet(EMBEDDED_FILE)
    assert frame["level"].value_counts().to_dict() == {"country": 249, "subdivision": 4556}
    assert frame.loc[frame["region_id"] == "NAM", "iso_a2"].item() == "NA"
    schema = pq.read_schema(EMBEDDED_FILE)
    assert {name: schema.field(name).metadata[b"description"].decode() for name in schema.names} == COLUMN_DOCS
    assert re.search(r"Natural Earth.*public domain", schema.metadata[b"geoloc:attribution"].decode())
    assert load_boundaries() is load_boundaries("embedded")
    write_boundaries(load_boundaries(), tmp_path / "regions.parquet")
    assert file_sha256(tmp_path / "regions.parquet").startswith("6f36706fd92dfa2b")


def test_write_and_read_back(tmp_path: Path) -> None:
    boundaries = make_boundary_set("two", "nobody", *two_countries())
    assert boundaries.countries["region_id"].tolist() == ["AAA", "BBB"]
    assert boundaries.subdivisions["region_id"].tolist() == ["AA-1", "AA-2", "BB-1"]
    for file in ("a.parquet", "b.parquet"):
        write_boundaries(boundaries, tmp_path / file)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    back = load_boundaries(tmp_path / "a.parquet")
    assert (back.name, back.attribution, back.identity) == ("two", "nobody", boundaries.identity)
    assert back.subdivisions["name"].tolist() == ["one", "two", "Ünï"]
    assert gpd.read_parquet(tmp_path / "a.parquet")["country"].tolist() == ["A", "B", "A", "A", "B"]
    assert make_boundary_set("alone", "", two_countries()[0]).finest == "country"


def test_identity_is_the_content() -> None:
    countries, units = two_countries()
    identity = make_boundary_set("x", "y", countries, units).identity
    assert make_boundary_set("x", "y", countries.iloc[::-1], units.iloc[::-1]).identity == identity
    renamed = units.assign(name=["other", "one", "Ünï"])
    moved = units.assign(geometry=shapely.transform(units.geometry.values, lambda p: p * 0.999999))
    assert len({identity, *(make_boundary_set("x", "y", countries, other).identity for other in (renamed, moved))}) == 3


def test_faults_are_named(tmp_path: Path) -> None:
    countries, units = two_countries()
    bow_tie = countries.assign(geometry=[shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])] * 2)
    for frames, match in [
        ((countries, units.assign(region_id=["AA-2", "AA-2", "BB-1"])), "'AA-2' occurs more than once"),
        ((countries, units.assign(parent_id=["AAA", "AAA", "CCC"])), "no country has the id 'CCC'"),
        (two_countries("EPSG:3857"), "EPSG:4326"),
        ((countries.drop(columns="continent"), units), "lacks the column"),
        ((bow_tie, units), "'BBB' is not a valid polygon"),
        ((countries.assign(geometry=countries.translate(xoff=180)), units), "leaves the globe"),
    ]:
        with pytest.raises(InputError, match=match):
            make_boundary_set("x", "", *frames)
    with pytest.raises(InputError, match="cannot be read"):
        load_boundaries(tmp_path / "nothing.parquet")
    (tmp_path / "text.parquet").write_text("no")
    with pytest.raises(InputError, match="not GeoParquet"):
        read_boundaries(tmp_path / "text.parquet")


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_kind_keeps_the_promises_of_cells(kind, embedded: BoundarySet) -> None:
    """What the guide in `geoloc_core.geography.cells` promises to those who use a kind."""
    photos = pd.DataFrame({"latitude": [52.4, 48.9, 0.0], "longitude": [4.9, 2.4, -30.0]})
    for level, ids in {"country": ["NLD", "FRA", ""], "subdivision": ["NL-NH", "FR-93", ""]}.items():
        photos[id_column(level)] = ids
    cells = kind.cells(embedded, photos)
    assert {"region_id", "parent_id", "name", "geometry"} <= set(cells.columns)
    assert cells["region_id"].is_unique
    assert cells["region_id"].is_monotonic_increasing
    ids = kind.of_photos(cells, photos)
    assert set(ids) - {""} <= set(cells["region_id"])
    anchors = region_anchors(photos.assign(region_id=ids), cells)
    assert (anchors[anchors["kind"] == "medoid"]["n_photos"] == 1).all()

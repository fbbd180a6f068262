"""Boundary sets as their publishers lay them out, made small here, and Natural Earth's real files where they are."""

import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import geopandas as gpd
import pyarrow.parquet as pq
import pytest
import shapely
import yaml

from geoloc_core.errors import InputError, ProfileError
from geoloc_core.geography import boundaries as boundaries_module
from geoloc_core.geography.boundaries import BoundarySet, import_boundaries, load_boundaries, source_files
from geoloc_core.geography.boundary_formats import BoundarySpec
from geoloc_core.geography.boundary_set import read_boundaries, write_boundaries
from geoloc_core.geography.locate import RegionLocator

MAPPING = {"country_id": "land", "country_name": "title", "subdivision_id": "code", "subdivision_name": "label"}


def ids(boundaries: BoundarySet) -> tuple[list[str], list[str]]:
    return boundaries.countries["region_id"].tolist(), boundaries.subdivisions["region_id"].tolist()


def repairs(boundaries: BoundarySet) -> Counter:
    return Counter(repair.what for repair in boundaries.repairs)


def gadm_rows(country_column: str, with_iso: bool, stripped: bool = False) -> gpd.GeoDataFrame:
    water = "Waterbody" if stripped else "Water body"
    rows = [
        ("NLD.1_1", "NLD", "Netherlands", "Drenthe", "Provincie", "Province", "NL.DR", "NL-DR", 6),
        ("NLD.9_1", "NLD", "Netherlands", "Noord-Holland", "Provincie", "Province", "NL.NH", "NL-NH", 4),
        ("NLD.8_1", "NLD", "Netherlands", "IJsselmeer", water, water, "NA", "NA", 5),
        ("NAM.1_1", "NAM", "Namibia", "Khomas", "Region", "Region", "NA.KH", "NA-KH", 17),
        ("XKO.1_1", "XKO", "Kosovo", "Prizren", "District", "District", "KV.PZ", "NA", 21),
        ("Z07.3_1", "Z07", "India", "ArunachalPradesh", "State", "State", "NA", "IN-AR", 95),
        ("IND.2_1", "IND", "India", "Assam", "State", "State", "IN.AS", "IN-AR", 93),
    ]
    columns = ["GID_1", "GID_0", country_column, "NAME_1", "TYPE_1", "ENGTYPE_1", "HASC_1", "ISO_1", "x"]
    boxes = [shapely.box(row[-1], 10, row[-1] + 1, 11) for row in rows]
    frame = gpd.GeoDataFrame(rows, columns=columns, geometry=boxes, crs=4326)
    return frame.drop(columns=["x"] if with_iso else ["x", "ISO_1"]).assign(VARNAME_1="NA", NL_NAME_1="NA", CC_1="NA")


def test_gadm_41(tmp_path: Path) -> None:
    gadm_rows("COUNTRY", with_iso=True).to_file(tmp_path / "gadm.gpkg", layer="ADM_1")
    countries = {"GID_0": ["NLD", "ABW", "XCA"], "COUNTRY": ["Netherlands", "Aruba", "Caspian Sea"]}
    boxes = [shapely.box(west, 10, east, 11) for west, east in [(4, 7), (-70, -69), (50, 51)]]
    gpd.GeoDataFrame(countries, geometry=boxes, crs=4326).to_file(tmp_path / "gadm.gpkg", layer="ADM_0")
    file = str(tmp_path / "gadm.gpkg")
    boundaries = import_boundaries(BoundarySpec("gadm41", "gadm", subdivisions=file, countries=file))
    # IN-AR is claimed twice, so neither takes it; "NA" is a missing value, but NA-KH is Namibia's.
    assert ids(boundaries) == (
        ["ABW", "IND", "NAM", "NLD", "XKX", "Z07"],
        ["AW-000", "IND.2_1", "NA-KH", "NL-DR", "NL-NH", "XKO.1_1", "Z07.3_1"],
    )
    by_id = boundaries.countries.set_index("region_id")
    assert by_id.loc[["Z07", "XKX"], "name"].tolist() == ["Contested zone Z07 (India)", "Kosovo"]
    assert by_id.at["NAM", "iso_a2"] == "NA"
    assert (by_id["continent"] != "").all()
    assert by_id.at["NLD", "geometry"].area == pytest.approx(2.0)  # the water between the two is not land
    assert repairs(boundaries) == {"left out: water body": 2, "made: the country has no sub-divisions": 1}
    assert "GADM" in boundaries.attribution
    located = RegionLocator(boundaries).locate([5.5, 6.5, -69.5], [10.5, 10.5, 10.5])
    assert located.quality.tolist() == ["none", "inside", "inside"]


def test_gadm_36_and_geojson_without_spaces(tmp_path: Path) -> None:
    gadm_rows("NAME_0", with_iso=False, stripped=True).to_file(tmp_path / "gadm36_1.geojson")
    boundaries = import_boundaries(BoundarySpec("gadm36", "gadm", subdivisions=str(tmp_path / "gadm36_1.geojson")))
    assert ids(boundaries) == (
        ["IND", "NAM", "NLD", "XKX", "Z07"],
        ["IND.2_1", "NAM.1_1", "NLD.1_1", "NLD.9_1", "XKO.1_1", "Z07.3_1"],
    )
    assert repairs(boundaries) == {"left out: water body": 1}


def test_gadm_units_finer_than_the_first_level_are_joined(tmp_path: Path) -> None:
    rows = gadm_rows("COUNTRY", with_iso=True).iloc[[0, 0, 1]]
    rows = rows.set_geometry([shapely.box(6, 10, 6.5, 11), shapely.box(6.5, 10, 7, 11), shapely.box(4, 10, 5, 11)])
    rows.to_file(tmp_path / "gadm_410.gpkg")
    boundaries = import_boundaries(BoundarySpec("g", "gadm", subdivisions=str(tmp_path / "gadm_410.gpkg")))
    assert ids(boundaries) == (["NLD"], ["NL-DR", "NL-NH"])
    assert boundaries.subdivisions.geometry[0].equals(shapely.box(6, 10, 7, 11))
    assert repairs(boundaries) == {"rows joined": 1}


def test_geoboundaries(tmp_path: Path) -> None:
    facts = {"shapeName": ["Drenthe", "Fryslân", "Somewhere"], "shapeGroup": ["NLD", "NLD", "XKX"]}
    facts |= {"shapeISO": ["NL-DR", "", "none"], "shapeID": ["A1", "B2", "C3"]}
    boxes = [shapely.box(i, 0, i + 1, 1) for i in range(3)]
    gpd.GeoDataFrame(facts, geometry=boxes, crs=4326).to_file(tmp_path / "adm1.geojson")
    boundaries = import_boundaries(BoundarySpec("gb", "geoboundaries", subdivisions=str(tmp_path / "adm1.geojson")))
    assert ids(boundaries) == (["NLD", "XKX"], ["B2", "C3", "NL-DR"])
    assert boundaries.subdivisions["name"].tolist() == ["Fryslân", "Somewhere", "Drenthe"]
    assert "CC BY 4.0" in boundaries.attribution


@pytest.mark.parametrize(
    ("scale", "countries", "repaired"),
    [("10m", 258, {"invalid ring repaired": 1}), ("50m", 242, {}), ("110m", 177, {})],
)
def test_natural_earth_of_any_scale(shared_data: Path, scale: str, countries: int, repaired: dict) -> None:
    path = str(shared_data / "boundaries" / f"ne_{scale}_admin_0_countries.gpkg")
    boundaries = import_boundaries(BoundarySpec("ne", "natural_earth", countries=path))
    assert (len(boundaries.countries), len(boundaries.subdivisions)) == (countries, 0)
    assert repairs(boundaries) == repaired
    by_id = boundaries.countries.set_index("region_id")
    assert {"SSD", "PSE", "ESH"} <= set(by_id.index)
    assert by_id.loc[["NAM", "FRA", "NOR", "XKX"], "iso_a2"].tolist() == ["NA", "FR", "NO", "XK"]
    located = RegionLocator(boundaries).locate([2.35, 17.08, 10.75], [48.85, -22.56, 59.91])
    assert boundaries.ids("country", located.index["country"]).tolist() == ["FRA", "NAM", "NOR"]


def test_natural_earth_of_both_levels(shared_data: Path) -> None:
    folder = shared_data / "boundaries"
    units = str(folder / "ne_50m_admin_1_states_provinces.gpkg")
    countries = str(folder / "ne_50m_admin_0_countries.gpkg")
    boundaries = import_boundaries(BoundarySpec("ne50", "natural_earth", subdivisions=units, countries=countries))
    assert (len(boundaries.countries), len(boundaries.subdivisions)) == (242, 294 + 233)
    assert repairs(boundaries)["made: the country has no sub-divisions"] == 233
    located = RegionLocator(boundaries).locate([-105.0, 4.9], [39.7, 52.3])
    assert boundaries.ids("subdivision", located.index["subdivision"]).tolist() == ["US-CO", "NL-000"]


def columns_file(folder: Path, **changes: object) -> str:
    """Three units of two countries, AAA (0 to 2 degrees east) and BBB (2 to 3), with columns of no publisher."""
    facts = {"land": ["AAA", "AAA", "BBB"], "title": ["A", "A", "B"], "code": ["a1", "a2", "b1"], "label": list("xyz")}
    frame = gpd.GeoDataFrame(facts, geometry=[shapely.box(i, 50, i + 1, 51) for i in range(3)], crs=4326)
    frame.assign(**changes).to_file(folder / "mine.gpkg")
    return str(folder / "mine.gpkg")


def test_any_file_with_a_mapping(tmp_path: Path) -> None:
    file = columns_file(tmp_path)
    boundaries = import_boundaries(BoundarySpec("mine", "columns", subdivisions=file, columns=MAPPING))
    assert ids(boundaries) == (["AAA", "BBB"], ["a1", "a2", "b1"])
    assert boundaries.countries["name"].tolist() == ["A", "B"]
    assert boundaries.countries["continent"].tolist() == ["Europe", "Europe"]  # by where they lie
    alone = import_boundaries(BoundarySpec("mine", "columns", countries=file, columns={"country_id": "land"}))
    assert ids(alone) == (["AAA", "BBB"], [])
    assert alone.countries.geometry[0].equals(shapely.box(0, 50, 2, 51))

    gpd.read_file(file).iloc[::-1].to_file(tmp_path / "reversed.geojson")
    same = BoundarySpec("other", "columns", subdivisions=str(tmp_path / "reversed.geojson"), columns=MAPPING)
    assert import_boundaries(same).identity == boundaries.identity
    gpd.read_file(file).to_crs(3035).to_file(tmp_path / "laea.gpkg")
    projected = BoundarySpec("mine", "columns", subdivisions=str(tmp_path / "laea.gpkg"), columns=MAPPING)
    boundaries = import_boundaries(projected)
    assert boundaries.subdivisions.geometry[0].bounds == pytest.approx((0, 50, 1, 51), abs=1e-6)
    assert repairs(boundaries) == {"reprojected to EPSG:4326": 1}


@pytest.mark.parametrize(
    ("assign", "parents", "names", "areas"),
    [
        ({"BBB": "AAA"}, {"a1": "AAA", "a2": "AAA", "b1": "AAA"}, ["A"], [3.0]),
        ({"a2": "BBB"}, {"a1": "AAA", "a2": "BBB", "b1": "BBB"}, ["A", "B"], [1.0, 2.0]),
    ],
)
def test_another_view_of_the_world(tmp_path: Path, assign: dict, parents: dict, names: list, areas: list) -> None:
    file = columns_file(tmp_path)
    boundaries = import_boundaries(BoundarySpec("v", "columns", subdivisions=file, columns=MAPPING, assign=assign))
    assert boundaries.subdivisions.set_index("region_id")["parent_id"].to_dict() == parents
    assert boundaries.countries["name"].tolist() == names
    assert shapely.area(boundaries.countries.geometry.to_numpy()).tolist() == pytest.approx(areas)
    assert repairs(boundaries) == {"assigned": 1}
    countries = BoundarySpec("c", "columns", countries=file, columns={"country_id": "land"}, assign={"BBB": "AAA"})
    assert ids(import_boundaries(countries))[0] == ["AAA"]


def test_another_view_of_the_embedded_regions(embedded: BoundarySet, tmp_path: Path) -> None:
    path = tmp_path / "view.yaml"
    path.write_text(yaml.safe_dump({"name": "view", "layout": "embedded", "assign": {"XNC": "CYP", "RU-0CR": "UKR"}}))
    boundaries = load_boundaries(path)
    assert source_files(path)[1].name == "regions.parquet"
    assert (len(boundaries.countries), len(boundaries.subdivisions)) == (248, 4556)
    assert boundaries.attribution == embedded.attribution
    assert boundaries.identity != embedded.identity
    located = RegionLocator(boundaries).locate([33.36, 34.1, 4.9], [35.19, 45.0, 52.37])
    assert boundaries.ids("country", located.index["country"]).tolist() == ["CYP", "UKR", "NLD"]
    assert boundaries.countries.set_index("region_id").at["CYP", "name"] == "Cyprus"


def test_a_yaml_file_beside_the_polygons(tmp_path: Path) -> None:
    columns_file(tmp_path)
    spec = {"name": "mine", "layout": "columns", "subdivisions": "mine.gpkg", "columns": MAPPING}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(spec))
    assert load_boundaries(path).name == "mine"
    assert source_files(path) == [path, tmp_path / "mine.gpkg"]
    assert source_files(tmp_path / "x.parquet") == [tmp_path / "x.parquet"]
    assert source_files("embedded")[0].name == "regions.parquet"
    for text, match in [
        (yaml.safe_dump({**spec, "layuot": "gadm"}), "the key 'layuot'"),
        ("- a list", "must be a mapping"),
        ("name: [", "cannot be read as YAML"),
    ]:
        path.write_text(text)
        with pytest.raises(ProfileError, match=match):
            load_boundaries(path)
    with pytest.raises(ProfileError, match="check the path"):
        load_boundaries(tmp_path / "none.yaml")


def test_repairs_are_kept_in_the_file(tmp_path: Path) -> None:
    bow_tie = shapely.Polygon([(2, 50), (3, 51), (3, 50), (2, 51)])
    file = columns_file(tmp_path, geometry=[shapely.box(0, 50, 1, 51), shapely.box(1, 50, 2, 51), bow_tie])
    boundaries = import_boundaries(BoundarySpec("mine", "columns", subdivisions=file, columns=MAPPING))
    assert repairs(boundaries) == {"invalid ring repaired": 1}
    write_boundaries(boundaries, tmp_path / "regions.parquet")
    back = read_boundaries(tmp_path / "regions.parquet")
    assert (back.repairs, back.identity) == (boundaries.repairs, boundaries.identity)


def test_faults_are_named(tmp_path: Path) -> None:
    file = columns_file(tmp_path)
    (tmp_path / "text.geojson").write_text("hello")
    for layer in ("this", "that"):
        gpd.read_file(file).to_file(tmp_path / "two.gpkg", layer=layer)
    for number, changes in enumerate(({"code": ["a1", "a2", "a1"]}, {"land": ["AAA", None, "BBB"]})):
        (tmp_path / str(number)).mkdir()
        columns_file(tmp_path / str(number), **changes)

    def spec(**changes: object) -> BoundarySpec:
        return BoundarySpec(**{"name": "x", "layout": "columns", "subdivisions": file, "columns": MAPPING, **changes})

    for wrong, match in [
        ({"layout": "gamd"}, "'gamd' is none of gadm"),
        ({"subdivisions": ""}, "name a file"),
        ({"columns": {}}, "`columns` goes with"),
        ({"columns": {"country": "land"}}, "knows no 'country'"),
    ]:
        with pytest.raises(ProfileError, match=match):
            spec(**wrong)
    for wrong, match in [
        ({"subdivisions": str(tmp_path / "no.gpkg")}, "is missing"),
        ({"columns": {**MAPPING, "country_id": "lnd"}}, r"no column 'lnd'.*it has land, title"),
        ({"columns": {"country_id": "land"}}, "which column holds subdivision_id"),
        ({"columns": {**MAPPING, "subdivision_id": "label", "country_id": "code"}, "assign": {"q": "a1"}}, "'q'"),
        ({"subdivision_layer": "other"}, "no layer 'other'"),
        ({"layout": "gadm", "columns": {}}, "no column 'GID_0'"),
        ({"subdivisions": str(tmp_path / "0" / "mine.gpkg")}, "belongs to two countries"),
        ({"subdivisions": str(tmp_path / "1" / "mine.gpkg")}, "row 2 of the polygons names no country"),
        ({"subdivisions": str(tmp_path / "text.geojson")}, "cannot be read as polygons"),
        ({"subdivisions": str(tmp_path / "two.gpkg")}, r"several layers \(this, that\)"),
    ]:
        with pytest.raises(InputError, match=match):
            import_boundaries(spec(**wrong))


HOSTILE_SPECIFICATIONS = {
    "aliases of aliases": "a: &a [x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in pairwise("abcdefghi")),
    "itself": "name: &a [*a]\nlayout: gadm\n",
    "lists in lists": "name: x\nlayout: gadm\nassign: " + "[" * 20_000,
    "lists of lists in a line": "- " * 30_000,
    "another encoding": "name: x".encode("utf-16"),
    "bytes": bytes(range(256)),
    "a megabyte": "# " + "x" * (1 << 20),
    "a list for a name": "name: [x]\nlayout: gadm\nsubdivisions: mine.gpkg\n",
    "a number for a file": "name: x\nlayout: gadm\nsubdivisions: 7\n",
    "a text for a mapping": "name: x\nlayout: columns\nsubdivisions: mine.gpkg\ncolumns: land\n",
    "keys of any kind": "name: x\nlayout: gadm\n1: 2\n",
    "nothing": "",
    "no layout": "name: x\n",
}


@pytest.mark.parametrize("kind", HOSTILE_SPECIFICATIONS)
def test_hostile_specifications_are_refused_with_a_sentence(tmp_path: Path, kind: str) -> None:
    content = HOSTILE_SPECIFICATIONS[kind]
    path = tmp_path / "a.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    begin = time.monotonic()
    with pytest.raises((ProfileError, InputError), match=r"a\.yaml|is missing"):
        load_boundaries(path)
    assert time.monotonic() - begin < 5


HOSTILE_FILES = {
    "deep.geojson": b'{"type": "FeatureCollection", "features": ' + b"[" * 200_000,
    "deep.json": b'{"a":' * 200_000,
    "zeros.gpkg": b"SQLite format 3\x00" + bytes(4096),
    "torn.parquet": b"PAR1" + bytes(100) + b"PAR1",
    "words.shp": b"hello",
    "bomb.zip": b"PK\x05\x06" + bytes(18),
    "text.csv": b"a,b\n1,2\n",
}


@pytest.mark.parametrize("name", HOSTILE_FILES)
def test_hostile_polygons_are_refused_with_a_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(HOSTILE_FILES[name])
    spec = BoundarySpec("x", "columns", subdivisions=str(tmp_path / name), columns=MAPPING)
    with pytest.raises(InputError, match=name):
        import_boundaries(spec)
    with pytest.raises(InputError, match=name):
        read_boundaries(tmp_path / name)


def test_metadata_of_polygons_nested_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpd.read_file(columns_file(tmp_path)).to_parquet(tmp_path / "good.parquet")
    table = pq.read_table(tmp_path / "good.parquet")
    for key, value in [("geo", "[" * 100_000), ("geo", "{}"), ("geo", "words"), ("geoloc:repairs", "[" * 100_000)]:
        pq.write_table(table.replace_schema_metadata({**table.schema.metadata, key: value}), tmp_path / "a.parquet")
        with pytest.raises(InputError, match=r"a\.parquet"):
            read_boundaries(tmp_path / "a.parquet")
    monkeypatch.setattr(boundaries_module, "MAX_BOUNDARY_BYTES", 100)
    with pytest.raises(InputError, match="larger than the limit of 100 bytes"):
        import_boundaries(BoundarySpec("x", "columns", subdivisions=str(tmp_path / "good.parquet"), columns=MAPPING))

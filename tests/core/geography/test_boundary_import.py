"""Boundary sets as their publishers lay them out, made small here, and Natural Earth's real files where they are."""

from collections import Counter
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely
import yaml

from geoloc_core.errors import InputError, ProfileError
from geoloc_core.geography.boundaries import (
    BoundarySet,
    load_boundaries,
    read_boundaries,
    source_files,
    write_boundaries,
)
from geoloc_core.geography.boundary_import import import_boundaries
from geoloc_core.geography.boundary_spec import BoundarySpec
from geoloc_core.geography.locate import RegionLocator


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
    frame = gpd.GeoDataFrame(
        rows, columns=columns, geometry=[shapely.box(r[-1], 10, r[-1] + 1, 11) for r in rows], crs=4326
    )
    frame = frame.drop(columns=["x"] if with_iso else ["x", "ISO_1"])
    return frame.assign(VARNAME_1="NA", NL_NAME_1="NA", CC_1="NA")


def gadm_countries(country_column: str) -> gpd.GeoDataFrame:
    rows = [("NLD", "Netherlands", 4, 7), ("ABW", "Aruba", -70, -69), ("XCA", "Caspian Sea", 50, 51)]
    return gpd.GeoDataFrame(
        [row[:2] for row in rows],
        columns=["GID_0", country_column],
        geometry=[shapely.box(west, 10, east, 11) for *_, west, east in rows],
        crs=4326,
    )


def test_gadm_41(tmp_path: Path) -> None:
    gadm_rows("COUNTRY", with_iso=True).to_file(tmp_path / "gadm.gpkg", layer="ADM_1")
    gadm_countries("COUNTRY").to_file(tmp_path / "gadm.gpkg", layer="ADM_0")
    file = str(tmp_path / "gadm.gpkg")
    made = import_boundaries(BoundarySpec("gadm41", "gadm", subdivisions=file, countries=file))
    countries, units = ids(made)
    assert countries == ["ABW", "IND", "NAM", "NLD", "XKX", "Z07"]
    # IN-AR is claimed twice, so neither takes it; "NA" is nothing, but NA-KH is Namibia's.
    assert units == ["AW-000", "IND.2_1", "NA-KH", "NL-DR", "NL-NH", "XKO.1_1", "Z07.3_1"]
    by_id = made.countries.set_index("region_id")
    assert by_id.at["Z07", "name"] == "Contested zone Z07 (India)"
    assert by_id.at["XKX", "name"] == "Kosovo"
    assert by_id.at["NAM", "iso_a2"] == "NA"
    assert (by_id["continent"] != "").all()
    assert by_id.at["NLD", "geometry"].area == pytest.approx(2.0)  # the water between the two is not land
    assert repairs(made) == {"left out: water body": 2, "made: the country has no sub-divisions": 1}
    assert "GADM" in made.attribution
    found = RegionLocator(made).locate([5.5, 6.5, -69.5], [10.5, 10.5, 10.5])
    assert found.quality.tolist() == ["none", "inside", "inside"]


def test_gadm_36_and_geojson_without_spaces(tmp_path: Path) -> None:
    gadm_rows("NAME_0", with_iso=False, stripped=True).to_file(tmp_path / "gadm36_1.geojson")
    made = import_boundaries(BoundarySpec("gadm36", "gadm", subdivisions=str(tmp_path / "gadm36_1.geojson")))
    countries, units = ids(made)
    assert countries == ["IND", "NAM", "NLD", "XKX", "Z07"]
    assert units == ["IND.2_1", "NAM.1_1", "NLD.1_1", "NLD.9_1", "XKO.1_1", "Z07.3_1"]
    assert repairs(made) == {"left out: water body": 1}


def test_gadm_units_finer_than_the_first_level_are_joined(tmp_path: Path) -> None:
    rows = gadm_rows("COUNTRY", with_iso=True).iloc[[0, 0, 1]]
    rows = rows.set_geometry([shapely.box(6, 10, 6.5, 11), shapely.box(6.5, 10, 7, 11), shapely.box(4, 10, 5, 11)])
    rows.to_file(tmp_path / "gadm_410.gpkg")
    made = import_boundaries(BoundarySpec("g", "gadm", subdivisions=str(tmp_path / "gadm_410.gpkg")))
    assert ids(made) == (["NLD"], ["NL-DR", "NL-NH"])
    assert made.subdivisions.geometry[0].equals(shapely.box(6, 10, 7, 11))
    assert repairs(made) == {"rows joined": 1}


def test_geoboundaries(tmp_path: Path) -> None:
    frame = gpd.GeoDataFrame(
        {
            "shapeName": ["Drenthe", "Fryslân", "Somewhere"],
            "shapeISO": ["NL-DR", "", "none"],
            "shapeID": ["A1", "B2", "C3"],
            "shapeGroup": ["NLD", "NLD", "XKX"],
            "shapeType": "ADM1",
        },
        geometry=[shapely.box(i, 0, i + 1, 1) for i in range(3)],
        crs=4326,
    )
    frame.to_file(tmp_path / "adm1.geojson")
    made = import_boundaries(BoundarySpec("gb", "geoboundaries", subdivisions=str(tmp_path / "adm1.geojson")))
    assert ids(made) == (["NLD", "XKX"], ["B2", "C3", "NL-DR"])
    assert made.subdivisions["name"].tolist() == ["Fryslân", "Somewhere", "Drenthe"]
    assert "CC BY 4.0" in made.attribution


@pytest.mark.parametrize(
    ("file", "countries", "repaired"),
    [
        ("ne_10m_admin_0_countries.gpkg", 258, {"invalid ring repaired": 1}),
        ("ne_50m_admin_0_countries.gpkg", 242, {}),
        ("ne_110m_admin_0_countries.gpkg", 177, {}),
    ],
)
def test_natural_earth_of_any_scale(shared_data: Path, file: str, countries: int, repaired: dict) -> None:
    path = str(shared_data / "boundaries" / file)
    made = import_boundaries(BoundarySpec("ne", "natural_earth", countries=path))
    assert (len(made.countries), len(made.subdivisions)) == (countries, 0)
    assert repairs(made) == repaired
    by_id = made.countries.set_index("region_id")
    assert {"NAM", "FRA", "NOR", "XKX", "SSD", "PSE", "ESH"} <= set(by_id.index)
    assert by_id.loc[["NAM", "FRA", "NOR", "XKX"], "iso_a2"].tolist() == ["NA", "FR", "NO", "XK"]
    located = RegionLocator(made).locate([2.35, 17.08, 10.75], [48.85, -22.56, 59.91])
    assert made.countries["region_id"][located.country_index].tolist() == ["FRA", "NAM", "NOR"]


def test_natural_earth_of_both_levels(shared_data: Path) -> None:
    folder = shared_data / "boundaries"
    made = import_boundaries(
        BoundarySpec(
            "ne50",
            "natural_earth",
            subdivisions=str(folder / "ne_50m_admin_1_states_provinces.gpkg"),
            countries=str(folder / "ne_50m_admin_0_countries.gpkg"),
        )
    )
    assert (len(made.countries), len(made.subdivisions)) == (242, 294 + 233)
    assert repairs(made)["made: the country has no sub-divisions"] == 233
    found = RegionLocator(made).locate([-105.0, 4.9], [39.7, 52.3])
    assert made.subdivisions["region_id"][found.subdivision_index].tolist() == ["US-CO", "NL-000"]


def columns_file(folder: Path, **changes: object) -> str:
    frame = gpd.GeoDataFrame(
        {"land": ["AAA", "AAA", "BBB"], "title": ["A", "A", "B"], "code": ["a1", "a2", "b1"], "label": ["x", "y", "z"]},
        geometry=[shapely.box(i, 50, i + 1, 51) for i in range(3)],
        crs=4326,
    ).assign(**changes)
    frame.to_file(folder / "mine.gpkg")
    return str(folder / "mine.gpkg")


MAPPING = {"country_id": "land", "country_name": "title", "subdivision_id": "code", "subdivision_name": "label"}


def test_any_file_with_a_mapping(tmp_path: Path) -> None:
    file = columns_file(tmp_path)
    made = import_boundaries(BoundarySpec("mine", "columns", subdivisions=file, columns=MAPPING))
    assert ids(made) == (["AAA", "BBB"], ["a1", "a2", "b1"])
    assert made.countries["name"].tolist() == ["A", "B"]
    assert made.countries["continent"].tolist() == ["Europe", "Europe"]  # by where they lie
    alone = import_boundaries(BoundarySpec("mine", "columns", countries=file, columns={"country_id": "land"}))
    assert ids(alone) == (["AAA", "BBB"], [])
    assert alone.countries.geometry[0].equals(shapely.box(0, 50, 2, 51))


def test_another_projection_is_brought_to_degrees(tmp_path: Path) -> None:
    file = columns_file(tmp_path)
    gpd.read_file(file).to_crs(3035).to_file(tmp_path / "laea.gpkg")
    made = import_boundaries(BoundarySpec("mine", "columns", subdivisions=str(tmp_path / "laea.gpkg"), columns=MAPPING))
    assert made.subdivisions.geometry[0].bounds == pytest.approx((0, 50, 1, 51), abs=1e-6)
    assert repairs(made) == {"reprojected to EPSG:4326": 1}


@pytest.mark.parametrize("whole", [True, False])
def test_another_view_of_the_world(tmp_path: Path, whole: bool) -> None:
    file = columns_file(tmp_path)
    made = import_boundaries(
        BoundarySpec(
            "mine",
            "columns",
            subdivisions=file,
            columns=MAPPING,
            assign={"BBB" if whole else "a2": "AAA" if whole else "BBB"},
        )
    )
    parents = dict(zip(made.subdivisions["region_id"], made.subdivisions["parent_id"], strict=True))
    assert parents == ({"a1": "AAA", "a2": "AAA", "b1": "AAA"} if whole else {"a1": "AAA", "a2": "BBB", "b1": "BBB"})
    assert made.countries["name"].tolist() == (["A"] if whole else ["A", "B"])
    assert shapely.area(made.countries.geometry.to_numpy()).tolist() == pytest.approx([3.0] if whole else [1.0, 2.0])
    assert repairs(made) == {"assigned": 1}
    countries = BoundarySpec("c", "columns", countries=file, columns={"country_id": "land"}, assign={"BBB": "AAA"})
    assert ids(import_boundaries(countries))[0] == ["AAA"]


def test_another_view_of_the_embedded_regions(embedded: BoundarySet, tmp_path: Path) -> None:
    path = tmp_path / "view.yaml"
    path.write_text(yaml.safe_dump({"name": "view", "layout": "embedded", "assign": {"XNC": "CYP", "RU-0CR": "UKR"}}))
    made = load_boundaries(path)
    assert source_files(path)[1].name == "regions.parquet"
    assert (len(made.countries), len(made.subdivisions)) == (248, 4556)
    assert made.attribution == embedded.attribution
    assert made.identity != embedded.identity
    found = RegionLocator(made).locate([33.36, 34.1, 4.9], [35.19, 45.0, 52.37])
    assert made.countries["region_id"][found.country_index].tolist() == ["CYP", "UKR", "NLD"]
    assert made.countries.set_index("region_id").at["CYP", "name"] == "Cyprus"


def test_a_yaml_file_beside_the_polygons(tmp_path: Path) -> None:
    columns_file(tmp_path)
    spec = {"name": "mine", "layout": "columns", "subdivisions": "mine.gpkg", "columns": MAPPING}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(spec))
    made = load_boundaries(path)
    assert made.name == "mine"
    assert source_files(path) == [path, tmp_path / "mine.gpkg"]
    assert source_files(tmp_path / "x.parquet") == [tmp_path / "x.parquet"]
    assert source_files("embedded")[0].name == "regions.parquet"

    path.write_text(yaml.safe_dump({**spec, "layuot": "gadm"}))
    with pytest.raises(ProfileError, match="the key 'layuot'"):
        load_boundaries(path)
    path.write_text("- a list")
    with pytest.raises(ProfileError, match="must be a mapping"):
        load_boundaries(path)
    path.write_text("name: [")
    with pytest.raises(ProfileError, match="not YAML"):
        load_boundaries(path)
    with pytest.raises(InputError, match="cannot be read"):
        load_boundaries(tmp_path / "none.yaml")


def test_repairs_are_kept_in_the_file(tmp_path: Path) -> None:
    bow_tie = shapely.Polygon([(2, 50), (3, 51), (3, 50), (2, 51)])
    file = columns_file(tmp_path, geometry=[shapely.box(0, 50, 1, 51), shapely.box(1, 50, 2, 51), bow_tie])
    made = import_boundaries(BoundarySpec("mine", "columns", subdivisions=file, columns=MAPPING))
    assert repairs(made) == {"invalid ring repaired": 1}
    write_boundaries(made, tmp_path / "regions.parquet")
    back = read_boundaries(tmp_path / "regions.parquet")
    assert back.repairs == made.repairs
    assert back.identity == made.identity


def test_faults_are_named(tmp_path: Path) -> None:
    file = columns_file(tmp_path)

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
    ]:
        with pytest.raises(InputError, match=match):
            import_boundaries(spec(**wrong))
    with pytest.raises(InputError, match="belongs to two countries"):
        import_boundaries(spec(subdivisions=columns_file(tmp_path, code=["a1", "a2", "a1"])))
    with pytest.raises(InputError, match="row 2 of the polygons names no country"):
        import_boundaries(spec(subdivisions=columns_file(tmp_path, land=["AAA", None, "BBB"])))
    (tmp_path / "text.geojson").write_text("hello")
    with pytest.raises(InputError, match="cannot be read as polygons"):
        import_boundaries(spec(subdivisions=str(tmp_path / "text.geojson")))
    frame = gpd.read_file(file)
    frame.to_file(tmp_path / "two.gpkg", layer="this")
    frame.to_file(tmp_path / "two.gpkg", layer="that")
    with pytest.raises(InputError, match=r"several layers \(this, that\)"):
        import_boundaries(spec(subdivisions=str(tmp_path / "two.gpkg")))


def test_identity_is_that_of_the_content_not_of_the_file(tmp_path: Path) -> None:
    file = columns_file(tmp_path)
    first = import_boundaries(BoundarySpec("a", "columns", subdivisions=file, columns=MAPPING))
    gpd.read_file(file).iloc[::-1].to_file(tmp_path / "other.geojson")
    second = import_boundaries(
        BoundarySpec("b", "columns", subdivisions=str(tmp_path / "other.geojson"), columns=MAPPING)
    )
    assert first.identity == second.identity
    assert np.array_equal(first.parent_indices(), second.parent_indices())

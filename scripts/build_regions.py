"""Derive the embedded boundaries, geoloc_core/geography/data/regions.parquet, from a folder of Natural Earth files.

    python scripts/build_regions.py [FOLDER] [--output FILE]

What is done, in this order:

1. The 4,556 first-level units of Natural Earth 4.1 (1:10m) are taken as they are. They were cut at 179.9° east and west
   and at 89.9° south; the missing strips are filled from Natural Earth 5.1.2 countries, each piece going to the nearest
   unit of the same country.
2. All borders are noded together on a grid of 2^-14 degree (6.8 m) by snap rounding, and the faces between them given
   back to their units. Neighbours so share their borders exactly, and grid coordinates are short in binary, which is
   what keeps the file small. A face that two units claim goes to the one that comes first by id.
3. A country is the union of its units (`adm0_a3`).
4. Countries get ISO 3166-1 alpha-3, units ISO 3166-2 codes where one is known for certain; the rest get stable ids of
   the same shape, made from their names (see `subdivision_ids`).

The same input gives the same bytes.
"""

from __future__ import annotations

import argparse
import unicodedata
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from geoloc_core.errors import InputError
from geoloc_core.geography.boundaries import EMBEDDED_FILE, make_boundary_set, write_boundaries
from geoloc_core.geography.boundary_formats import ISO_3166_2, NATURAL_EARTH_TO_USER_ASSIGNED, natural_earth_country_id

UNITS, UNITS_LAYER = "naturalearth_10m_v4.1_admin1_world.gpkg", "states_provinces"
CROSSWALK = "admin1_iso3166_2_crosswalk.csv"
COUNTRIES = "ne_10m_admin_0_countries.gpkg"
OTHER_UNITS = ("ne_50m_admin_1_states_provinces.gpkg", "ne_10m_admin_1_states_provinces_SUBSET_446.topojson")

GRID = 2.0**-14
EAST = round(179.9 / GRID) * GRID
SOUTH = -round(89.9 / GRID) * GRID
CUT_TOLERANCE = 5e-4  # the cut wavers by this many degrees

ISO_A2 = {"NZL": "NZ"}  # its units carry NZ and TK
# Names as people write them, where Natural Earth's ADMIN is a form of address.
NAMES = {
    "ALD": "Åland Islands",
    "BHS": "Bahamas",
    "BLM": "Saint Barthélemy",
    "HKG": "Hong Kong",
    "MAC": "Macao",
    "SRB": "Serbia",
    "SWZ": "Eswatini",
    "TZA": "Tanzania",
}
# Natural Earth's "Seven seas (open ocean)", by the UN's M49 regions.
CONTINENTS = {
    **dict.fromkeys(("ATF", "IOT", "MUS", "SHN", "SYC"), "Africa"),
    "MDV": "Asia",
    "HMD": "Oceania",
    "SGS": "South America",
    "CLP": "North America",
}
ATTRIBUTION = (
    "Made with Natural Earth (naturalearthdata.com), public domain: 1:10m admin-1 states and provinces 4.1, "
    "strips at the antimeridian and the south pole from 1:10m admin-0 countries 5.1.2."
)
DERIVATION = (
    "scripts/build_regions.py: borders noded on a grid of 2^-14 degree, countries dissolved by adm0_a3; private codes "
    "mapped to ISO 3166-1, units to ISO 3166-2 where known, else ids of the same shape whose last part begins with 0."
)


def main() -> None:
    """Read the folder, derive, write, and say what was written."""
    root = Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=root.parent / "shared" / "data" / "boundaries")
    parser.add_argument("--output", type=Path, default=EMBEDDED_FILE)
    arguments = parser.parse_args()

    units = read_units(arguments.folder)
    national = gpd.read_file(arguments.folder / COUNTRIES).set_index("ADM0_A3")
    units["region_id"] = subdivision_ids(units, read_crosswalk(arguments.folder, units), read_names(arguments.folder))
    units = units.sort_values("region_id", ignore_index=True)
    unit_shapes, country_shapes = node_together(units, national)

    countries = gpd.GeoDataFrame(
        {
            "region_id": [natural_earth_country_id(code) for code in country_shapes.index],
            "name": [NAMES.get(code, national.at[code, "ADMIN"]) for code in country_shapes.index],
            "iso_a2": units.groupby("adm0_a3")["iso_a2"].first().reindex(country_shapes.index).to_numpy(object),
            "continent": [CONTINENTS.get(code, national.at[code, "CONTINENT"]) for code in country_shapes.index],
        },
        geometry=country_shapes.to_numpy(object),
        crs="EPSG:4326",
    )
    subdivisions = gpd.GeoDataFrame(
        {
            "region_id": units["region_id"],
            "parent_id": units["adm0_a3"].map(natural_earth_country_id),
            "name": units["name"],
        },
        geometry=unit_shapes,
        crs="EPSG:4326",
    )
    boundaries = make_boundary_set("embedded", ATTRIBUTION, countries, subdivisions)
    write_boundaries(boundaries, arguments.output, notes={"derivation": DERIVATION, "licence": "public domain"})
    n_iso = (~units["region_id"].str[3:].str.startswith("0") | units["region_id"].str[3:].str.isdigit()).sum()
    print(
        f"{arguments.output.name}: {len(countries)} countries, {len(subdivisions)} sub-divisions ({n_iso} with ISO "
        f"3166-2), {arguments.output.stat().st_size / 1e6:.2f} MB, identity {boundaries.identity[:12]}"
    )


def read_units(folder: Path) -> gpd.GeoDataFrame:
    """The first-level units with text cleaned: adm0_a3, iso_a2, name, gn_name, woe_name, fips, geometry."""
    path = folder / UNITS
    if not path.is_file():
        raise InputError(f"{path} is missing: name the folder of Natural Earth files as the first argument.")
    units = gpd.read_file(path, layer=UNITS_LAYER)
    text = ["adm0_a3", "iso_a2", "name", "gn_name", "woe_name", "fips", "admin"]
    units[text] = units[text].fillna("")
    units["iso_a2"] = [
        NATURAL_EARTH_TO_USER_ASSIGNED[country][1]
        if country in NATURAL_EARTH_TO_USER_ASSIGNED
        else ISO_A2.get(country, code)
        for country, code in zip(units["adm0_a3"], units["iso_a2"], strict=True)
    ]
    named = units["name"].where(units["name"] != "", units["gn_name"]).where(lambda s: s != "", units["woe_name"])
    units["name"] = named.where(named != "", units["admin"] + " (unnamed part)")
    twice = units.duplicated(["adm0_a3", "name"], keep=False) & (units["gn_name"] != "")
    twice &= units["gn_name"].map(plain) != units["name"].map(plain)
    units["name"] = units["name"].where(~twice, units["name"] + " (" + units["gn_name"] + ")")
    return units


def read_crosswalk(folder: Path, units: gpd.GeoDataFrame) -> pd.Series:
    """One ISO 3166-2 code for each unit ("" where none is known), as another map has it at the unit's middle."""
    crosswalk = pd.read_csv(folder / CROSSWALK, keep_default_na=False)
    same = len(crosswalk) == len(units) and (crosswalk["adm0_a3"] == units["adm0_a3"]).all()
    if not same or not (crosswalk["fips"] == units["fips"]).all():
        raise InputError(f"{folder / CROSSWALK} is not row for row the table of {UNITS}.")
    return crosswalk["iso_3166_2"]


def read_names(folder: Path) -> dict[tuple[str, str], str]:
    """(adm0_a3, plain name) -> ISO 3166-2, from the later Natural Earth maps of some countries; unambiguous ones only."""
    found: dict[tuple[str, str], set[str]] = {}
    for file in OTHER_UNITS:
        frame = gpd.read_file(folder / file, ignore_geometry=True).fillna("")
        for row in frame.to_dict("records"):
            for column in ("name", "name_en", "woe_name", "gn_name"):
                if row.get(column) and ISO_3166_2.fullmatch(row["iso_3166_2"]):
                    found.setdefault((row["adm0_a3"], plain(row[column])), set()).add(row["iso_3166_2"])
    return {key: next(iter(codes)) for key, codes in found.items() if len(codes) == 1}


def plain(text: str) -> str:
    """Letters and digits only, without accents, in capitals."""
    bare = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return "".join(character for character in bare.upper() if character.isalnum())


def subdivision_ids(units: gpd.GeoDataFrame, codes: pd.Series, names: dict[tuple[str, str], str]) -> list[str]:
    """An id for each unit, unique.

    An ISO 3166-2 code is taken where it has ISO's shape and the country's own prefix, and exactly one unit claims it.
    A unit claims the code that a later map has under its name, else that of the crosswalk; of several claimants one
    that claims by name is preferred. A unit that is left gets `AA-0BC`: the country's alpha-2, a zero, and two
    characters of its name of which the first is a letter (ISO itself uses no such code). Codes depend on what the units
    are called, not on the order of the rows.
    """
    prefix = units["iso_a2"].to_numpy(object)
    fits = codes.str.fullmatch(ISO_3166_2) & (codes.str[:2] == prefix)
    claim = codes.where(fits, "").to_numpy(object)
    named = np.array(
        [names.get((country, plain(name)), "") for country, name in zip(units["adm0_a3"], units["name"], strict=True)],
        dtype=object,
    )
    named = np.where(pd.Series(named).str[:2].to_numpy(object) == prefix, named, "")
    claim = pd.Series(np.where(named != "", named, claim))
    claims, named_claims = claim.map(claim.value_counts()), claim.map(claim[named != ""].value_counts()).fillna(0)
    sure = (claims == 1) | ((named_claims == 1) & (named != ""))
    result = claim.where(sure, "").to_numpy(object)

    taken = set(result) - {""}
    middle = shapely.get_coordinates(shapely.point_on_surface(units.geometry.values)).round(1)
    keys = [
        (str(prefix[i]), plain(units["name"].iat[i]), plain(units["gn_name"].iat[i]), units["fips"].iat[i], *middle[i])
        for i in range(len(units))
    ]
    for i in sorted(np.flatnonzero(result == ""), key=lambda i: keys[i]):
        result[i] = next(code for code in invented_codes(keys[i][0], keys[i][1]) if code not in taken)
        taken.add(result[i])
    return list(result)


def invented_codes(prefix: str, name: str) -> list[str]:
    """Candidates for an invented code, best first: the name's initial with each later letter, then any pair."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    first = name[0] if name[:1] in letters and name else "X"
    pairs = [first + second for second in name[1:]]
    pairs += [first + second for second in letters + "0123456789"]
    pairs += [a + b for a in letters for b in letters + "0123456789"]
    return [f"{prefix}-0{pair}" for pair in pairs]


def node_together(units: gpd.GeoDataFrame, national: gpd.GeoDataFrame) -> tuple[np.ndarray, pd.Series]:
    """The units' shapes on the grid (n,), and the countries' by adm0_a3, from one set of faces."""
    original = mend_cuts(np.asarray(units.geometry.values))
    strips, owners = missing_strips(original, units["adm0_a3"].to_numpy(object), national)
    shapes = np.concatenate([original, strips])
    owner_of_shape = np.concatenate([np.arange(len(original)), owners])

    lines = shapely.union_all(shapely.boundary(shapes), grid_size=GRID)
    faces = shapely.get_parts(shapely.polygonize(shapely.get_parts(lines)))
    face, shape = shapely.STRtree(shapes).query(shapely.point_on_surface(faces), predicate="within")
    nobody = len(units)
    owner = np.full(len(faces), nobody)
    np.minimum.at(owner, face, owner_of_shape[shape])
    faces, owner = faces[owner < nobody], owner[owner < nobody]
    if len(np.unique(owner)) != len(units):
        raise InputError("a unit vanished on the grid: it is smaller than a cell of 2^-14 degree.")

    of_unit = (
        pd.Series(faces)
        .groupby(owner)
        .agg(lambda group: shapely.normalize(shapely.coverage_union_all(group.to_numpy())))
    )
    codes = units["adm0_a3"].to_numpy(object)[owner]
    of_country = (
        pd.Series(faces).groupby(codes).agg(lambda g: shapely.normalize(shapely.coverage_union_all(g.to_numpy())))
    )
    return of_unit.to_numpy(object), of_country


def mend_cuts(shapes: np.ndarray) -> np.ndarray:
    """The shapes with their wavering cuts at 179.9° east and west and 89.9° south drawn straight, on the grid."""

    def straighten(points: np.ndarray) -> np.ndarray:
        points = points.copy()
        at_cut = np.abs(np.abs(points[:, 0]) - EAST) < CUT_TOLERANCE
        points[at_cut, 0] = np.copysign(EAST, points[at_cut, 0])
        points[np.abs(points[:, 1] - SOUTH) < CUT_TOLERANCE, 1] = SOUTH
        return points

    return shapely.transform(shapes, straighten)


def missing_strips(shapes: np.ndarray, codes: np.ndarray, national: gpd.GeoDataFrame) -> tuple[np.ndarray, np.ndarray]:
    """What the later map has beyond the cuts, as polygons (m,), and for each the nearest unit of its country (m,)."""
    beyond = shapely.union_all(
        [shapely.box(EAST, -90, 180, 90), shapely.box(-180, -90, -EAST, 90), shapely.box(-180, -90, 180, SOUTH)]
    )
    pieces_beyond, owners = [], []
    for code in ("ATA", "FJI", "RUS"):
        mine = np.flatnonzero(codes == code)
        pieces = shapely.get_parts(shapely.intersection(national.at[code, "geometry"], beyond))
        pieces = pieces[shapely.get_type_id(pieces) == 3]
        for piece in pieces:
            pieces_beyond.append(piece)
            owners.append(mine[np.argmin(shapely.distance(shapes[mine], piece))])
    return np.array(pieces_beyond, dtype=object), np.array(owners)


if __name__ == "__main__":
    main()

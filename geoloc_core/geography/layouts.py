"""How each publisher lays out its polygons: from its columns to ours.

Each function takes a file's rows and gives frames with the columns that `boundary_import` works on:

- sub-divisions: country_id, country_name, region_id ("" where the source has no id), name, geometry
- countries: country_id, country_name, iso_a2, continent, geometry

"" where the source does not say. Rows that are not regions (water) are left out, and reported.
"""

from __future__ import annotations

from collections.abc import Mapping

import geopandas as gpd
import numpy as np
import pandas as pd

from geoloc_core.errors import InputError
from geoloc_core.geography.codes import GADM_TO_REGION_ID, ISO_3166_2, natural_earth_country_id
from geoloc_core.geography.repair import Repair

ATTRIBUTIONS = {
    "gadm": "GADM (gadm.org): free for academic and other non-commercial use; may not be redistributed.",
    "geoboundaries": "geoBoundaries (geoboundaries.org), CC BY 4.0; Runfola et al. (2020), PLoS ONE 15(4): e0231866.",
    "natural_earth": "Made with Natural Earth (naturalearthdata.com), public domain.",
    "columns": "",
}
_SUBDIVISION_COLUMNS = ["country_id", "country_name", "region_id", "name", "geometry"]
_COUNTRY_COLUMNS = ["country_id", "country_name", "iso_a2", "continent", "geometry"]

Read = tuple[gpd.GeoDataFrame, list[Repair]]


def subdivision_rows(frame: gpd.GeoDataFrame, layout: str, columns: Mapping[str, str], file: str) -> Read:
    """First-level units of a file, one row for each polygon of it that is land."""
    if layout == "gadm":
        return _gadm_subdivisions(frame, file)
    if layout == "geoboundaries":
        rows = _named(frame, {"country_id": "shapeGroup", "name": "shapeName"}, file)
        return _taken(rows, region_id=_codes_or(rows, "shapeISO", "shapeID")), []
    if layout == "natural_earth":
        rows = _named(_lower_case(frame), {"country_id": "adm0_a3", "country_name": "admin", "name": "name"}, file)
        rows["country_id"] = rows["country_id"].map(natural_earth_country_id)
        return _taken(rows, region_id=_codes_or(rows, "iso_3166_2", "adm1_code")), []
    rows = _mapped(frame, columns, ("country_id", "subdivision_id"), file)
    rows = rows.rename(columns={"subdivision_id": "region_id", "subdivision_name": "name"})
    return _taken(rows, region_id=rows["region_id"]), []


def country_rows(frame: gpd.GeoDataFrame, layout: str, columns: Mapping[str, str], file: str) -> Read:
    """Countries of a file, one row for each polygon of it that is land."""
    if layout == "gadm":
        rows = _gadm(frame, {"country_id": "GID_0"}, file)
        seas = rows["country_id"] == "XCA"
        report = [Repair("country", "XCA", "left out: water body", "Caspian Sea")] if seas.any() else []
        return _filled(rows[~seas], _COUNTRY_COLUMNS), report
    if layout == "geoboundaries":
        rows = _named(frame, {"country_id": "shapeGroup", "country_name": "shapeName"}, file)
    elif layout == "natural_earth":
        rows = _named(_lower_case(frame), {"country_id": "adm0_a3", "country_name": "admin"}, file)
        rows["country_id"] = rows["country_id"].map(natural_earth_country_id)
        code = _text(rows, "iso_a2_eh").where(lambda s: s != "", _text(rows, "iso_a2"))
        rows["iso_a2"] = code.where(code.str.fullmatch("[A-Z]{2}"), "")
    else:
        rows = _mapped(frame, columns, ("country_id",), file)
    return _filled(rows, _COUNTRY_COLUMNS), []


def _gadm(frame: gpd.GeoDataFrame, columns: Mapping[str, str], file: str) -> gpd.GeoDataFrame:
    """Columns of GADM 3.6 or 4.1, where a missing value is the text NA, and contested zones are Z01, Z02, ..."""
    country = "COUNTRY" if "COUNTRY" in frame.columns else "NAME_0"
    rows = _named(frame, {**columns, "country_name": country}, file)
    for column in rows.columns.drop("geometry"):
        rows[column] = _text(rows, column).replace("NA", "")
    rows["country_id"] = rows["country_id"].replace(GADM_TO_REGION_ID)
    contested = rows["country_id"].str.fullmatch(r"Z\d\d")
    named = "Contested zone " + rows["country_id"] + " (" + rows["country_name"] + ")"
    rows["country_name"] = rows["country_name"].where(~contested, named)
    return rows


def _gadm_subdivisions(frame: gpd.GeoDataFrame, file: str) -> Read:
    rows = _gadm(frame, {"country_id": "GID_0", "gid_1": "GID_1", "name": "NAME_1"}, file)
    # In the GeoJSON files values have lost their spaces.
    kinds = [_text(rows, column).str.lower().str.replace(" ", "") for column in ("ENGTYPE_1", "TYPE_1")]
    water = kinds[0].eq("waterbody") | kinds[1].eq("waterbody") | rows["country_id"].eq("XCA")
    report = [
        Repair("subdivision", unit or country, "left out: water body", name)
        for unit, country, name in rows.loc[water, ["gid_1", "country_id", "name"]].itertuples(index=False)
    ]
    rows = rows[~water]
    return _taken(rows, region_id=_codes_or(rows, "ISO_1", "gid_1")), report


def _codes_or(rows: gpd.GeoDataFrame, code: str, own: str) -> pd.Series:
    """The ISO 3166-2 code where it has ISO's shape and no other unit of the file has it, else the publisher's own id."""
    ids = _text(rows, own)
    if (ids == "").all() and code not in rows.columns:
        raise InputError(f"the polygons have neither a column {code} nor {own} to tell sub-divisions apart.")
    codes = _text(rows, code)
    # One unit may come in several rows; the code is ambiguous only where units of different ids claim it.
    claims = pd.DataFrame({"code": codes, "unit": ids.where(ids != "", codes)}).groupby("code")["unit"].nunique()
    good = codes.str.fullmatch(ISO_3166_2) & (codes.map(claims) == 1)
    return codes.where(good, ids)


def _named(frame: gpd.GeoDataFrame, columns: Mapping[str, str], file: str) -> gpd.GeoDataFrame:
    """The rows with our columns, `columns` saying of each which column of the file it is; the file's own stay too."""
    missing = [column for column in columns.values() if column not in frame.columns]
    if missing:
        present = ", ".join(frame.columns.drop("geometry")[:20])
        raise InputError(
            f"{file} has no column {missing[0]!r}, which this layout needs; it has {present}. "
            "Check the layout, or map the columns yourself."
        )
    return frame.assign(**{ours: _text(frame, theirs) for ours, theirs in columns.items()})


def _mapped(
    frame: gpd.GeoDataFrame, columns: Mapping[str, str], needed: tuple[str, ...], file: str
) -> gpd.GeoDataFrame:
    lacking = [role for role in needed if role not in columns]
    if lacking:
        raise InputError(f"{file}: `columns` must say which column holds {lacking[0]}.")
    # Of two files, one may lack what the mapping says of the other.
    here = {role: column for role, column in columns.items() if column in frame.columns or role in needed}
    return _named(frame, here, file)[[*here, "geometry"]]


def _lower_case(frame: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Natural Earth's columns are capitals in some editions; of two that then coincide the first stays."""
    frame = frame.copy()
    frame.columns = [column if column == "geometry" else column.lower() for column in frame.columns]
    return frame.loc[:, ~frame.columns.duplicated()]


def _text(rows: gpd.GeoDataFrame, column: str) -> pd.Series:
    """A column as stripped text, "" where it is missing, null or not there."""
    if column not in rows.columns:
        return pd.Series("", index=rows.index, dtype=object)
    values = rows[column]
    return values.astype(object).where(values.notna(), "").map(lambda value: str(value).strip()).astype(object)


def _taken(rows: gpd.GeoDataFrame, region_id: pd.Series) -> gpd.GeoDataFrame:
    return _filled(rows.assign(region_id=region_id), _SUBDIVISION_COLUMNS)


def _filled(rows: gpd.GeoDataFrame, columns: list[str]) -> gpd.GeoDataFrame:
    rows = rows.copy()
    for column in columns:
        if column not in rows.columns:
            rows[column] = ""
    if (rows["country_id"] == "").any():
        position = int(np.argmax(rows["country_id"] == ""))
        raise InputError(f"row {position + 1} of the polygons names no country.")
    return gpd.GeoDataFrame(rows[columns], geometry="geometry", crs=rows.crs).reset_index(drop=True)

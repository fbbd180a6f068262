"""Files of polygons: which to use (a short specification), and how each publisher lays them out.

    name: gadm41
    layout: gadm
    subdivisions: gadm_410-levels.gpkg
    countries: gadm_410-levels.gpkg

Paths are relative to the YAML file. Layouts and their columns are explained in docs/regions.md.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import field, fields
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import yaml
from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass

from geoloc_core.errors import InputError, ProfileError
from geoloc_core.geography.cells import ROOT
from geoloc_core.geography.repair import Repair

_TABLES = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
ATTRIBUTIONS: Mapping[str, str] = _TABLES["attributions"]
NATURAL_EARTH_TO_USER_ASSIGNED: Mapping[str, Sequence[str]] = _TABLES["natural_earth_to_user_assigned"]
COLUMN_DOCS: Mapping[str, str] = _TABLES["columns"]
MAX_SPEC_BYTES, MAX_SPEC_DEPTH = 1 << 16, 50
_ROW_COLUMNS = ("region_id", "name", "country_id", "country_name", "iso_a2", "continent")
COLUMN_ROLES = ("country_id", "country_name", "iso_a2", "continent", "subdivision_id", "subdivision_name")

# The shape of an ISO 3166-2 code. AI-X06~, XX-X00 and the like are Natural Earth's own stopgaps.
ISO_3166_2 = re.compile(r"[A-Z]{2}-(?!X[0-9])[A-Z0-9]{1,3}")


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class BoundarySpec:
    """Polygons of a published layout, or of any layout with a mapping of columns; or the embedded ones, reassigned.

    `subdivisions` and `countries` are files that geopandas reads (GeoPackage, Shapefile, GeoJSON, TopoJSON, GeoParquet,
    zipped or not); one of them may be "", both for "embedded". A layer need be named only where its file has several and
    their names are ambiguous. `columns` (layout "columns" only) maps roles of COLUMN_ROLES to columns of the file.
    `assign` moves regions to another country before anything else is made of them: region_id of a country or of a
    sub-division -> country's region_id; it is how a view of the world other than the file's is taken.
    """

    name: str
    layout: str
    subdivisions: str = ""
    countries: str = ""
    subdivision_layer: str = ""
    country_layer: str = ""
    attribution: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    assign: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse contradictions with ProfileError."""
        unknown_roles, fault = sorted(set(self.columns) - set(COLUMN_ROLES)), ""
        if self.layout not in ATTRIBUTIONS:
            fault = f"layout {self.layout!r} is none of {', '.join(ATTRIBUTIONS)}"
        elif bool(self.subdivisions or self.countries) == (self.layout == "embedded"):
            fault = "name a file under `subdivisions`, `countries` or both; layout 'embedded' takes none"
        elif (self.layout == "columns") != bool(self.columns):
            fault = "`columns` goes with layout 'columns', and with no other"
        elif unknown_roles:
            fault = f"`columns` knows no {unknown_roles[0]!r}, only {', '.join(COLUMN_ROLES)}"
        if fault:
            raise ProfileError(f"boundaries {self.name!r}: {fault}.")

    def files(self) -> list[Path]:
        """The files that the set is made from, each once."""
        return [Path(name) for name in dict.fromkeys((self.subdivisions, self.countries)) if name]


def read_boundary_spec(path: str | os.PathLike[str]) -> BoundarySpec:
    """The specification in the YAML file at `path`; ProfileError where a key is unknown or missing."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            text = file.read(MAX_SPEC_BYTES + 1).decode("utf-8")
        # Aliases of aliases make gigabytes of a few lines, lists in lists take for ever: no specification needs either.
        if len(text) > MAX_SPEC_BYTES or len(re.findall(r"[\[{]|[-?] (?=[-?] )", text)) > MAX_SPEC_DEPTH:
            raise yaml.YAMLError(f"more than {MAX_SPEC_BYTES} bytes, or {MAX_SPEC_DEPTH} lists")
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise yaml.YAMLError("it has an alias")
        content: Any = yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ProfileError(
            f"boundary specification {path} cannot be read as YAML ({error}): check the path."
        ) from error
    if not isinstance(content, dict):
        raise ProfileError(f"boundary specification {path} must be a mapping with at least `name` and `layout`.")
    files = {key: str(path.parent / str(content[key])) for key in ("subdivisions", "countries") if content.get(key)}
    try:
        return BoundarySpec(**{str(key): value for key, value in {**content, **files}.items()})
    except ValidationError as error:
        key, fault = error.errors()[0]["loc"][0], error.errors()[0]["msg"]
        allowed = ", ".join(item.name for item in fields(BoundarySpec))
        raise ProfileError(
            f"boundary specification {path}, the key {key!r}: {fault}; allowed are {allowed}."
        ) from error


def natural_earth_country_id(adm0_a3: str) -> str:
    """The region_id of a country by its code in Natural Earth; an unknown code stays what it is."""
    user_assigned, _ = NATURAL_EARTH_TO_USER_ASSIGNED.get(adm0_a3, ("", ""))
    return user_assigned or _TABLES["natural_earth_to_iso"].get(adm0_a3, adm0_a3)


def region_rows(
    frame: gpd.GeoDataFrame, layout: str, level: str, columns: Mapping[str, str], file: str
) -> tuple[gpd.GeoDataFrame, list[Repair]]:
    """The regions of one level, one row for each polygon of the file; and what was left out because it is water.

    The columns are region_id, name, country_id, country_name, iso_a2, continent, geometry; "" where the source has no
    such thing. `columns` are those of a `BoundarySpec`; `file` is named in errors.
    """
    report: list[Repair] = []
    if layout == "gadm":
        rows = _gadm(frame, level, file)
        # In the GeoJSON files values have lost their spaces.
        kinds = [_text(rows, column).str.lower().str.replace(" ", "") for column in ("ENGTYPE_1", "TYPE_1")]
        water = kinds[0].eq("waterbody") | kinds[1].eq("waterbody") | rows["country_id"].eq("XCA")  # the Caspian Sea
        left_out = rows[water].itertuples()
        report = [Repair(level, row.region_id or row.country_id, "left out: water body", row.name) for row in left_out]
        rows = rows[~water]
        code, own_id = "ISO_1", "region_id"
    elif layout == "geoboundaries":
        name = "country_name" if level == ROOT else "name"
        rows = _renamed(frame, {"country_id": "shapeGroup", name: "shapeName"}, file)
        code, own_id = "shapeISO", "shapeID"
    elif layout == "natural_earth":
        rows, code, own_id = _natural_earth(frame, level, file), "iso_3166_2", "adm1_code"
    else:
        rows, code, own_id = _mapped(frame, level, columns, file), "", "region_id"
    if level == ROOT:
        rows = rows.assign(region_id=rows["country_id"], name=_text(rows, "country_name"))
    else:
        rows = rows.assign(region_id=_codes_or_ids(rows, code, own_id))
    filled = {column: _text(rows, column) for column in _ROW_COLUMNS}
    if (nameless := filled["country_id"] == "").any():
        raise InputError(f"row {int(np.argmax(nameless)) + 1} of the polygons names no country.")
    return gpd.GeoDataFrame(filled, geometry=rows.geometry, crs=rows.crs).reset_index(drop=True), report


def _gadm(frame: gpd.GeoDataFrame, level: str, file: str) -> gpd.GeoDataFrame:
    """Columns of GADM 3.6 or 4.1, where a missing value is the text NA, and contested zones are Z01, Z02, ..."""
    country = "COUNTRY" if "COUNTRY" in frame.columns else "NAME_0"
    own = ("GID_0", country) if level == ROOT else ("GID_1", "NAME_1")
    rows = _renamed(frame, {"country_id": "GID_0", "country_name": country, "region_id": own[0], "name": own[1]}, file)
    for column in rows.columns.drop("geometry"):
        rows[column] = _text(rows, column).replace("NA", "")
    zone = "Contested zone " + rows["country_id"] + " (" + rows["country_name"] + ")"
    rows["country_name"] = rows["country_name"].mask(rows["country_id"].str.fullmatch(r"Z\d\d"), zone)
    return rows.assign(country_id=rows["country_id"].replace("XKO", "XKX"))


def _natural_earth(frame: gpd.GeoDataFrame, level: str, file: str) -> gpd.GeoDataFrame:
    # The columns are capitals in some editions; of two that then coincide the first stays.
    frame = frame.rename(columns=lambda column: column if column == "geometry" else column.lower())
    frame = frame.loc[:, ~frame.columns.duplicated()]
    columns = {"country_id": "adm0_a3", "country_name": "admin"}
    rows = _renamed(frame, columns if level == ROOT else {**columns, "name": "name"}, file)
    code = _text(rows, "iso_a2_eh").where(lambda s: s != "", _text(rows, "iso_a2"))
    alpha_2 = code.where(code.str.fullmatch("[A-Z]{2}"), "")
    return rows.assign(country_id=rows["country_id"].map(natural_earth_country_id), iso_a2=alpha_2)


def _mapped(frame: gpd.GeoDataFrame, level: str, columns: Mapping[str, str], file: str) -> gpd.GeoDataFrame:
    required = ["country_id"] if level == ROOT else ["country_id", "subdivision_id"]
    if unmapped := [role for role in required if role not in columns]:
        raise InputError(f"{file}: `columns` must say which column holds {unmapped[0]}.")
    # Of two files, one may lack what the mapping says of the other.
    here = {role: column for role, column in columns.items() if column in frame.columns or role in required}
    rows = _renamed(frame, here, file)[[*here, "geometry"]]
    return rows.rename(columns={"subdivision_id": "region_id", "subdivision_name": "name"})


def _codes_or_ids(rows: gpd.GeoDataFrame, code: str, own_id: str) -> pd.Series:
    """The ISO 3166-2 code where it has ISO's shape and no other unit of the file has it, else the publisher's own id."""
    ids = _text(rows, own_id)
    if not code:
        return ids
    if (ids == "").all() and code not in rows.columns:
        raise InputError(f"the polygons have neither a column {code} nor {own_id} to tell sub-divisions apart.")
    codes = _text(rows, code)
    # One unit may come in several rows; the code is ambiguous only where units of different ids claim it.
    claims = pd.DataFrame({"code": codes, "unit": ids.where(ids != "", codes)}).groupby("code")["unit"].nunique()
    return codes.where(codes.str.fullmatch(ISO_3166_2) & (codes.map(claims) == 1), ids)


def _renamed(frame: gpd.GeoDataFrame, columns: Mapping[str, str], file: str) -> gpd.GeoDataFrame:
    """The rows with our columns, `columns` mapping each to the file's; the file's other columns stay too."""
    missing = [column for column in columns.values() if column not in frame.columns]
    if missing:
        present = ", ".join(frame.columns.drop("geometry")[:20])
        raise InputError(
            f"{file} has no column {missing[0]!r}; it has {present}. Check the layout, or map the columns."
        )
    return frame.assign(**{ours: _text(frame, theirs) for ours, theirs in columns.items()})


def _text(rows: gpd.GeoDataFrame, column: str) -> pd.Series:
    """A column as stripped text, "" where it is missing, null or not there."""
    if column not in rows.columns:
        return pd.Series("", index=rows.index, dtype=object)
    values = rows[column]
    return values.astype(object).where(values.notna(), "").map(lambda value: str(value).strip()).astype(object)

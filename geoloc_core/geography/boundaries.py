"""The boundary set that a profile names: the embedded one, a file of ours, or one imported from a publisher's files.

A source is "embedded"; the path of a file that `write_boundaries` wrote; or the path of a YAML file that describes
another set (`geoloc_core.geography.boundary_formats`), which is then imported: read, brought to our columns, repaired,
rows of one region joined, countries made as the union of their sub-divisions.
"""

import functools
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import shapely
from numpy.typing import NDArray

from geoloc_core.errors import InputError
from geoloc_core.geography.boundary_formats import ATTRIBUTIONS, BoundarySpec, read_boundary_spec, region_rows
from geoloc_core.geography.boundary_set import CRS, EMBEDDED_FILE, BoundarySet, embedded_boundaries
from geoloc_core.geography.boundary_set import make_boundary_set as make_boundary_set
from geoloc_core.geography.boundary_set import read_boundaries as read_boundaries
from geoloc_core.geography.boundary_set import write_boundaries as write_boundaries
from geoloc_core.geography.cells import FINEST, LEVELS, ROOT
from geoloc_core.geography.locate import RegionLocator
from geoloc_core.geography.repair import Repair, repair_geometries

_ROUNDING = 1e-6  # degrees by which a file may overshoot the globe
MAX_BOUNDARY_BYTES = 1 << 33  # GADM's file of all levels has a third of it
_CONTINENT_CAP_KM = 1000.0
Rows: TypeAlias = gpd.GeoDataFrame | None  # `region_rows` of a level, where there is a file of it


def load_boundaries(source: str | os.PathLike[str] = "embedded") -> BoundarySet:
    """The boundary set of a source."""
    source = os.fspath(source)
    if source == "embedded":
        return embedded_boundaries()
    if source.endswith((".yaml", ".yml")):
        return import_boundaries(read_boundary_spec(source))
    return read_boundaries(source)


def source_files(source: str | os.PathLike[str]) -> list[Path]:
    """The files whose bytes determine what `load_boundaries(source)` gives."""
    if os.fspath(source).endswith((".yaml", ".yml")):
        return [Path(source), *(read_boundary_spec(source).files() or [EMBEDDED_FILE])]
    return [EMBEDDED_FILE if source == "embedded" else Path(source)]


def import_boundaries(spec: BoundarySpec) -> BoundarySet:
    """The boundary set that `spec` describes; its `repairs` list what was changed on the way.

    Countries are the union of their sub-divisions. A country without any (in the file of countries only) gets one of
    its own extent, so that every place of the set has both levels; a set given as countries alone has one level.
    """
    report: list[Repair] = []
    if spec.layout == "embedded":
        countries, units = _embedded_rows()
        attribution = embedded_boundaries().attribution
    else:
        countries = _read_level(spec, ROOT, report) if spec.countries else None
        units = _read_level(spec, FINEST, report) if spec.subdivisions else None
        attribution = ATTRIBUTIONS[spec.layout]
        if countries is not None and units is not None:
            units = pd.concat([units, _whole_countries(countries, units, report)], ignore_index=True)
    _check_assign(spec, units, countries, report)
    if units is None:
        assert countries is not None  # BoundarySpec has one file at least
        levels = [_with_facts(_joined_countries(countries, spec.assign))]
    else:
        units = _assigned_units(units, spec.assign)
        named = units.rename(columns={"country_id": "parent_id"}).assign(name=_first_text(units, "name", "region_id"))
        levels = [_with_facts(_countries_of(units, countries)), named]
    return make_boundary_set(spec.name, spec.attribution or attribution, *levels, repairs=tuple(report))


def _embedded_rows() -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]:
    """The embedded countries and sub-divisions with the columns of `region_rows`."""
    countries = embedded_boundaries().level(ROOT)
    countries = countries.assign(country_id=countries["region_id"], country_name=countries["name"])
    units = embedded_boundaries().level(FINEST).rename(columns={"parent_id": "country_id"})
    names = countries.set_index("country_id")["country_name"]
    return countries, units.assign(country_name=units["country_id"].map(names))


def _read_level(spec: BoundarySpec, level: str, report: list[Repair]) -> gpd.GeoDataFrame:
    """`region_rows` of the level's file, repaired, one for each region; what was done is added to `report`."""
    is_root = level == ROOT
    file, layer = (spec.countries, spec.country_layer) if is_root else (spec.subdivisions, spec.subdivision_layer)
    rows, left_out = region_rows(_read_file(file, layer, level, report), spec.layout, level, spec.columns, file)
    # A unit that its source gives no id is the whole of its country.
    rows["region_id"] = rows["region_id"].where(rows["region_id"] != "", _whole_ids(rows["country_id"]))
    rows["name"] = _first_text(rows, "name", "country_name")
    rows, repairs = repair_geometries(rows, level)
    report += left_out + repairs
    return _dissolved(rows, level, report)


def _read_file(file: str, layer: str, level: str, report: list[Repair]) -> gpd.GeoDataFrame:
    """The rows of a file in EPSG:4326."""
    path = Path(file)
    if not path.exists():
        raise InputError(f"boundary file {path} is missing: check the path in the specification.")
    if path.stat().st_size > MAX_BOUNDARY_BYTES:
        raise InputError(f"boundary file {path} is larger than the limit of {MAX_BOUNDARY_BYTES} bytes.")
    try:
        is_parquet = path.suffix == ".parquet"
        frame = gpd.read_parquet(path) if is_parquet else gpd.read_file(path, layer=_layer(path, layer, level))
    except InputError:
        raise
    except Exception as error:  # on hostile bytes a parser may raise anything
        raise InputError(f"boundary file {path} cannot be read as polygons ({str(error)[:400]}).") from error
    if not isinstance(frame, gpd.GeoDataFrame) or not len(frame):
        raise InputError(f"boundary file {path} holds no polygons.")
    if frame.geometry.name != "geometry":
        frame = frame.rename_geometry("geometry")
    if frame.crs is None:
        west, south, east, north = frame.total_bounds
        if max(-180 - west, east - 360, -90 - south, north - 90) > _ROUNDING:
            raise InputError(f"boundary file {path} names no coordinate system and is not in degrees: set its CRS.")
        report.append(Repair(level, "", f"coordinate system not named: taken as {CRS}", path.name))
        return frame.set_crs(CRS)
    if frame.crs.to_epsg() != 4326:
        report.append(Repair(level, "", f"reprojected to {CRS}", f"{path.name} was in {frame.crs.name}"))
    return frame.to_crs(CRS)


def _layer(path: Path, layer: str, level: str) -> str | None:
    """The layer to read: the one named, the only one, or the one whose name ends with the level's number (ADM_1)."""
    names = [str(name) for name in pyogrio.list_layers(path)[:, 0]]
    if layer and layer not in names:
        raise InputError(f"boundary file {path} has no layer {layer!r}; it has {', '.join(names)}.")
    if layer or len(names) == 1:
        return layer or None
    candidates = [name for name in names if re.search(rf"(?:^|[^0-9]){LEVELS.index(level)}$", name)]
    if len(candidates) != 1:
        raise InputError(f"boundary file {path} has several layers ({', '.join(names)}): name the one to use.")
    return candidates[0]


def _dissolved(frame: gpd.GeoDataFrame, level: str, report: list[Repair]) -> gpd.GeoDataFrame:
    """One row for each region_id; rows of one region are joined, unless their countries differ, which is refused."""
    if frame["region_id"].is_unique:
        return frame
    for region, rows in frame.groupby("region_id"):
        if rows["country_id"].nunique() > 1:
            raise InputError(f"the sub-division {region!r} belongs to two countries: its ids are not unique.")
        if len(rows) > 1:
            report.append(Repair(level, region, "rows joined", str(len(rows))))
    return _united(frame, "region_id").reset_index()


def _united(frame: gpd.GeoDataFrame, by: str) -> gpd.GeoDataFrame:
    """One row for each value of `by`, which becomes the index: the union of the geometries, the first of all else."""
    first: dict[str, object] = dict.fromkeys(frame.columns.drop([by, "geometry"]), "first")
    united = frame.groupby(by).agg({**first, "geometry": lambda shapes: shapely.union_all(shapes.to_numpy())})
    return gpd.GeoDataFrame(united, geometry="geometry", crs=frame.crs)


def _whole_countries(countries: gpd.GeoDataFrame, units: gpd.GeoDataFrame, report: list[Repair]) -> gpd.GeoDataFrame:
    """One sub-division of its own extent for each country that has none."""
    alone = countries[~countries["country_id"].isin(units["country_id"])]
    alone = alone.assign(region_id=_whole_ids(alone["country_id"]), name=alone["country_name"])
    report += [Repair(FINEST, region, "made: the country has no sub-divisions") for region in alone["region_id"]]
    return alone


def _check_assign(spec: BoundarySpec, units: Rows, countries: Rows, report: list[Repair]) -> None:
    country_ids = {code for frame in (units, countries) if frame is not None for code in frame["country_id"]}
    region_ids = country_ids | (set(units["region_id"]) if units is not None else set())
    for region, country in spec.assign.items():
        missing = [region] * (region not in region_ids) + [country] * (country not in country_ids)
        if missing:
            raise InputError(f"boundaries {spec.name!r}: `assign` names {missing[0]!r}, which the files do not have.")
        report.append(Repair(ROOT if region in country_ids else FINEST, region, "assigned", f"to {country}"))


def _assigned_units(units: gpd.GeoDataFrame, assign: Mapping[str, str]) -> gpd.GeoDataFrame:
    """The units with new parents where they, or their countries, are assigned."""
    parent = units["region_id"].map(assign).fillna(units["country_id"].map(assign))
    names, countries = units["country_name"].where(parent.isna(), ""), parent.fillna(units["country_id"])
    return units.assign(country_name=names, country_id=countries)


def _joined_countries(countries: gpd.GeoDataFrame, assign: Mapping[str, str]) -> gpd.GeoDataFrame:
    """The countries, by country_id, each joined with those that are assigned to it."""
    if not assign:
        return countries.set_index("country_id")
    # The country that takes others in comes first, so that its own name and codes stay.
    countries = countries.sort_values("country_id", key=lambda ids: ids.isin(list(assign)), kind="stable")
    return _united(countries.assign(country_id=countries["country_id"].replace(dict(assign))), "country_id")


def _countries_of(units: gpd.GeoDataFrame, countries: Rows) -> gpd.GeoDataFrame:
    """The countries, by country_id, that units make up, with what the file of countries says of them."""
    # A unit that was assigned to the country has no country_name: the names of the others count.
    ordered = units.sort_values("country_name", key=lambda names: names == "", kind="stable")
    united = _united(ordered[["country_id", "country_name", "geometry"]], "country_id")
    if countries is None:
        return united.assign(iso_a2="", continent="")
    return united.join(countries.set_index("country_id")[["iso_a2", "continent"]]).fillna(
        {"iso_a2": "", "continent": ""}
    )


def _with_facts(countries: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Countries, given by country_id, with region_id, name, iso_a2 and continent: the embedded set's where it has the
    country, else the file's, and the continent of the place where both are silent.
    """
    embedded = embedded_boundaries().level(ROOT).set_index("region_id")
    facts = embedded.reindex(countries.index)[["name", "iso_a2", "continent"]].fillna("")
    frame = countries.assign(region_id=countries.index)
    frame["name"] = _first_text(frame, "country_name", "region_id")
    for column in facts.columns:
        frame[column] = facts[column].where(facts[column] != "", frame[column])
    unknown = (frame["continent"] == "") | frame["continent"].str.startswith("Seven seas")
    if unknown.any():
        frame.loc[unknown, "continent"] = _continents_at(frame.geometry[unknown])
    return frame.reset_index(drop=True)


def _continents_at(geometries: gpd.GeoSeries) -> NDArray[np.object_]:
    """The continent of the embedded country at, or nearest to, a point of each geometry; "" where none is near."""
    points = shapely.get_coordinates(geometries.representative_point())
    countries = _embedded_locator().locate(*points.T).index[ROOT]
    return np.append(embedded_boundaries().level(ROOT)["continent"].to_numpy(object), "")[countries]


@functools.lru_cache(maxsize=1)
def _embedded_locator() -> RegionLocator:
    return RegionLocator(embedded_boundaries(), near_cap_km=_CONTINENT_CAP_KM)


def _whole_ids(country_ids: pd.Series) -> pd.Series:
    """The id of the one sub-division of a country without any: AA-000, or AAA-000 where the alpha-2 is not known."""
    alpha_2 = embedded_boundaries().level(ROOT).set_index("region_id")["iso_a2"]
    return country_ids.map(alpha_2).fillna(country_ids) + "-000"


def _first_text(frame: gpd.GeoDataFrame, column: str, other: str) -> pd.Series:
    """A column of text, with the other's text where it is ""."""
    return frame[column].where(frame[column] != "", frame[other])

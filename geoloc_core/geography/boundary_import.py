"""From files of polygons to a boundary set: read, take the layout's columns, repair, join what belongs together, name."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import shapely

from geoloc_core.errors import InputError
from geoloc_core.geography.boundaries import BoundarySet, load_boundaries, make_boundary_set
from geoloc_core.geography.boundary_spec import BoundarySpec
from geoloc_core.geography.layouts import ATTRIBUTIONS, country_rows, subdivision_rows
from geoloc_core.geography.locate import RegionLocator
from geoloc_core.geography.repair import Repair, repair_geometries

_ROUNDING = 1e-6


def import_boundaries(spec: BoundarySpec) -> BoundarySet:
    """The boundary set that `spec` describes; its `repairs` say what was changed on the way.

    Countries are the union of their sub-divisions. A country without any (in the file of countries only) gets one of
    its own extent, so that every place of the set has both levels; a set given as countries alone has one level.
    """
    report: list[Repair] = []
    if spec.layout == "embedded":
        nations, units = _embedded_rows()
        attribution = load_boundaries().attribution
    else:
        nations = _nations(spec, report) if spec.countries else None
        units = _units(spec, nations, report) if spec.subdivisions else None
        attribution = ATTRIBUTIONS[spec.layout]
    _check_assign(spec, units, nations, report)
    if units is not None:
        units = _assigned_units(units, spec.assign)
        named = _first_text(units["name"], units["region_id"])
        subdivisions = gpd.GeoDataFrame(
            {"region_id": units["region_id"], "parent_id": units["country_id"], "name": named},
            geometry=units.geometry.to_numpy(),
            crs="EPSG:4326",
        )
        countries = _finished(_countries_of(units, nations))
    else:
        assert nations is not None  # BoundarySpec has one file at least
        no_rows = pd.DataFrame(columns=["region_id", "parent_id", "name"], dtype=object)
        subdivisions = gpd.GeoDataFrame(no_rows, geometry=[], crs="EPSG:4326")
        countries = _finished(_assigned_nations(nations, spec.assign))
    return make_boundary_set(spec.name, spec.attribution or attribution, countries, subdivisions, tuple(report))


def _embedded_rows() -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]:
    embedded = load_boundaries()
    nations = embedded.countries.rename(columns={"region_id": "country_id", "name": "country_name"})
    names = nations.set_index("country_id")["country_name"]
    units = embedded.subdivisions.rename(columns={"parent_id": "country_id"})
    return nations, units.assign(country_name=units["country_id"].map(names))


def _nations(spec: BoundarySpec, report: list[Repair]) -> gpd.GeoDataFrame:
    """Rows of `layouts.country_rows` with region_id, repaired, one for each country."""
    frame = _read(spec.countries, spec.country_layer, 0, report)
    rows, left_out = country_rows(frame, spec.layout, spec.columns, spec.countries)
    rows, repairs = repair_geometries(rows.assign(region_id=rows["country_id"]), "country")
    report += left_out + repairs
    return _dissolved(rows, "country", report)


def _units(spec: BoundarySpec, nations: gpd.GeoDataFrame | None, report: list[Repair]) -> gpd.GeoDataFrame:
    """Rows of `layouts.subdivision_rows`, repaired, one for each unit; every country of `nations` has one at least."""
    frame = _read(spec.subdivisions, spec.subdivision_layer, 1, report)
    rows, left_out = subdivision_rows(frame, spec.layout, spec.columns, spec.subdivisions)
    rows, repairs = repair_geometries(_with_ids(rows), "subdivision")
    report += left_out + repairs
    units = _dissolved(rows, "subdivision", report)
    if nations is None:
        return units
    return pd.concat([units, _whole_countries(nations, units, report)], ignore_index=True)


def _read(file: str, layer: str, number: int, report: list[Repair]) -> gpd.GeoDataFrame:
    """The rows of a file in EPSG:4326. `number` is the level that a layer's name may end with (ADM_1, level1)."""
    path = Path(file)
    if not path.exists():
        raise InputError(f"boundary file {path} is missing: check the path in the specification.")
    try:
        is_parquet = path.suffix == ".parquet"
        frame = gpd.read_parquet(path) if is_parquet else gpd.read_file(path, layer=_layer(path, layer, number))
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, ValueError, OSError) as error:
        raise InputError(f"boundary file {path} cannot be read as polygons ({error}).") from error
    if not isinstance(frame, gpd.GeoDataFrame) or not len(frame):
        raise InputError(f"boundary file {path} holds no polygons.")
    if frame.geometry.name != "geometry":
        frame = frame.rename_geometry("geometry")
    level = ("country", "subdivision")[number]
    if frame.crs is None:
        west, south, east, north = frame.total_bounds
        if west < -180 - _ROUNDING or east > 360 + _ROUNDING or south < -90 - _ROUNDING or north > 90 + _ROUNDING:
            raise InputError(f"boundary file {path} names no coordinate system and is not in degrees: set its CRS.")
        report.append(Repair(level, "", "coordinate system not named: taken as EPSG:4326", path.name))
        return frame.set_crs("EPSG:4326")
    if frame.crs.to_epsg() != 4326:
        report.append(Repair(level, "", "reprojected to EPSG:4326", f"{path.name} was in {frame.crs.name}"))
    return frame.to_crs("EPSG:4326")


def _layer(path: Path, layer: str, number: int) -> str | None:
    names = [str(name) for name in pyogrio.list_layers(path)[:, 0]]
    if layer or len(names) == 1:
        if layer and layer not in names:
            raise InputError(f"boundary file {path} has no layer {layer!r}; it has {', '.join(names)}.")
        return layer or None
    fitting = [name for name in names if re.search(rf"(?:^|[^0-9]){number}$", name)]
    if len(fitting) != 1:
        raise InputError(f"boundary file {path} has several layers ({', '.join(names)}): name the one to use.")
    return fitting[0]


def _with_ids(units: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """A unit that its source gives no id is the whole of its country."""
    own = units["region_id"] != ""
    whole = units["country_id"].map(_whole_id)
    return units.assign(
        region_id=units["region_id"].where(own, whole), name=_first_text(units["name"], units["country_name"])
    )


def _dissolved(frame: gpd.GeoDataFrame, level: str, report: list[Repair]) -> gpd.GeoDataFrame:
    """One row for each region_id; rows of one region are joined, which is no repair unless their countries differ."""
    several = frame.groupby("region_id")["country_id"].nunique()
    for region in several.index[several > 1]:
        raise InputError(f"the sub-division {region!r} belongs to two countries: its ids are not unique.")
    counts = frame["region_id"].value_counts()
    if (counts == 1).all():
        return frame
    report += [Repair(level, region, "rows joined", str(counts[region])) for region in sorted(counts.index[counts > 1])]
    joined = frame.groupby("region_id", sort=True).agg(
        {
            **dict.fromkeys(frame.columns.drop(["region_id", "geometry"]), "first"),
            "geometry": lambda shapes: shapely.union_all(shapes.to_numpy()),
        }
    )
    return gpd.GeoDataFrame(joined.reset_index(), geometry="geometry", crs=frame.crs)


def _whole_countries(nations: gpd.GeoDataFrame, units: gpd.GeoDataFrame, report: list[Repair]) -> gpd.GeoDataFrame:
    alone = nations[~nations["country_id"].isin(units["country_id"])]
    report += [
        Repair("subdivision", _whole_id(country), "made: the country has no sub-divisions")
        for country in alone["country_id"]
    ]
    return alone.assign(region_id=alone["country_id"].map(_whole_id), name=alone["country_name"])[units.columns]


def _check_assign(
    spec: BoundarySpec, units: gpd.GeoDataFrame | None, nations: gpd.GeoDataFrame | None, report: list[Repair]
) -> None:
    countries = {code for frame in (units, nations) if frame is not None for code in frame["country_id"]}
    regions = countries | (set(units["region_id"]) if units is not None else set())
    for region, country in spec.assign.items():
        if region not in regions or country not in countries:
            missing = region if region not in regions else country
            raise InputError(f"boundaries {spec.name!r}: `assign` names {missing!r}, which the files do not have.")
        report.append(Repair("country" if region in countries else "subdivision", region, "assigned", f"to {country}"))


def _assigned_units(units: gpd.GeoDataFrame, assign: Mapping[str, str]) -> gpd.GeoDataFrame:
    """The units with new parents where they, or their countries, are assigned."""
    moved = units["region_id"].map(assign).fillna(units["country_id"].map(assign))
    return units.assign(
        country_name=units["country_name"].where(moved.isna(), ""), country_id=moved.fillna(units["country_id"])
    )


def _assigned_nations(nations: gpd.GeoDataFrame, assign: Mapping[str, str]) -> gpd.GeoDataFrame:
    """The countries, by country_id, each joined with those that are assigned to it."""
    region = nations["country_id"].replace(dict(assign))
    # The country that takes others in comes first, so that its own name and codes stay.
    order = np.argsort(region != nations["country_id"], kind="stable")
    joined = nations.assign(region_id=region, country_id=region).iloc[order]
    return _dissolved(joined, "country", []).set_index("country_id")


def _countries_of(units: gpd.GeoDataFrame, nations: gpd.GeoDataFrame | None) -> gpd.GeoDataFrame:
    """The countries, by country_id, that units make up, with what the file of countries says of them."""
    named = units.sort_values("country_name", key=lambda names: names == "", kind="stable").groupby("country_id")
    frame = gpd.GeoDataFrame(
        {"country_name": named["country_name"].first()},
        geometry=named["geometry"].agg(lambda shapes: shapely.union_all(shapes.to_numpy())),
        crs="EPSG:4326",
    )
    for column in ("iso_a2", "continent"):
        facts = {} if nations is None else dict(zip(nations["country_id"], nations[column], strict=True))
        frame[column] = [facts.get(country, "") for country in frame.index]
    return frame


def _finished(frame: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Countries with region_id, name, iso_a2 and continent; what is known of a code is not left to the file."""
    embedded = load_boundaries().countries.set_index("region_id")
    known = embedded.reindex(frame.index)
    columns = {
        "region_id": frame.index,
        "name": _first_text(known["name"].fillna(""), frame["country_name"], pd.Series(frame.index, frame.index)),
        "iso_a2": _first_text(known["iso_a2"].fillna(""), frame["iso_a2"]),
        "continent": _first_text(known["continent"].fillna(""), frame["continent"]),
    }
    result = gpd.GeoDataFrame(
        {k: np.asarray(v, object) for k, v in columns.items()}, geometry=frame.geometry.to_numpy(), crs="EPSG:4326"
    )
    unknown = (result["continent"] == "") | result["continent"].str.startswith("Seven seas")
    if unknown.any():
        result.loc[unknown, "continent"] = _continents_around(result.geometry[unknown], embedded)
    return result


def _continents_around(geometries: gpd.GeoSeries, embedded: gpd.GeoDataFrame) -> np.ndarray:
    """The continent of the embedded country at, or nearest to, a point of each geometry; "" where none is near."""
    points = shapely.get_coordinates(shapely.point_on_surface(geometries.to_numpy()))
    found = _embedded_locator().locate(*points.T)
    return np.append(embedded["continent"].to_numpy(object), "")[found.country_index]


@functools.lru_cache(maxsize=1)
def _embedded_locator() -> RegionLocator:
    return RegionLocator(load_boundaries(), near_cap_km=1000.0)


def _whole_id(country_id: str) -> str:
    """The id of the one sub-division of a country without any: AA-000, or AAA-000 where the alpha-2 is not known."""
    countries = load_boundaries().countries
    match = countries.loc[countries["region_id"] == country_id, "iso_a2"]
    return f"{match.iloc[0] if len(match) else country_id}-000"


def _first_text(*candidates: pd.Series) -> pd.Series:
    """Element by element the first that is not ""."""
    result = candidates[0]
    for other in candidates[1:]:
        result = result.where(result != "", other)
    return result

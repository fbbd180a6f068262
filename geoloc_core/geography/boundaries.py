"""Boundary sets: the polygons of countries and of their first-level sub-divisions, and the file that keeps them."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from geoloc_core import storage
from geoloc_core.errors import InputError
from geoloc_core.geography.repair import Repair

EMBEDDED_FILE = Path(__file__).parent / "data" / "regions.parquet"
COUNTRY_COLUMNS = ("region_id", "name", "iso_a2", "continent", "geometry")
SUBDIVISION_COLUMNS = ("region_id", "parent_id", "name", "geometry")

# The columns of the file, in this order; both levels share them, "" where a level has none.
COLUMN_DOCS = {
    "level": "country, or subdivision (first level)",
    "region_id": "country: ISO 3166-1 alpha-3, or a user-assigned X.. code where ISO has none; "
    "subdivision: ISO 3166-2, or an id of the same shape whose last part begins with 0",
    "parent_id": "region_id of the country that a subdivision belongs to; empty for a country",
    "name": "name of the region",
    "country": "name of the country",
    "iso_a2": "ISO 3166-1 alpha-2 of the country (NA is Namibia), or a user-assigned X. code where ISO has none",
    "continent": "continent of the country",
    "geometry": "polygon or multipolygon, WGS 84 degrees, longitude before latitude",
}


@dataclass(frozen=True)
class BoundarySet:
    """Polygons of two levels, each frame sorted by `region_id`: the row's position is the *region index*.

    `countries` has the columns COUNTRY_COLUMNS, `subdivisions` SUBDIVISION_COLUMNS (it may be empty: a set of countries
    alone); both in EPSG:4326. `identity` is the SHA-256 of the content. `repairs` says what was changed in the polygons on
    the way from their source. Treat the frames as read-only: they are shared.
    """

    name: str
    attribution: str
    identity: str
    countries: gpd.GeoDataFrame
    subdivisions: gpd.GeoDataFrame
    repairs: tuple[Repair, ...] = ()

    def parent_indices(self) -> np.ndarray:
        """For each sub-division (n,), the index of its country, int32."""
        index = pd.Index(self.countries["region_id"]).get_indexer(pd.Index(self.subdivisions["parent_id"]))
        return index.astype(np.int32)


def make_boundary_set(
    name: str,
    attribution: str,
    countries: gpd.GeoDataFrame,
    subdivisions: gpd.GeoDataFrame,
    repairs: tuple[Repair, ...] = (),
) -> BoundarySet:
    """A `BoundarySet` of two frames, checked: ids unique, parents there, EPSG:4326, valid polygons on the globe."""
    ready = []
    for level, frame, columns in (
        ("country", countries, COUNTRY_COLUMNS),
        ("subdivision", subdivisions, SUBDIVISION_COLUMNS),
    ):
        missing = [column for column in columns if column not in frame.columns]
        if missing:
            raise InputError(f"boundary set {name!r}: the {level} level lacks the column(s) {', '.join(missing)}.")
        _check_level(name, level, frame)
        text = {column: frame[column].astype(str).to_numpy(object) for column in columns if column != "geometry"}
        order = np.argsort(text["region_id"].astype(str), kind="stable")
        ready.append(
            gpd.GeoDataFrame(
                {column: values[order] for column, values in text.items()},
                geometry=np.asarray(frame.geometry.values)[order],
                crs="EPSG:4326",
            )
        )
    orphans = set(ready[1]["parent_id"]) - set(ready[0]["region_id"])
    if orphans:
        raise InputError(
            f"boundary set {name!r}: no country has the id {sorted(orphans)[0]!r}, a subdivision's parent."
        )
    return BoundarySet(name, attribution, _content_identity(*ready), ready[0], ready[1], repairs)


def load_boundaries(source: str | os.PathLike[str] = "embedded") -> BoundarySet:
    """The boundary set named by `source`.

    "embedded"; the path of a file that `write_boundaries` wrote; or the path of a YAML file that describes another set
    (`geoloc_core.geography.boundary_spec`), which is then imported.
    """
    source = os.fspath(source)
    if source == "embedded":
        return _load_embedded()
    if source.endswith((".yaml", ".yml")):
        from geoloc_core.geography.boundary_import import import_boundaries
        from geoloc_core.geography.boundary_spec import read_boundary_spec

        return import_boundaries(read_boundary_spec(source))
    return read_boundaries(source)


def source_files(source: str | os.PathLike[str]) -> list[Path]:
    """The files whose bytes determine what `load_boundaries(source)` gives."""
    source = os.fspath(source)
    if source == "embedded":
        return [EMBEDDED_FILE]
    if source.endswith((".yaml", ".yml")):
        from geoloc_core.geography.boundary_spec import read_boundary_spec

        return [Path(source), *(read_boundary_spec(source).files() or [EMBEDDED_FILE])]
    return [Path(source)]


@functools.lru_cache(maxsize=1)
def _load_embedded() -> BoundarySet:
    return read_boundaries(EMBEDDED_FILE)


def write_boundaries(
    boundaries: BoundarySet, path: str | os.PathLike[str], notes: dict[str, str] | None = None
) -> None:
    """Write both levels to `path` as one GeoParquet file (zstd), atomically; equal content gives equal bytes.

    `notes` are kept beside name and attribution in the file's key-value metadata.
    """
    country_rows = boundaries.countries.assign(level="country", parent_id="", country=boundaries.countries["name"])
    of_parent = boundaries.countries.set_index("region_id")
    parents = boundaries.subdivisions["parent_id"]
    subdivision_rows = boundaries.subdivisions.assign(
        level="subdivision",
        country=parents.map(of_parent["name"]).to_numpy(object),
        iso_a2=parents.map(of_parent["iso_a2"]).to_numpy(object),
        continent=parents.map(of_parent["continent"]).to_numpy(object),
    )
    columns = list(COLUMN_DOCS)
    frame = pd.concat([country_rows[columns], subdivision_rows[columns]], ignore_index=True)
    buffer = io.BytesIO()
    gpd.GeoDataFrame(frame, geometry="geometry", crs="EPSG:4326").to_parquet(buffer, index=False)
    table = pq.read_table(io.BytesIO(buffer.getvalue()))

    # The GeoParquet header stays, less the version of the library that made it; the pandas header goes, for the same
    # reason: the bytes are to depend on the content alone.
    geo = json.loads(table.schema.metadata[b"geo"])
    geo.pop("creator", None)
    metadata = {"geo": json.dumps(geo, sort_keys=True), "geoloc:name": boundaries.name}
    metadata |= {"geoloc:attribution": boundaries.attribution}
    if boundaries.repairs:
        metadata["geoloc:repairs"] = json.dumps([dataclasses.astuple(repair) for repair in boundaries.repairs])
    metadata |= {f"geoloc:{key}": value for key, value in (notes or {}).items()}
    fields = [table.schema.field(column).with_metadata({"description": COLUMN_DOCS[column]}) for column in columns]
    table = pa.Table.from_arrays([table.column(c) for c in columns], schema=pa.schema(fields, metadata=metadata))
    with storage.replacing(path) as file:
        pq.write_table(table, file, compression="zstd", compression_level=9, write_statistics=True)


def read_boundaries(path: str | os.PathLike[str]) -> BoundarySet:
    """The boundary set that `write_boundaries` wrote to `path`; InputError where it is missing or something else."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"boundary file {os.fspath(path)} cannot be read ({error}): check the path.") from error
    try:
        metadata = pq.read_schema(io.BytesIO(content)).metadata or {}
        frame = gpd.read_parquet(io.BytesIO(content))
    except (pa.ArrowException, OSError, ValueError, KeyError, shapely.errors.ShapelyError) as error:
        raise InputError(f"boundary file {os.fspath(path)} is not GeoParquet ({error}).") from error
    if "level" not in frame.columns:
        raise InputError(f"boundary file {os.fspath(path)} has no column `level`: it was not written by this project.")
    return make_boundary_set(
        metadata.get(b"geoloc:name", Path(path).stem.encode()).decode(),
        metadata.get(b"geoloc:attribution", b"").decode(),
        frame[frame["level"] == "country"],
        frame[frame["level"] == "subdivision"],
        tuple(Repair(*repair) for repair in json.loads(metadata.get(b"geoloc:repairs", b"[]"))),
    )


def _check_level(name: str, level: str, frame: gpd.GeoDataFrame) -> None:
    if len(frame) and (frame.crs is None or frame.crs.to_epsg() != 4326):
        raise InputError(f"boundary set {name!r}: the {level} level is in {frame.crs}; reproject it to EPSG:4326.")
    repeated = frame["region_id"][frame["region_id"].duplicated()]
    if len(repeated):
        raise InputError(f"boundary set {name!r}: the {level} id {repeated.iloc[0]!r} occurs more than once.")
    geometries = np.asarray(frame.geometry.values)
    wrong = ~np.isin(shapely.get_type_id(geometries), (3, 6)) | ~shapely.is_valid(geometries)
    if wrong.any():
        raise InputError(
            f"boundary set {name!r}: the {level} {frame['region_id'].iloc[int(np.argmax(wrong))]!r} "
            "is not a valid polygon or multipolygon; repair it first."
        )
    if len(frame) and (np.abs(shapely.total_bounds(geometries)) > [180, 90, 180, 90]).any():
        raise InputError(
            f"boundary set {name!r}: the {level} level leaves the globe; cut it at the antimeridian first."
        )


def _content_identity(countries: gpd.GeoDataFrame, subdivisions: gpd.GeoDataFrame) -> str:
    digest = hashlib.sha256(b"geoloc boundary set 1")
    for frame in (countries, subdivisions):
        for column in frame.columns.drop("geometry"):
            digest.update(json.dumps([column, frame[column].tolist()]).encode())
        for wkb in shapely.to_wkb(np.asarray(frame.geometry.values), byte_order=1):
            digest.update(wkb)
    return digest.hexdigest()

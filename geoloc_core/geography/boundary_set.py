"""Boundary sets: polygons of every boundary level, and the GeoParquet file that keeps them."""

import dataclasses
import functools
import hashlib
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray

from geoloc_core import storage
from geoloc_core.errors import InputError
from geoloc_core.geography import EMBEDDED_FILE
from geoloc_core.geography.boundary_formats import COLUMN_DOCS
from geoloc_core.geography.cells import BOUNDARY_LEVELS, LEVELS, ROOT
from geoloc_core.geography.repair import Repair

CRS = "EPSG:4326"
_ELLIPSOID = {"name": "WGS 84", "semi_major_axis": 6378137, "inverse_flattening": 298.257223563}


@dataclass(frozen=True)
class BoundarySet:
    """Polygons of the boundary levels, each frame sorted by `region_id`: the row's position is the *region index*.

    `frames` maps each of LEVELS to its regions in EPSG:4326, with the columns of its kind in `BOUNDARY_LEVELS`; the finer
    levels may be empty. `identity` is the SHA-256 of the content. `repairs` lists what was changed in the polygons on the
    way from their source. Treat the frames as read-only: they are shared.
    """

    name: str
    attribution: str
    identity: str
    frames: Mapping[str, gpd.GeoDataFrame]
    repairs: tuple[Repair, ...] = ()

    def level(self, name: str) -> gpd.GeoDataFrame:
        """The regions of one level."""
        if name not in self.frames:
            raise InputError(f"the boundary set has no level {name!r}; it has {', '.join(self.frames)}.")
        return self.frames[name]

    @property
    def countries(self) -> gpd.GeoDataFrame:
        """The regions of the level "country"."""
        return self.level("country")

    @property
    def subdivisions(self) -> gpd.GeoDataFrame:
        """The regions of the level "subdivision"."""
        return self.level("subdivision")

    @property
    def finest(self) -> str:
        """The finest level that has regions."""
        return next((level for level in reversed(LEVELS) if len(self.frames[level])), ROOT)

    def parent_indices(self, level: str = LEVELS[-1]) -> NDArray[np.int32]:
        """For each region of a level (n,) below the coarsest, the index of its parent in the level before."""
        parents = self.level(LEVELS[LEVELS.index(level) - 1])
        index = pd.Index(parents["region_id"]).get_indexer(pd.Index(self.level(level)["parent_id"]))
        return index.astype(np.int32)

    def ids(self, level: str, index: NDArray[np.integer]) -> NDArray[np.object_]:
        """The `region_id` at each region index (n,) of a level, "" where the index is -1."""
        return np.append(self.level(level)["region_id"].to_numpy(dtype=object), "")[index]


def make_boundary_set(
    name: str, attribution: str, *frames: gpd.GeoDataFrame, repairs: tuple[Repair, ...] = ()
) -> BoundarySet:
    """A `BoundarySet` of frames in the order of LEVELS (finer levels may be left out), checked.

    Refused with InputError: a missing column, an id that occurs twice, a parent that is not there, another coordinate
    system than EPSG:4326, and polygons that are invalid or leave the globe.
    """
    checked: dict[str, gpd.GeoDataFrame] = {}
    for number, (level, kind) in enumerate(BOUNDARY_LEVELS.items()):
        empty = number >= len(frames)
        frame = gpd.GeoDataFrame(columns=kind.columns, geometry="geometry", crs=CRS) if empty else frames[number]
        missing = [column for column in kind.columns if column not in frame.columns]
        if missing:
            raise InputError(f"boundary set {name!r}: the {level} level lacks the column(s) {', '.join(missing)}.")
        _check_level(name, level, frame)
        text = {column: frame[column].astype(str).to_numpy(object) for column in kind.columns if column != "geometry"}
        order = np.argsort(text["region_id"].astype(str), kind="stable")
        values = {column: values[order] for column, values in text.items()}
        checked[level] = gpd.GeoDataFrame(values, geometry=np.asarray(frame.geometry.values)[order], crs=CRS)
    for coarser, level in pairwise(LEVELS):
        orphans = sorted(set(checked[level]["parent_id"]) - set(checked[coarser]["region_id"]))
        if orphans:
            raise InputError(f"boundary set {name!r}: no {coarser} has the id {orphans[0]!r}, a {level}'s parent.")
    return BoundarySet(name, attribution, _content_identity(checked), checked, repairs)


@functools.lru_cache(maxsize=1)
def embedded_boundaries() -> BoundarySet:
    """The boundary set that comes with the package, read once."""
    return read_boundaries(EMBEDDED_FILE)


def write_boundaries(
    boundaries: BoundarySet, path: str | os.PathLike[str], notes: Mapping[str, str] | None = None
) -> None:
    """Write all levels to `path` as one GeoParquet file (zstd), atomically; equal content gives equal bytes.

    `notes` are kept beside name and attribution in the file's key-value metadata.
    """
    buffer = io.BytesIO()
    gpd.GeoDataFrame(_file_rows(boundaries), geometry="geometry", crs=CRS).to_parquet(buffer, index=False)
    table = pq.read_table(io.BytesIO(buffer.getvalue()))

    # The GeoParquet header stays, less the version of the library that wrote it; the pandas header goes, for the same
    # reason: the bytes are to depend on the content alone.
    geo = json.loads(table.schema.metadata[b"geo"])
    geo.pop("creator", None)
    # PROJ calls WGS 84 a datum or an ensemble of datums, depending on what the process did before: here it is a datum.
    crs = geo["columns"]["geometry"]["crs"]
    if crs.pop("datum_ensemble", None):
        crs["datum"] = {"type": "GeodeticReferenceFrame", "name": "World Geodetic System 1984", "ellipsoid": _ELLIPSOID}
    metadata = {"geo": json.dumps(geo, sort_keys=True), "geoloc:name": boundaries.name}
    metadata |= {"geoloc:attribution": boundaries.attribution}
    if boundaries.repairs:
        metadata["geoloc:repairs"] = json.dumps([dataclasses.astuple(repair) for repair in boundaries.repairs])
    metadata |= {f"geoloc:{key}": value for key, value in (notes or {}).items()}
    fields = [table.schema.field(column).with_metadata({"description": text}) for column, text in COLUMN_DOCS.items()]
    table = pa.Table.from_arrays([table.column(c) for c in COLUMN_DOCS], schema=pa.schema(fields, metadata=metadata))
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
        repairs = tuple(Repair(*repair) for repair in json.loads(metadata.get(b"geoloc:repairs", b"[]")))
    except Exception as error:  # on hostile bytes a parser may raise anything
        raise InputError(f"boundary file {os.fspath(path)} is not GeoParquet ({str(error)[:400]}).") from error
    if "level" not in frame.columns:
        raise InputError(f"boundary file {os.fspath(path)} has no column `level`: it was not written by this project.")
    return make_boundary_set(
        metadata.get(b"geoloc:name", Path(path).stem.encode()).decode(),
        metadata.get(b"geoloc:attribution", b"").decode(),
        *(frame[frame["level"] == level] for level in LEVELS),
        repairs=repairs,
    )


def _file_rows(boundaries: BoundarySet) -> pd.DataFrame:
    """The rows of the file, coarsest level first: each region with what is known of the country that it lies in."""
    country_facts = boundaries.level(ROOT).rename(columns={"name": "country"})[["country", "iso_a2", "continent"]]
    parts, country_index = [], np.arange(len(country_facts))
    for level in LEVELS:
        if level != ROOT:
            country_index = country_index[boundaries.parent_indices(level)]
        facts = country_facts.iloc[country_index].reset_index(drop=True)
        rows = boundaries.level(level).assign(level=level, **facts)
        parts.append(rows.reindex(columns=list(COLUMN_DOCS), fill_value=""))
    return pd.concat(parts, ignore_index=True)


def _check_level(name: str, level: str, frame: gpd.GeoDataFrame) -> None:
    if len(frame) and (frame.crs is None or frame.crs.to_epsg() != 4326):
        raise InputError(f"boundary set {name!r}: the {level} level is in {frame.crs}; reproject it to EPSG:4326.")
    repeated = frame["region_id"][frame["region_id"].duplicated()]
    if len(repeated):
        raise InputError(f"boundary set {name!r}: the {level} id {repeated.iloc[0]!r} occurs more than once.")
    geometries = np.asarray(frame.geometry.values)
    wrong = ~np.isin(shapely.get_type_id(geometries), (3, 6)) | ~shapely.is_valid(geometries)
    if wrong.any():
        region = frame["region_id"].iloc[int(np.argmax(wrong))]
        raise InputError(f"boundary set {name!r}: the {level} {region!r} is not a valid polygon; repair it first.")
    if len(frame) and (np.abs(shapely.total_bounds(geometries)) > [180, 90, 180, 90]).any():
        raise InputError(f"boundary set {name!r}: the {level} level leaves the globe: cut it at the antimeridian.")


def _content_identity(frames: Mapping[str, gpd.GeoDataFrame]) -> str:
    digest = hashlib.sha256(b"geoloc boundary set 1")
    for frame in frames.values():
        for column in frame.columns.drop("geometry"):
            digest.update(json.dumps([column, frame[column].tolist()]).encode())
        for wkb in shapely.to_wkb(np.asarray(frame.geometry.values), byte_order=1):
            digest.update(wkb)
    return digest.hexdigest()

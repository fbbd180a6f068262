"""Any CSV, Parquet or GeoParquet file, by a mapping from its columns to ours.

Without a mapping the columns are guessed from their names (`NAMES`), as far as that is safe: an id, a latitude and a
longitude, or an id and a GeoParquet geometry of points. A mapping without `photo_id` numbers the rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from geoloc_core.errors import InputError
from geoloc_core.photos.sources.base import ROWS_PER_BATCH, Sieve, SourceBatch, is_video
from geoloc_core.photos.sources.lines import Fields, first_lines, read_csv, refuse_swapped, split_csv

_PARQUET_MAGIC = b"PAR1"
_DELIMITERS = (",", "\t", ";", "|")

# The names under which each of our columns is known, in the order of preference; capitals do not matter.
NAMES: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "photo_id": ("photo_id", "photoid", "image_id", "img_id", "img_file", "id", "file", "filename", "file_name"),
        "latitude": ("latitude", "lat", "gps_latitude"),
        "longitude": ("longitude", "lon", "lng", "long", "gps_longitude"),
        "author_id": ("author_id", "author", "user_id", "user", "owner", "creator_id"),
        "image_path": ("image_path", "img_path", "img_file", "path", "file", "filename", "file_name"),
        "image_url": ("image_url", "url", "download_url", "thumb_original_url"),
    }
)


@dataclass(frozen=True)
class ColumnMapping:
    """The file's name for each of our columns, "" for one that it does not have.

    Either `latitude` and `longitude` are given, or `geometry`, a GeoParquet column of points.
    """

    photo_id: str = ""
    latitude: str = ""
    longitude: str = ""
    author_id: str = ""
    image_path: str = ""
    image_url: str = ""
    geometry: str = ""

    def __post_init__(self) -> None:
        if not self.geometry and not (self.latitude and self.longitude):
            raise InputError("a column mapping needs latitude and longitude, or geometry")

    def named(self) -> dict[str, str]:
        """Our column to the file's, of those that the file has."""
        return {ours: theirs for ours, theirs in asdict(self).items() if theirs}


@dataclass(frozen=True)
class ColumnsSource:
    """Reads a table by its column names, given or guessed."""

    mapping: ColumnMapping | None = None
    name: str = "columns"
    description: str = "CSV, Parquet or GeoParquet with columns for id, latitude and longitude"

    def sniff(self, path: Path) -> bool:
        """Whether the columns that are needed are there."""
        if not path.is_file():
            return False
        try:
            self._mapping_for(path)
        except InputError:
            return False
        return True

    def read(self, path: Path, dataset: str, rows_per_batch: int = ROWS_PER_BATCH) -> Iterator[SourceBatch]:
        """Batches of the file; `InputError` where a column is missing or the geometry is not of points in degrees."""
        mapping = self._mapping_for(path)
        if _is_parquet(path):
            return _read_parquet(path, dataset, mapping, rows_per_batch)
        return _read_csv(path, dataset, mapping, rows_per_batch)

    def _mapping_for(self, path: Path) -> ColumnMapping:
        available, geometry = _columns_of(path)
        if self.mapping is not None:
            missing = [theirs for theirs in self.mapping.named().values() if theirs not in available]
            if missing:
                raise InputError(f"{path} has no column {', '.join(missing)}; it has {', '.join(available)}")
            return self.mapping
        mapping = guess_mapping(available, geometry)
        if mapping is None:
            raise InputError(f"{path} has no columns for id, latitude and longitude among {', '.join(available)}")
        return mapping


def guess_mapping(available: Sequence[str], geometry: str = "") -> ColumnMapping | None:
    """The mapping that the names of the columns suggest; None where an id or a position is missing."""
    by_lower = {name.lower(): name for name in reversed(available)}
    found = {ours: next((by_lower[name] for name in names if name in by_lower), "") for ours, names in NAMES.items()}
    if found["photo_id"] == "" or not (geometry or (found["latitude"] and found["longitude"])):
        return None
    if found["latitude"] and found["longitude"]:
        geometry = ""
    return ColumnMapping(**found, geometry=geometry)


def _columns_of(path: Path) -> tuple[list[str], str]:
    """The names of a file's columns, and of its GeoParquet geometry ("" where it has none)."""
    if _is_parquet(path):
        with _open_parquet(path) as file:
            return list(file.schema_arrow.names), _geometry_of(file)
    delimiter = _delimiter_of(path)
    lines = first_lines(path)
    return ([name.strip() for name in split_csv(lines[0], delimiter)] if lines else []), ""


def _delimiter_of(path: Path) -> str:
    lines = first_lines(path)
    return max(_DELIMITERS, key=lines[0].count) if lines else ","


def _read_csv(path: Path, dataset: str, mapping: ColumnMapping, rows_per_batch: int) -> Iterator[SourceBatch]:
    if mapping.geometry:
        raise InputError(f"{path} is a text file: map its latitude and longitude, not a geometry")
    ours = mapping.named()

    def take(values: Sequence[str], row_number: int) -> Fields:
        row = {name: value.strip() for name, value in zip(ours, values, strict=True)}
        row.setdefault("photo_id", str(row_number))
        return Fields(**row, reason="not_a_photo" if is_video(row.get("image_path", "")) else "")

    yield from read_csv(
        path, dataset, tuple(ours.values()), (), take, rows_per_batch, _delimiter_of(path), multiline=True
    )


def _read_parquet(path: Path, dataset: str, mapping: ColumnMapping, rows_per_batch: int) -> Iterator[SourceBatch]:
    sieve = Sieve(dataset)
    ours = mapping.named()
    done = 0
    with _open_parquet(path) as file:
        if mapping.geometry:
            _require_degrees(path, file, mapping.geometry)
        batches = file.iter_batches(batch_size=rows_per_batch, columns=list(dict.fromkeys(ours.values())))
        while True:
            try:
                batch = next(batches, None)
            except (pa.ArrowException, OSError) as error:
                raise InputError(f"{path} is damaged after row {done} ({error}); fetch it again") from error
            if batch is None:
                return
            candidates = _candidates(batch, ours, done)
            if done == 0:
                refuse_swapped(str(path), candidates)
            done += batch.num_rows
            yield sieve.sort(candidates, raw_of=partial(_raw_rows, batch))


def _candidates(batch: pa.RecordBatch, ours: Mapping[str, str], done: int) -> pd.DataFrame:
    row_number = np.arange(done + 1, done + batch.num_rows + 1, dtype=np.int64)
    frame = pd.DataFrame({"row_number": row_number, "reason": ""})
    for name in ("photo_id", "author_id", "image_path", "image_url"):
        if name in ours:
            frame[name], undecodable = _text(batch[ours[name]])
            frame.loc[undecodable, "reason"] = "undecodable_text"
        else:
            frame[name] = frame["row_number"].astype(str) if name == "photo_id" else ""
    if "geometry" in ours:
        frame["longitude"], frame["latitude"], bad = _points(batch[ours["geometry"]])
        frame.loc[bad, "reason"] = "bad_coordinates"
    else:
        for name in ("latitude", "longitude"):
            frame[name] = _coordinate(batch[ours[name]])
    frame.loc[[is_video(path) for path in frame["image_path"]], "reason"] = "not_a_photo"
    return frame


def _raw_rows(batch: pa.RecordBatch, positions: np.ndarray) -> list[str]:
    """Rows as JSON; of text that is not UTF-8, its bytes."""
    some = batch.take(pa.array(positions))
    try:
        rows = some.to_pylist()
    except UnicodeDecodeError:
        columns = {
            name: column.cast(pa.binary()) if pa.types.is_string(column.type) else column
            for name, column in zip(some.schema.names, some.columns, strict=True)
        }
        rows = pa.RecordBatch.from_pydict(columns).to_pylist()
    return [json.dumps(row, ensure_ascii=False, default=_printable) for row in rows]


def _coordinate(column: pa.Array) -> np.ndarray:
    """Numbers as float64, NaN where missing; anything else as text, for the sieve to judge."""
    kind = column.type
    if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        return column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return _text(column)[0]


def _text(column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """A column as trimmed text, "" where missing, and which of its values are not UTF-8, (n,) each.

    Whole numbers that are kept as floating point, as pandas does where some are missing, lose their decimal point.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    none_bad = np.zeros(len(column), dtype=bool)
    if pa.types.is_floating(column.type):
        numbers = column.to_numpy(zero_copy_only=False)
        return np.array([_number_text(number) for number in numbers], dtype=object), none_bad
    try:
        text = pc.utf8_trim_whitespace(pc.fill_null(column.cast(pa.string()), ""))
        return text.to_numpy(zero_copy_only=False), none_bad
    except (pa.ArrowInvalid, UnicodeDecodeError):
        values = [value or b"" for value in column.cast(pa.binary()).to_pylist()]
        text = [value.decode("utf-8", "backslashreplace").strip() for value in values]
        bad = [value.decode("utf-8", "replace").encode("utf-8") != value for value in values]
        return np.array(text, dtype=object), np.array(bad, dtype=bool)


def _number_text(number: float) -> str:
    if np.isnan(number):
        return ""
    return str(int(number)) if np.isfinite(number) and number == int(number) else repr(float(number))


def _points(column: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, y and whether there is a geometry that is no point, (n,) each, of WKB or of GeoArrow points."""
    if pa.types.is_struct(column.type):
        x, y = (pc.struct_field(column, axis).cast(pa.float64()).to_numpy(zero_copy_only=False) for axis in "xy")
        return x, y, np.zeros(len(column), dtype=bool)
    import shapely

    shapes = shapely.from_wkb(column.to_numpy(zero_copy_only=False), on_invalid="ignore")
    given = np.asarray(column.is_valid())
    is_point = shapely.get_type_id(shapes) == 0
    shapes = np.where(is_point & ~shapely.is_empty(shapes), shapes, None)
    return shapely.get_x(shapes), shapely.get_y(shapes), given & ~is_point


def _require_degrees(path: Path, file: pq.ParquetFile, column: str) -> None:
    """GeoParquet's coordinates are longitude and latitude in WGS84 unless the file says otherwise."""
    crs = _geo(file).get("columns", {}).get(column, {}).get("crs")
    if crs is None:
        return
    identity = crs.get("id", {}) if isinstance(crs, dict) else {}
    if (identity.get("authority"), str(identity.get("code"))) not in {("OGC", "CRS84"), ("EPSG", "4326")}:
        named = f"{identity.get('authority')}:{identity.get('code')}" if identity else "another reference system"
        raise InputError(f"the geometry of {path} is in {named}; reproject it to EPSG:4326 (degrees)")


def _geometry_of(file: pq.ParquetFile) -> str:
    primary = _geo(file).get("primary_column", "")
    return primary if primary in file.schema_arrow.names else ""


def _geo(file: pq.ParquetFile) -> dict[str, Any]:
    """The GeoParquet metadata, {} where there are none."""
    try:
        geo = json.loads((file.schema_arrow.metadata or {}).get(b"geo", b"{}"))
    except ValueError:
        return {}
    return geo if isinstance(geo, dict) else {}


def _is_parquet(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == _PARQUET_MAGIC
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def _open_parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is a damaged Parquet file ({error}); fetch it again") from error


def _printable(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)

"""Any CSV, Parquet or GeoParquet file, by a mapping from its columns to ours.

Without a mapping the columns are guessed from their names (`schemas.ALIASES`): an id with latitude and longitude, or with a
GeoParquet geometry of points. A mapping without `photo_id` numbers the rows.
"""

import json
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from geoloc_core.errors import InputError
from geoloc_core.photos.file_names import is_video
from geoloc_core.photos.schemas import ALIASES
from geoloc_core.photos.settings import RowChoice
from geoloc_core.photos.sources.base import FACTS, RAW_TEXT_LIMIT, Facts, MetadataSource, Sieve, SourceBatch
from geoloc_core.photos.sources.lines import (
    ALWAYS_ALLOWED_BYTES,
    MAX_EXPANSION,
    first_lines,
    header_of,
    read_csv,
    refuse_swapped,
)
from geoloc_core.photos.sources.row_choice import choose_row, columns_of_choice, picture_url

# An id, a path or an address is shorter; a point in WKB has 21 bytes, with four dimensions and a reference system 41.
MAX_VALUE_BYTES, MAX_POINT_BYTES = 1 << 13, 64
# A Parquet file may repeat one value a billion times in a few bytes: the rows and bytes that it declares are bounded.
ALWAYS_ALLOWED_ROWS, MAX_CHUNK_BYTES = 1_000_000, 1 << 30
MAX_ROWS_AT_ONCE, MAX_PREFIXED_ROWS_AT_ONCE = 100_000, 256
_DELIMITERS = (",", "\t", ";", "|")
_GEOMETRY = "geometry"
Refine = Callable[[Mapping[str, str]], dict[str, str]]


def mapped_table(
    mapping: Mapping[str, str] | None = None, rows: RowChoice | None = None, url: str = ""
) -> MetadataSource:
    """The source that reads a table by its column names, given or guessed.

    `mapping` gives the file's name for each of our columns that it has; among them `latitude` and `longitude`, or
    `geometry`, a GeoParquet column of points. `rows` and `url` are as in `settings.Dataset`.
    """
    rows = rows or RowChoice()
    others = columns_of_choice(rows, url)

    def refine(values: Mapping[str, str]) -> dict[str, str]:
        """What columns that are none of ours say of a row."""
        reason = choose_row(rows, values)
        return ({"reason": reason} if reason else {}) | ({"image_url": picture_url(url, values)} if url else {})

    if mapping is not None:
        unknown = [ours for ours in mapping if ours not in (*FACTS, _GEOMETRY)]
        if unknown:
            raise InputError(f"a column mapping has {', '.join((*FACTS, _GEOMETRY))}, and not {unknown[0]}")
        if not _has_position(mapping):
            raise InputError("a column mapping needs latitude and longitude, or geometry")

    def sniff(path: Path) -> bool:
        try:
            found = path.is_file() and _mapping_of(path, mapping)
            if found and _is_parquet(path):
                with _open_parquet(path) as file:
                    _require_readable(path, file, found)
            return bool(found)
        except InputError:
            return False

    def read(path: Path, dataset: str, rows_per_batch: int) -> Iterator[SourceBatch]:
        reader = _read_parquet if _is_parquet(path) else _read_csv
        return reader(path, dataset, _mapping_of(path, mapping, others), others, refine, rows_per_batch)

    return MetadataSource("columns", "CSV, Parquet or GeoParquet with columns for id, latitude, longitude", sniff, read)


def _mapping_of(path: Path, mapping: Mapping[str, str] | None, others: Sequence[str] = ()) -> Mapping[str, str]:
    available, geometry = _columns_of(path)
    if mapping is None:
        mapping = guess_mapping(available, geometry)
        if mapping is None:
            raise InputError(f"{path} has no columns for id, latitude and longitude among {_listed(available)}")
    missing = [theirs for theirs in (*mapping.values(), *others) if theirs not in available]
    if missing:
        raise InputError(f"{path} has no column {_listed(missing)}; it has {_listed(available)}")
    return mapping


def guess_mapping(available: Sequence[str], geometry: str = "") -> dict[str, str] | None:
    """Our column to the file's, as the names of the columns suggest; None where an id or a position is missing."""
    by_lower = {name.lower(): name for name in reversed(available)}
    found = {ours: [by_lower[name] for name in names if name in by_lower] for ours, names in ALIASES.items()}
    mapping = {ours: theirs[0] for ours, theirs in found.items() if theirs}
    if geometry and not _has_position(mapping):
        mapping[_GEOMETRY] = geometry
    return mapping if "photo_id" in mapping and _has_position(mapping) else None


def _listed(names: Sequence[str]) -> str:
    return textwrap.shorten(", ".join(names), 400, placeholder=" ...")


def _has_position(mapping: Mapping[str, str]) -> bool:
    return _GEOMETRY in mapping or ("latitude" in mapping and "longitude" in mapping)


def _columns_of(path: Path) -> tuple[list[str], str]:
    """The names of a file's columns, and of its GeoParquet geometry ("" where it has none)."""
    if _is_parquet(path):
        with _open_parquet(path) as file:
            return list(file.schema_arrow.names), _geometry_of(file)
    return header_of(path, _delimiter_of(path)), ""


def _delimiter_of(path: Path) -> str:
    lines = first_lines(path)
    return max(_DELIMITERS, key=lines[0].count) if lines else ","


def _read_csv(
    path: Path, dataset: str, mapping: Mapping[str, str], others: Sequence[str], refine: Refine, rows_per_batch: int
) -> Iterator[SourceBatch]:
    if _GEOMETRY in mapping:
        raise InputError(f"{path} is a text file: map its latitude and longitude, not a geometry")

    def take(values: Sequence[str]) -> Facts:
        stripped = [value.strip() for value in values]
        facts = dict(zip(mapping, stripped, strict=False))
        reason = "not_a_photo" if is_video(facts.get("image_path", "")) else ""
        return facts | {"reason": reason} | refine(dict(zip(others, stripped[len(mapping) :], strict=True)))

    theirs = (*mapping.values(), *others)
    yield from read_csv(path, dataset, theirs, (), take, rows_per_batch, _delimiter_of(path), multiline=True)


def _read_parquet(
    path: Path, dataset: str, mapping: Mapping[str, str], others: Sequence[str], refine: Refine, rows_per_batch: int
) -> Iterator[SourceBatch]:
    sieve = Sieve(dataset)
    done = 0
    columns = list(dict.fromkeys((*mapping.values(), *others)))
    with _open_parquet(path) as file:
        _require_readable(path, file, {**mapping, **{f"text of {name}": name for name in others}})
        # A value may repeat the beginning of the one before: such columns cannot be dictionaries, and are read in small parts.
        prefixed = {chunk.path_in_schema for chunk in _chunks(file, columns) if "DELTA_BYTE_ARRAY" in chunk.encodings}
        text = [name for name in columns if _is_bytes(file.schema_arrow.field(name).type) and name not in prefixed]
        if _GEOMETRY in mapping:
            _require_degrees(path, file, mapping[_GEOMETRY])
    # Text is read as a dictionary, so that a value takes its bytes once, however often the file repeats it.
    with _open_parquet(path, text) as file:
        most_rows = MAX_PREFIXED_ROWS_AT_ONCE if prefixed else MAX_ROWS_AT_ONCE
        batches = file.iter_batches(batch_size=min(rows_per_batch, most_rows), columns=columns)
        while True:
            try:
                batch = next(batches, None)
                candidates = None if batch is None else _candidates(batch, mapping, done)
            except (pa.ArrowException, OSError, ValueError) as error:
                raise InputError(f"{path} is damaged after row {done} ({error}); fetch it again") from error
            if batch is None or candidates is None:
                return
            if others:
                texts = zip(*(_text(batch[name])[0] for name in others), strict=True)
                refined = pd.DataFrame([refine(dict(zip(others, row, strict=True))) for row in texts])
                candidates.update(refined)
            if done == 0:
                refuse_swapped(path, candidates)
            done += batch.num_rows
            yield sieve.sort(candidates, raw_of=partial(_raw_rows, batch))


def _require_readable(path: Path, file: pq.ParquetFile, mapping: Mapping[str, str]) -> None:
    """Refuse columns that hold neither text nor numbers, and a file of a few bytes that would become gigabytes."""
    for ours, theirs in mapping.items():
        if file.schema_arrow.names.count(theirs) > 1:
            raise InputError(f"{path} has several columns called {theirs}; rename all but one")
        kind = file.schema_arrow.field(theirs).type
        if not (_is_geometry(kind) if ours == _GEOMETRY else _is_plain(kind)):
            raise InputError(
                f"the column {theirs} of {path} holds {str(kind)[:100]}, which is no {ours}; map another one"
            )
    size, metadata = path.stat().st_size, file.metadata
    if metadata.num_rows > max(ALWAYS_ALLOWED_ROWS, size):
        raise InputError(f"{path} declares {metadata.num_rows} rows in {size} bytes, as no table of photos does")
    chunks = [chunk.total_uncompressed_size for chunk in _chunks(file, list(mapping.values()))]
    most = max(ALWAYS_ALLOWED_BYTES, MAX_EXPANSION * size)
    if sum(chunks) > most or max(chunks, default=0) > MAX_CHUNK_BYTES:
        raise InputError(f"{path} unpacks to {sum(chunks)} bytes, beyond the limit of {min(most, MAX_CHUNK_BYTES)}")


def _chunks(file: pq.ParquetFile, columns: Sequence[str]) -> list[pq.ColumnChunkMetaData]:
    """What the file says of each part of some of its columns."""
    groups = map(file.metadata.row_group, range(file.metadata.num_row_groups))
    chunks = [chunk for group in groups for chunk in map(group.column, range(group.num_columns))]
    return [chunk for chunk in chunks if chunk.path_in_schema.split(".")[0] in columns]


def _is_bytes(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return text or pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)


def _is_plain(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return _is_bytes(kind) or pa.types.is_null(kind) or pa.types.is_primitive(kind) or pa.types.is_decimal(kind)


def _is_geometry(kind: pa.DataType) -> bool:
    """Whether a column may hold WKB, or GeoArrow's points."""
    if pa.types.is_struct(kind):
        return all(kind.get_field_index(axis) >= 0 and pa.types.is_floating(kind.field(axis).type) for axis in "xy")
    return _is_bytes(kind)


def _candidates(batch: pa.RecordBatch, mapping: Mapping[str, str], done: int) -> pd.DataFrame:
    row_number = np.arange(done + 1, done + batch.num_rows + 1, dtype=np.int64)
    frame = pd.DataFrame({"row_number": row_number, **dict.fromkeys(("reason", *FACTS), "")})
    frame["photo_id"] = frame["row_number"].astype(str)
    for name, theirs in mapping.items():
        if name in ("latitude", "longitude"):
            frame[name] = _coordinate(batch[theirs])
        elif name != _GEOMETRY:
            frame[name], bad = _text(batch[theirs])
            frame.loc[bad != "", "reason"] = bad[bad != ""]
    if _GEOMETRY in mapping:
        frame["longitude"], frame["latitude"], bad = _points(batch[mapping[_GEOMETRY]])
        frame.loc[bad, "reason"] = "bad_coordinates"
    frame.loc[[is_video(path) for path in frame["image_path"]], "reason"] = "not_a_photo"
    return frame


def _raw_rows(batch: pa.RecordBatch, positions: np.ndarray) -> list[str]:
    """Rows as JSON, each text cut after `RAW_TEXT_LIMIT` bytes."""
    rejected = batch.take(pa.array(positions))
    columns = [_shortened(column).to_pylist() for column in rejected.columns]
    rows = (dict(zip(rejected.schema.names, row, strict=True)) for row in zip(*columns, strict=True))
    return [json.dumps(row, ensure_ascii=False, default=_printable) for row in rows]


def _shortened(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        return pa.DictionaryArray.from_arrays(column.indices, _shortened(column.dictionary)).dictionary_decode()
    if not _is_bytes(column.type):
        return column
    cut = pc.binary_slice(column.cast(pa.binary()), 0, RAW_TEXT_LIMIT)
    try:
        return cut if pa.types.is_binary(column.type) else cut.cast(pa.string())
    except pa.ArrowInvalid:
        return cut


def _coordinate(column: pa.Array) -> np.ndarray:
    """Numbers as float64, NaN where missing; anything else as text, for the sieve to judge."""
    kind = column.type
    if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        return column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return _text(column)[0]


def _text(column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """A column as trimmed text, "" where missing, and the reason why a value is no text, or "", (n,) each.

    Whole numbers that are kept as floating point, as pandas does where some are missing, lose their decimal point.
    """
    good = np.full(len(column), "", dtype=object)
    if pa.types.is_dictionary(column.type):
        used, row = np.unique(column.indices.fill_null(-1).to_numpy(zero_copy_only=False), return_inverse=True)
        text, bad = _text(column.dictionary.take(pa.array(used, mask=used < 0)))
        return text[row], bad[row]
    if pa.types.is_floating(column.type):
        numbers = column.to_numpy(zero_copy_only=False)
        return np.array([_number_text(number) for number in numbers], dtype=object), good
    if not _is_bytes(column.type):
        return column.cast(pa.string()).fill_null("").to_numpy(zero_copy_only=False).copy(), good
    values = column.cast(pa.binary()).fill_null(b"")
    too_long = pc.greater(pc.binary_length(values), MAX_VALUE_BYTES).to_numpy(zero_copy_only=False)
    values = pc.binary_slice(values, 0, MAX_VALUE_BYTES)
    try:
        text = pc.utf8_trim_whitespace(values.cast(pa.string())).to_numpy(zero_copy_only=False).copy()
    except (pa.ArrowInvalid, UnicodeDecodeError):
        text = np.array(
            [value.decode("utf-8", "backslashreplace").strip() for value in values.to_pylist()], dtype=object
        )
        again = np.array(
            [value.decode("utf-8", "replace").encode("utf-8") for value in values.to_pylist()], dtype=object
        )
        good[again != values.to_numpy(zero_copy_only=False)] = "undecodable_text"
    good[too_long] = "line_too_long"
    return text, good


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

    if pa.types.is_dictionary(column.type):
        column = pc.binary_slice(column.dictionary.cast(pa.binary()), 0, MAX_POINT_BYTES + 1).take(column.indices)
    wkb = pc.binary_slice(column.cast(pa.binary()), 0, MAX_POINT_BYTES + 1)
    # What is longer is no point, and may be nested deeper than the stack of its reader.
    short = pc.less_equal(pc.binary_length(wkb), MAX_POINT_BYTES).fill_null(False)
    shapes = shapely.from_wkb(pc.if_else(short, wkb, None).to_numpy(zero_copy_only=False), on_invalid="ignore")
    given = np.asarray(wkb.is_valid())
    is_point = shapely.get_type_id(shapes) == 0
    shapes = np.where(is_point & ~shapely.is_empty(shapes), shapes, None)
    return shapely.get_x(shapes), shapely.get_y(shapes), given & ~is_point


def _require_degrees(path: Path, file: pq.ParquetFile, column: str) -> None:
    """GeoParquet's coordinates are longitude and latitude in WGS84 unless the file says otherwise."""
    crs: Any = _geo(file)
    for key in ("columns", column, "crs"):
        crs = crs.get(key) if isinstance(crs, dict) else None
    identity = crs.get("id") if isinstance(crs, dict) else None
    named = "another reference system"
    if isinstance(identity, dict):
        named = f"{identity.get('authority')}:{identity.get('code')}"[:100]
    if crs is not None and named not in ("OGC:CRS84", "EPSG:4326"):
        raise InputError(f"the geometry of {path} is in {named}; reproject it to EPSG:4326 (degrees)")


def _geometry_of(file: pq.ParquetFile) -> str:
    primary = _geo(file).get("primary_column")
    return primary if isinstance(primary, str) and primary in file.schema_arrow.names else ""


def _geo(file: pq.ParquetFile) -> dict[str, Any]:
    """The GeoParquet metadata, {} where there are none."""
    try:
        geo = json.loads((file.schema_arrow.metadata or {}).get(b"geo", b"{}"))
    except (ValueError, RecursionError):
        return {}
    return geo if isinstance(geo, dict) else {}


def _is_parquet(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PAR1"
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def _open_parquet(path: Path, as_dictionaries: Sequence[str] = ()) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, read_dictionary=list(as_dictionaries))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{path} is a damaged Parquet file ({str(error)[:400]}); fetch it again") from error


def _printable(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)

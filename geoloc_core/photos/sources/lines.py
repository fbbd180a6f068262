"""Lines of a text file of any size, plain or compressed, with their numbers, and the delimited tables made of them.

A line is what stands between line feeds; the last may lack its line feed. Nothing is skipped: an empty, undecodable or
endless line is handed on with a reason, so that the rows of a file can be accounted for.
"""

import codecs
import csv
import io
import lzma
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import pandas as pd

from geoloc_core.errors import InputError
from geoloc_core.photos.compressed import open_bytes
from geoloc_core.photos.sources.base import (
    RAW_TEXT_LIMIT,
    Facts,
    MetadataSource,
    Row,
    SourceBatch,
    parse_coordinates,
    sort_rows,
)

MAX_LINE_BYTES = 1 << 20  # a YFCC100M line with its description is at most some tens of kilobytes
MAX_JOINED_LINES = 1000  # of one quoted field
RECOGNISED_BYTES = 1 << 20  # what is read of a file to recognise its layout
# Metadata shrink to a fifth, an endless line of one letter to a thousandth.
MAX_EXPANSION, ALWAYS_ALLOWED_BYTES = 100, 1 << 28
# What the readers of the standard library raise on damaged content.
_DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError)
# Of the rows of a real file 20 to 40 in 100 have a longitude beyond 90 degrees.
SWAPPED_SHARE, SWAPPED_ROWS = 0.05, 5


class Line(NamedTuple):
    """One line without its line feed; `reason` is "" or why its text is not usable."""

    number: int  # from 1
    text: str
    reason: str = ""


def csv_source(
    name: str,
    description: str,
    required: Sequence[str],
    optional: Sequence[str],
    take: Callable[[Sequence[str]], Facts],
) -> MetadataSource:
    """A published layout that is a comma-separated file, recognised by its `required` columns; `take` as in `read_csv`."""

    def sniff(path: Path) -> bool:
        return path.is_file() and set(required) <= set(header_of(path))

    def read(path: Path, dataset: str, rows_per_batch: int) -> Iterator[SourceBatch]:
        return read_csv(path, dataset, required, optional, take, rows_per_batch)

    return MetadataSource(name, description, sniff, read)


def first_lines(path: Path, number: int = 1) -> list[str]:
    """Those of the first `number` lines that are text, for recognising a layout; [] where the file cannot be read.

    No more than `RECOGNISED_BYTES` are looked at, of a compressed file after unpacking.
    """
    try:
        with open_bytes(path, MAX_EXPANSION, ALWAYS_ALLOWED_BYTES) as file:
            beginning = io.BytesIO(file.read(RECOGNISED_BYTES))
    except (InputError, *_DAMAGE):
        return []
    return [line.text for line in islice(_lines(path, beginning), number) if line.reason in ("", "empty_line")]


def header_of(path: Path, delimiter: str = ",") -> list[str]:
    """The names of the columns in the first line of a delimited file; [] where that is no text."""
    return [name.strip() for line in first_lines(path) for name in split_csv(line, delimiter)]


def read_lines(path: Path) -> Iterator[Line]:
    """Every line of `path`, in order; `InputError` where a compressed file is damaged, cut off, or unpacks without end."""
    with open_bytes(path, MAX_EXPANSION, ALWAYS_ALLOWED_BYTES) as file:
        yield from _lines(path, file)


def _lines(path: Path, file: BinaryIO) -> Iterator[Line]:
    for number in count(1):
        try:
            content = file.readline(MAX_LINE_BYTES + 1)
            too_long = len(content) > MAX_LINE_BYTES
            rest = content
            while too_long and rest and not rest.endswith(b"\n"):
                rest = file.readline(MAX_LINE_BYTES)
        except _DAMAGE as error:
            raise InputError(
                f"{path} is damaged after line {number - 1} ({error}); fetch it again, nothing of it was taken in"
            ) from error
        if not content:
            return
        yield _as_line(number, content.removeprefix(codecs.BOM_UTF8) if number == 1 else content, too_long)


def _as_line(number: int, content: bytes, too_long: bool) -> Line:
    content = content.rstrip(b"\r\n")
    if too_long:
        return Line(number, content[:RAW_TEXT_LIMIT].decode("utf-8", "backslashreplace"), "line_too_long")
    if not content:
        return Line(number, "", "empty_line")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return Line(number, content.decode("utf-8", "backslashreplace"), "undecodable_text")
    # A NUL cannot be part of a name, and tools downstream end a text at it.
    return Line(number, text, "undecodable_text" if "\x00" in text else "")


def rows_of_lines(lines: Iterator[Line], header_lines: int, parse: Callable[[str], Facts]) -> Iterator[Row]:
    """The rows that follow the header; `parse` takes the text of one apart. Without an id it has its number."""
    for line in lines:
        number = line.number - header_lines
        facts = {"reason": line.reason} if line.reason else {"photo_id": str(number), **parse(line.text)}
        yield number, facts, line.text


def wrong_length(fields: Sequence[str], expected: int) -> Facts:
    """The reason of a row that has more or fewer fields than the layout; {} for one that has as many."""
    if len(fields) == expected:
        return {}
    return {"reason": "truncated_line" if len(fields) < expected else "extra_fields"}


def read_csv(
    path: Path,
    dataset: str,
    required: Sequence[str],
    optional: Sequence[str],
    take: Callable[[Sequence[str]], Facts],
    rows_per_batch: int,
    delimiter: str = ",",
    multiline: bool = False,
) -> Iterator[SourceBatch]:
    """Batches of a file with a header line.

    `take` gets the values of one row in the columns `required` and then `optional`, "" for one that is absent. With
    `multiline` a quoted field may hold line feeds. Raises `InputError` where a required column is missing, or where
    latitude and longitude are evidently exchanged.
    """
    lines = read_lines(path)
    header = next(lines, Line(1, "", "empty_line"))
    names = [name.strip() for name in split_csv(header.text, delimiter)] if not header.reason else []
    if missing := [name for name in required if name not in names]:
        raise InputError(f"{path} has no column {', '.join(missing)} in its first line")
    # An absent column is looked up behind the last field, where `parse` puts an empty one.
    positions = [names.index(name) if name in names else len(names) for name in (*required, *optional)]

    def parse(text: str) -> Facts:
        fields = split_csv(text, delimiter)
        return wrong_length(fields, len(names)) or take([[*fields, ""][position] for position in positions])

    rows = rows_of_lines(join_quoted(lines) if multiline else lines, 1, parse)
    yield from sort_rows(rows, dataset, rows_per_batch, partial(refuse_swapped, path))


def refuse_swapped(path: Path, candidates: pd.DataFrame) -> None:
    """Raise `InputError` where the columns of latitude and longitude evidently hold each other's values."""
    if coordinates_swapped(candidates["latitude"], candidates["longitude"]):
        raise InputError(
            f"the headers of latitude (LAT) and longitude (LON) of {path} are swapped: the column called latitude holds"
            " values beyond 90 degrees and the one called longitude holds none; exchange the two names in the file"
        )


def coordinates_swapped(latitude: pd.Series, longitude: pd.Series) -> bool:
    """Whether two columns evidently hold each other's values: some "latitudes" can only be longitudes (beyond 90, at
    most 180 degrees; `SWAPPED_SHARE` of the rows and `SWAPPED_ROWS` rows at least) while no "longitude" is beyond 90
    degrees.
    """
    lat, lon, reason = parse_coordinates(latitude, longitude)
    numeric = ~np.isin(reason, ["no_coordinates", "bad_coordinates"])
    only_longitude = (np.abs(lat[numeric]) > 90.0) & (np.abs(lat[numeric]) <= 180.0)
    evident = only_longitude.sum() >= max(SWAPPED_ROWS, SWAPPED_SHARE * only_longitude.size)
    return bool(evident and (np.abs(lon[numeric]) <= 90.0).all())


def join_quoted(lines: Iterator[Line]) -> Iterator[Line]:
    """Lines whose quoted fields hold line feeds, put together again and numbered as rows from 2 (after the header).

    A quote that is still open after `MAX_JOINED_LINES` lines, or at the end of the file, was damage and not a quote:
    its line stands alone, and so do those that follow it.
    """
    waiting: deque[Line] = deque()
    number = 1

    def take() -> Line | None:
        return waiting.popleft() if waiting else next(lines, None)

    while (line := take()) is not None:
        number += 1
        parts = [line]
        closed = line.reason != "" or line.text.count('"') % 2 == 0
        while not closed and len(parts) < MAX_JOINED_LINES and (more := take()) is not None:
            parts.append(more)
            closed = more.text.count('"') % 2 == 1 and more.reason in ("", "undecodable_text")
            if more.reason == "line_too_long":
                break
        if not closed:
            waiting.extendleft(reversed(parts[1:]))
            parts = parts[:1]
        reasons = [part.reason for part in parts if part.reason not in ("", "empty_line")]
        alone = parts[0].reason if len(parts) == 1 else ""
        yield Line(number, "\n".join(part.text for part in parts), alone or (reasons[0] if reasons else ""))


def split_csv(line: str, delimiter: str = ",") -> list[str]:
    """The fields of one row of a delimited file; a quoted field may hold the delimiter."""
    if '"' not in line:
        return line.split(delimiter)
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return [line]  # a quote that does not close: too few fields

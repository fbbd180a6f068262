"""Lines of a text file of any size, plain or compressed, with their numbers and with what is wrong with them.

A line is what stands between line feeds; the last may lack its line feed. Nothing is skipped: an empty, undecodable or
endless line is handed on with a reason, so that the rows of a file can be accounted for.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import pandas as pd

from geoloc_core.errors import InputError
from geoloc_core.photos.sources.base import CANDIDATE_COLUMNS, RAW_TEXT_LIMIT, Sieve, SourceBatch

MAX_LINE_BYTES = 1 << 20  # a YFCC100M line with its description is at most some tens of kilobytes
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Line:
    """One line without its line feed; `reason` is "" or why its text is not usable."""

    number: int  # from 1
    text: str
    reason: str = ""


def open_bytes(path: Path) -> BinaryIO:
    """`path` for reading, uncompressed on the way if its first bytes say gzip or bzip2, whatever its name."""
    try:
        file = path.open("rb")
        magic = file.read(3)
        file.seek(0)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    if magic[:2] == b"\x1f\x8b":
        return cast(BinaryIO, gzip.GzipFile(fileobj=file))
    if magic == b"BZh":
        return cast(BinaryIO, bz2.BZ2File(file))
    return file


def first_lines(path: Path, count: int = 1) -> list[str]:
    """The first lines of a file for recognising its layout; [] where they are not text."""
    found: list[str] = []
    with contextlib.suppress(InputError, ValueError):
        for line in read_lines(path):
            if line.reason == "undecodable_text":
                break
            found.append(line.text)
            if len(found) == count:
                break
    return found


def read_lines(path: Path) -> Iterator[Line]:
    """Every line of `path`, in order; `InputError` where a compressed file is damaged or cut off."""
    with open_bytes(path) as file:
        number = 0
        while True:
            try:
                content = file.readline(MAX_LINE_BYTES + 1)
                too_long = len(content) > MAX_LINE_BYTES
                rest = content
                while too_long and rest and not rest.endswith(b"\n"):
                    rest = file.readline(MAX_LINE_BYTES)
            except (OSError, EOFError, zlib.error) as error:
                raise InputError(
                    f"{path} is damaged after line {number} ({error}); fetch it again, nothing of it was taken in"
                ) from error
            if not content:
                return
            number += 1
            if number == 1:
                content = content.removeprefix(_BOM)
            yield _as_line(number, content, too_long)


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


@dataclass(frozen=True)
class Fields:
    """What a source takes from one line: text for `CANDIDATE_COLUMNS`, or the reason why it takes nothing."""

    photo_id: str = ""
    author_id: str = ""
    latitude: str = ""
    longitude: str = ""
    image_path: str = ""
    image_url: str = ""
    reason: str = ""


def sort_lines(
    lines: Iterator[Line],
    header_lines: int,
    parse: Callable[[str], Fields],
    sieve: Sieve,
    rows_per_batch: int,
    inspect: Callable[[pd.DataFrame], None] | None = None,
) -> Iterator[SourceBatch]:
    """Batches from the lines that follow the header; `parse` takes one line's text apart.

    `inspect`, where given, sees the candidates of the first batch before any is sorted, and may raise.
    """
    waiting: list[tuple[object, ...]] = []
    first = True

    def flush() -> SourceBatch:
        nonlocal first
        frame = pd.DataFrame(waiting, columns=list(CANDIDATE_COLUMNS))
        waiting.clear()
        if first and inspect is not None:
            inspect(frame)
        first = False
        return sieve.sort(frame)

    for line in lines:
        fields = Fields(reason=line.reason) if line.reason else parse(line.text)
        waiting.append(
            (
                line.number - header_lines,
                fields.photo_id,
                fields.author_id,
                fields.latitude,
                fields.longitude,
                fields.image_path,
                fields.image_url,
                line.text,
                fields.reason,
            )
        )
        if len(waiting) >= rows_per_batch:
            yield flush()
    if waiting:
        yield flush()


def column_positions(header: Sequence[str], wanted: Sequence[str]) -> dict[str, int]:
    """Where each wanted column stands in a header; columns that are not there are left out."""
    names = [name.strip() for name in header]
    return {name: names.index(name) for name in wanted if name in names}

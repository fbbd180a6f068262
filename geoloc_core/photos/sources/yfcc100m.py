"""The metadata of YFCC100M (Thomee et al. 2016), tab-separated without a header, with 25 or 23 columns.

The larger release has the line number and the photo's hash in front. Text is URL-encoded with + for a space; longitude
stands before latitude; an empty text means that the photo is not geotagged; the last column is 1 for a video.
`image_path` follows the layout in which each release's pictures are kept: Multimedia Commons by hash for 25 columns,
MP-16's for 23.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote_plus

from geoloc_core.errors import InputError
from geoloc_core.photos.picture_paths import mp16_path, multimedia_commons_path
from geoloc_core.photos.sources.base import Facts, MetadataSource, SourceBatch, sort_rows
from geoloc_core.photos.sources.lines import first_lines, read_lines, rows_of_lines, wrong_length

SNIFFED_LINES = 50
# Positions in the layout of 23 columns.
_ID, _NSID, _LONGITUDE, _LATITUDE, _URL, _MARKER = 0, 1, 10, 11, 14, 22
_COLUMNS_WITH_HASH, _COLUMNS = 25, 23


def _read(path: Path, dataset: str, rows_per_batch: int) -> Iterator[SourceBatch]:
    columns = _columns_of(path)
    if columns is None:
        raise InputError(f"{path} has neither 25 nor 23 tab-separated columns as YFCC100M's metadata have")

    def parse(text: str) -> Facts:
        row = text.split("\t")
        return wrong_length(row, columns) or _take(_short(row), row[2].strip() if columns == _COLUMNS_WITH_HASH else "")

    yield from sort_rows(rows_of_lines(read_lines(path), 0, parse), dataset, rows_per_batch)


def _take(row: Sequence[str], photo_hash: str) -> Facts:
    photo_id = row[_ID].strip()
    return {
        "photo_id": photo_id,
        "author_id": unquote_plus(row[_NSID]).strip(),
        "latitude": row[_LATITUDE],
        "longitude": row[_LONGITUDE],
        "image_path": multimedia_commons_path(photo_hash) if photo_hash else mp16_path(photo_id) if photo_id else "",
        "image_url": row[_URL].strip(),
        "reason": "" if row[_MARKER].strip() == "0" else "not_a_photo",
    }


def _columns_of(path: Path) -> int | None:
    """How many columns the file has, 25 or 23; None where it is no such file. A few damaged lines do no harm."""
    rows = [line.split("\t") for line in first_lines(path, SNIFFED_LINES)]
    for columns in (_COLUMNS, _COLUMNS_WITH_HASH):
        short = [_short(row) for row in rows if len(row) == columns]
        good = [row for row in short if row[_ID].strip().isdecimal() and row[_MARKER].strip() in ("0", "1")]
        if 2 * len(good) > len(rows):
            return columns
    return None


def _short(row: Sequence[str]) -> Sequence[str]:
    """The row in the layout of 23 columns."""
    return [row[1], *row[3:]] if len(row) == _COLUMNS_WITH_HASH else row


YFCC100M = MetadataSource(
    name="yfcc100m",
    description="YFCC100M metadata, 25 or 23 tab-separated columns",
    sniff=lambda path: path.is_file() and _columns_of(path) is not None,
    read=_read,
)

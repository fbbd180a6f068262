"""The metadata of YFCC100M (Thomee et al. 2016), tab-separated without a header, with 25 or 23 columns.

The two releases differ in the line number and the photo's hash, which the larger one has in front. Text is URL-encoded
with + for a space; longitude stands before latitude; an empty text means that the photo is not geotagged; the last
column is 1 for a video. `accuracy` is Flickr's: 1 is the world, about 3 a country, 6 a region, 11 a city, 16 a street.

`image_path` follows the layout in which each release's pictures are kept: Multimedia Commons by hash for 25 columns,
MP-16's for 23 (see `layouts`, which can also replace it).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from urllib.parse import unquote_plus

from geoloc_core.errors import InputError
from geoloc_core.photos.layouts import mp16_path, multimedia_commons_path
from geoloc_core.photos.sources.base import ROWS_PER_BATCH, Sieve, SourceBatch
from geoloc_core.photos.sources.lines import Fields, first_lines, read_lines, sort_lines

SNIFFED_LINES = 50
FINEST_ACCURACY = 16

# Positions in the layout of 23 columns; the larger layout has `line number` before the id and `hash` after it.
_ID, _NSID, _LONGITUDE, _LATITUDE, _ACCURACY, _URL, _MARKER = 0, 1, 10, 11, 12, 14, 22
_COLUMNS_WITH_HASH, _COLUMNS = 25, 23

_PHOTO, _VIDEO = "0", "1"
_NOT_A_PHOTO: Mapping[str, str] = MappingProxyType({_PHOTO: "", _VIDEO: "not_a_photo"})


@dataclass(frozen=True)
class Yfcc100mSource:
    """Reads either release, plain, .gz or .bz2. Photos placed more coarsely than `min_accuracy` are rejected."""

    min_accuracy: int = 1
    name: str = "yfcc100m"
    description: str = "YFCC100M metadata, 25 or 23 tab-separated columns"

    def sniff(self, path: Path) -> bool:
        """Whether most of the first lines have 25 or 23 tab-separated columns that look like YFCC100M's."""
        return path.is_file() and _columns_of(path) is not None

    def read(self, path: Path, dataset: str, rows_per_batch: int = ROWS_PER_BATCH) -> Iterator[SourceBatch]:
        """Batches of the file; `InputError` if its lines have neither layout."""
        columns = _columns_of(path)
        if columns is None:
            raise InputError(f"{path} has neither 25 nor 23 tab-separated columns as YFCC100M's metadata have")

        def parse(text: str, _row_number: int) -> Fields:
            row = text.split("\t")
            if len(row) != columns:
                return Fields(reason="truncated_line" if len(row) < columns else "extra_fields")
            photo_hash = row[2].strip() if columns == _COLUMNS_WITH_HASH else ""
            return self._take(_short(row), photo_hash)

        yield from sort_lines(read_lines(path), 0, parse, Sieve(dataset), rows_per_batch)

    def _take(self, row: Sequence[str], photo_hash: str) -> Fields:
        photo_id = row[_ID].strip()
        reason = _NOT_A_PHOTO.get(row[_MARKER].strip(), "not_a_photo")
        if not reason and self.min_accuracy > 1 and row[_LATITUDE].strip():
            accuracy = row[_ACCURACY].strip()
            reason = "" if accuracy.isdecimal() and int(accuracy) >= self.min_accuracy else "coarse_position"
        return Fields(
            photo_id=photo_id,
            author_id=unquote_plus(row[_NSID]).strip(),
            latitude=row[_LATITUDE],
            longitude=row[_LONGITUDE],
            image_path=multimedia_commons_path(photo_hash) if photo_hash else mp16_path(photo_id) if photo_id else "",
            image_url=row[_URL].strip(),
            reason=reason,
        )


def _columns_of(path: Path) -> int | None:
    """How many columns the file has, 25 or 23; None where it is no such file. A damaged line or two do not confuse."""
    counts: Counter[int] = Counter()
    lines = first_lines(path, SNIFFED_LINES)
    for line in lines:
        row = line.split("\t")
        if len(row) in (_COLUMNS, _COLUMNS_WITH_HASH):
            short = _short(row)
            if short[_ID].strip().isdecimal() and short[_MARKER].strip() in _NOT_A_PHOTO:
                counts[len(row)] += 1
    if not counts:
        return None
    columns, n = counts.most_common(1)[0]
    return columns if 2 * n > len(lines) else None


def _short(row: Sequence[str]) -> Sequence[str]:
    """The row in the layout of 23 columns."""
    return [row[1], *row[3:]] if len(row) == _COLUMNS_WITH_HASH else row

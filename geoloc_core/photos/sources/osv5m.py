"""The CSV of OpenStreetView-5M (Astruc et al. 2024): street-level photos from Mapillary.

Of its columns id, latitude, longitude, thumb_original_url, sequence and creator_id are used. The author is the
creator; where the file does not name one it is the sequence, one drive of one camera, which must not be split either.
The pictures come in numbered zip files; `image_path` is `ID.jpg` below wherever they were unpacked (layout `by_name`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from geoloc_core.photos.sources.base import ROWS_PER_BATCH, SourceBatch
from geoloc_core.photos.sources.lines import Fields, first_lines, read_csv, split_csv

_REQUIRED = ("id", "latitude", "longitude", "sequence")
_OPTIONAL = ("thumb_original_url", "creator_id")


@dataclass(frozen=True)
class Osv5mSource:
    """Reads train.csv and test.csv of OSV-5M."""

    name: str = "osv5m"
    description: str = "OSV-5M CSV with the columns id, latitude, longitude and sequence"

    def sniff(self, path: Path) -> bool:
        """Whether the first line is a comma-separated header with OSV-5M's columns."""
        lines = first_lines(path) if path.is_file() else []
        return bool(lines) and set(_REQUIRED) <= {name.strip() for name in split_csv(lines[0])}

    def read(self, path: Path, dataset: str, rows_per_batch: int = ROWS_PER_BATCH) -> Iterator[SourceBatch]:
        """Batches of the file."""
        return read_csv(path, dataset, _REQUIRED, _OPTIONAL, _take, rows_per_batch)


def _take(values: Sequence[str], _row_number: int) -> Fields:
    photo_id, latitude, longitude, sequence, url, creator = (value.strip() for value in values)
    # pandas wrote the creators' numbers, some of which are missing, as floating point.
    author = creator.removesuffix(".0") or (f"sequence:{sequence}" if sequence else "")
    return Fields(photo_id, author, latitude, longitude, f"{photo_id}.jpg" if photo_id else "", url)

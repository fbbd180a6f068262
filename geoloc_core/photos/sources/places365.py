"""The CSV layout in which MP-16, IM2GPS, IM2GPS3k and the YFCC test sets circulate with their scene labels.

Columns: IMG_ID, AUTHOR (where known), LAT, LON, then scene columns that are not used. IMG_ID is the path of the image:
`aa/bb/PHOTOID.jpg` in MP-16 and YFCC, `[place_NNNNN_]PHOTOID_SECRET_SERVER_OWNER.jpg` in IM2GPS and IM2GPS3k. Both
hold the number that Flickr gave the photo, and that number is the `photo_id` here, so that a benchmark photo is known
again in a training set. A name of another shape is kept whole, without folder and suffix.

A version of the IM2GPS files circulates with the headers LAT and LON swapped; it is found out from the values.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from geoloc_core.photos.sources.base import ROWS_PER_BATCH, SourceBatch, is_video
from geoloc_core.photos.sources.lines import Fields, first_lines, read_csv, split_csv

# place_NNNNN_ (where the photo was found by its place name), photo, secret, server, owner (NSID)
_IM2GPS_NAME = re.compile(r"^(?:.*_\d{5}_)?(?P<photo>\d+)_[0-9a-f]+_\d+_(?P<owner>\d+@N\d\d)$")


@dataclass(frozen=True)
class Places365Source:
    """Reads the layout with columns IMG_ID, AUTHOR, LAT, LON."""

    name: str = "places365"
    description: str = "MP-16, IM2GPS or YFCC CSV with the columns IMG_ID, LAT and LON"

    def sniff(self, path: Path) -> bool:
        """Whether the first line is a comma-separated header with IMG_ID, LAT and LON."""
        if not path.is_file():
            return False
        lines = first_lines(path)
        return bool(lines) and {"IMG_ID", "LAT", "LON"} <= {name.strip() for name in split_csv(lines[0])}

    def read(self, path: Path, dataset: str, rows_per_batch: int = ROWS_PER_BATCH) -> Iterator[SourceBatch]:
        """Batches of the file; `InputError` if LAT and LON are swapped or a column is missing."""
        return read_csv(path, dataset, ("IMG_ID", "LAT", "LON"), ("AUTHOR",), _take, rows_per_batch)


def _take(values: Sequence[str], _row_number: int) -> Fields:
    image, latitude, longitude, author = values
    image = image.strip()
    photo_id, owner = identify(image)
    reason = "not_a_photo" if is_video(image) else ""
    return Fields(photo_id, author.strip() or owner, latitude, longitude, image, reason=reason)


def identify(image: str) -> tuple[str, str]:
    """The photo id and, where the name tells it, the owner ("" else) of an IMG_ID."""
    # Without pathlib, which would take longer than all else that is done for a row.
    stem = posixpath.splitext(image.rpartition("/")[2])[0]
    match = _IM2GPS_NAME.match(stem) if "@" in stem else None
    return (match["photo"], match["owner"]) if match else (stem, "")

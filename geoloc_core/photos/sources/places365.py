"""The CSV layout in which MP-16, IM2GPS, IM2GPS3k and the YFCC test sets circulate with their scene labels.

Columns: IMG_ID, AUTHOR (where known), LAT, LON, then scene columns that are not used. IMG_ID is the path of the image:
`aa/bb/PHOTOID.jpg` in MP-16 and YFCC, `[place_NNNNN_]PHOTOID_SECRET_SERVER_OWNER.jpg` in IM2GPS and IM2GPS3k. Both
hold the number that Flickr gave the photo, and that number is the `photo_id` here, so that a benchmark photo is known
again in a training set. A name of another shape is kept whole, without folder and suffix.

A version of the IM2GPS files circulates with the headers LAT and LON swapped; it is found out from the values.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from geoloc_core.errors import InputError
from geoloc_core.photos.sources.base import ROWS_PER_BATCH, Sieve, SourceBatch, is_video, parse_coordinates
from geoloc_core.photos.sources.lines import Fields, column_positions, first_lines, read_lines, sort_lines

# place_NNNNN_ (where the photo was found by its place name), photo, secret, server, owner (NSID)
_IM2GPS_NAME = re.compile(r"^(?:.*_\d{5}_)?(?P<photo>\d+)_[0-9a-f]+_\d+_(?P<owner>\d+@N\d\d)$")

# Of the rows of a real file 20 to 40 in 100 have a longitude beyond 90 degrees.
SWAPPED_SHARE = 0.05


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
        lines = read_lines(path)
        header = next(lines, None)
        names = split_csv(header.text) if header is not None and not header.reason else []
        at = column_positions(names, ("IMG_ID", "AUTHOR", "LAT", "LON"))
        missing = [name for name in ("IMG_ID", "LAT", "LON") if name not in at]
        if missing:
            raise InputError(f"{path} has no column {', '.join(missing)} in its first line")

        def parse(text: str) -> Fields:
            row = split_csv(text)
            if len(row) != len(names):
                return Fields(reason="truncated_line" if len(row) < len(names) else "extra_fields")
            image = row[at["IMG_ID"]].strip()
            photo_id, owner = identify(image)
            return Fields(
                photo_id=photo_id,
                author_id=row[at["AUTHOR"]].strip() if "AUTHOR" in at else owner,
                latitude=row[at["LAT"]],
                longitude=row[at["LON"]],
                image_path=image,
                reason="not_a_photo" if is_video(image) else "",
            )

        def refuse_swapped(candidates: pd.DataFrame) -> None:
            if coordinates_swapped(candidates["latitude"], candidates["longitude"]):
                raise InputError(
                    f"the headers LAT and LON of {path} are swapped: LAT holds values beyond 90 degrees and LON holds"
                    " none; exchange the two names in its first line"
                )

        yield from sort_lines(lines, 1, parse, Sieve(dataset), rows_per_batch, inspect=refuse_swapped)


def identify(image: str) -> tuple[str, str]:
    """The photo id and, where the name tells it, the owner ("" else) of an IMG_ID."""
    name = PurePosixPath(image).name
    stem = PurePosixPath(name).stem
    match = _IM2GPS_NAME.match(stem)
    return (match["photo"], match["owner"]) if match else (stem, "")


def coordinates_swapped(latitude: pd.Series, longitude: pd.Series) -> bool:
    """Whether two columns that should be latitude and longitude are evidently each other.

    So when some of the "latitudes" can only be longitudes (beyond 90, at most 180 degrees; `SWAPPED_SHARE` of the rows
    or more) while no "longitude" is beyond 90 degrees. A file all of whose longitudes are within 90 degrees does not
    tell, and passes.
    """
    lat, lon, reason = parse_coordinates(latitude, longitude)
    numeric = ~np.isin(reason, ["no_coordinates", "bad_coordinates"])
    if not numeric.any():
        return False
    lat, lon = np.abs(lat[numeric]), np.abs(lon[numeric])
    only_longitude = (lat > 90.0) & (lat <= 180.0)
    return bool(only_longitude.mean() >= SWAPPED_SHARE and (lon <= 90.0).all())


def split_csv(line: str) -> Sequence[str]:
    """The fields of one comma-separated line; a quoted field may hold commas but no line feed."""
    if '"' not in line:
        return line.split(",")
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error:
        return [line]  # a quote that does not close: too few fields

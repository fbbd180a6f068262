"""The CSV layout in which MP-16, IM2GPS, IM2GPS3k and the YFCC test sets circulate with their scene labels.

IMG_ID is the path of the image: `aa/bb/PHOTOID.jpg` in MP-16 and YFCC, `[place_NNNNN_]PHOTOID_SECRET_SERVER_OWNER.jpg`
in IM2GPS and IM2GPS3k. Both hold the number that Flickr gave the photo, which is the `photo_id` here, so that a
benchmark photo is recognised in a training set. A name of another shape is kept whole, without folder and suffix. A
version of the IM2GPS files circulates with the headers LAT and LON swapped; it is recognised by its values.
"""

import posixpath
import re
from collections.abc import Sequence

from geoloc_core.photos.file_names import is_video
from geoloc_core.photos.sources.base import Facts
from geoloc_core.photos.sources.lines import csv_source

# place_NNNNN_ (where the photo was found by its place name), photo, secret, server, owner (NSID)
_IM2GPS_NAME = re.compile(r"^(?:.*_\d{5}_)?(?P<photo>\d+)_[0-9a-f]+_\d+_(?P<owner>\d+@N\d\d)$")


def _take(values: Sequence[str]) -> Facts:
    image, latitude, longitude, author = values
    image = image.strip()
    photo_id, owner = identify(image)
    return {
        "photo_id": photo_id,
        "author_id": author.strip() or owner,
        "latitude": latitude,
        "longitude": longitude,
        "image_path": image,
        "reason": "not_a_photo" if is_video(image) else "",
    }


def identify(image: str) -> tuple[str, str]:
    """The photo id and, where the name holds it, the owner ("" else) of an IMG_ID."""
    # Without pathlib, which would take longer than all else that is done for a row.
    stem = posixpath.splitext(image.rpartition("/")[2])[0]
    match = _IM2GPS_NAME.match(stem) if "@" in stem else None
    return (match["photo"], match["owner"]) if match else (stem, "")


PLACES365 = csv_source(
    name="places365",
    description="MP-16, IM2GPS or YFCC CSV with the columns IMG_ID, LAT and LON",
    required=("IMG_ID", "LAT", "LON"),
    optional=("AUTHOR",),
    take=_take,
)

"""The CSV of OpenStreetView-5M (Astruc et al. 2024): street-level photos from Mapillary.

The author is the creator, or else the sequence, one drive of one camera, which must not be split either. The pictures
come in numbered zip files; `image_path` is `ID.jpg` below wherever they were unpacked (layout `by_name`).
"""

from collections.abc import Sequence

from geoloc_core.photos.sources.base import Facts
from geoloc_core.photos.sources.lines import csv_source


def _take(values: Sequence[str]) -> Facts:
    photo_id, latitude, longitude, sequence, url, creator = (value.strip() for value in values)
    return {
        "photo_id": photo_id,
        # pandas wrote the creators' numbers, some of which are missing, as floating point.
        "author_id": creator.removesuffix(".0") or (f"sequence:{sequence}" if sequence else ""),
        "latitude": latitude,
        "longitude": longitude,
        "image_path": f"{photo_id}.jpg" if photo_id else "",
        "image_url": url,
    }


OSV5M = csv_source(
    name="osv5m",
    description="OSV-5M CSV with the columns id, latitude, longitude and sequence",
    required=("id", "latitude", "longitude", "sequence"),
    optional=("thumb_original_url", "creator_id"),
    take=_take,
)

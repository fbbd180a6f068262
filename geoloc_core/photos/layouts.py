"""Where the image of a photo lies below an image root, in the ways in which collections are laid out.

- `as_given`: where the metadata says.
- `mp16`: `aa/bb/PHOTOID.jpg`, where aabb are the first four hex digits of the SHA-1 of the file's name, `PHOTOID.jpg`
  (found by comparison: it holds for each of 12,800 published rows). Also a good layout for what one fetches oneself.
- `multimedia_commons`: `hhh/hhh/HASH.jpg`, by the hash that the 25-column YFCC100M metadata give each photo; this is
  the layout of the Multimedia Commons bucket below `data/images`.
- `by_name`: anywhere below the root, found by the photo's id; for archives that were unpacked as they came (OSV-5M).
"""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath

import pandas as pd

from geoloc_core.errors import InputError, ProfileError
from geoloc_core.line.profile import IMAGE_LAYOUTS
from geoloc_core.photos.sources.base import IMAGE_SUFFIXES
from geoloc_core.photos.sources.photo_folder import photo_files


def mp16_path(photo_id: str, suffix: str = ".jpg") -> str:
    """Where MP-16 keeps a photo: `2e/b5/4325164013.jpg`."""
    name = photo_id + suffix
    digest = hashlib.sha1(name.encode("utf-8"), usedforsecurity=False).hexdigest()
    return f"{digest[:2]}/{digest[2:4]}/{name}"


def multimedia_commons_path(photo_hash: str, suffix: str = ".jpg") -> str:
    """Where Multimedia Commons keeps a photo, by the hash of the YFCC100M metadata: `4cc/b23/4ccb23d8....jpg`."""
    return f"{photo_hash[:3]}/{photo_hash[3:6]}/{photo_hash}{suffix}"


def place_images(photos: pd.DataFrame, layout: str, image_root: Path) -> pd.DataFrame:
    """`RawPhotos` whose `image_path` says where the image lies below `image_root` if the root has that layout.

    With `by_name` a photo without a file keeps the path it had; two files for one photo are an `InputError`.
    """
    if layout == "as_given":
        return photos
    if layout == "mp16":
        return photos.assign(image_path=[mp16_path(photo) for photo in photos["photo_id"]])
    if layout == "by_name":
        found = _index_by_name(image_root, set(photos["photo_id"]))
        paths = [found.get(photo, path) for photo, path in zip(photos["photo_id"], photos["image_path"], strict=True)]
        return photos.assign(image_path=paths)
    raise ProfileError(f"there is no image layout {layout!r}; known are {', '.join(IMAGE_LAYOUTS)}")


def _index_by_name(image_root: Path, wanted: set[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for file in photo_files(image_root):
        path = PurePosixPath(file)
        if path.stem in wanted and path.suffix.lower() in IMAGE_SUFFIXES:
            if path.stem in found:
                raise InputError(f"{image_root} has two images of photo {path.stem}: {found[path.stem]} and {file}")
            found[path.stem] = file
    return found

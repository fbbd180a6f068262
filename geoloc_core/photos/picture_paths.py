"""Where the picture of a photo lies below a folder, in the ways in which collections are laid out.

- `as_given`: where the metadata says; `by_name`: anywhere below the folder, found by the photo's id (OSV-5M).
- `mp16`: `aa/bb/PHOTOID.jpg`, where aabb are the first four hex digits of the SHA-1 of the file's name (it holds for each
  of 12,800 published rows). Also a good layout for pictures that one fetches oneself.
"""

import hashlib
from pathlib import Path, PurePosixPath

import pandas as pd

from geoloc_core.errors import InputError
from geoloc_core.photos.file_names import files_below, is_image
from geoloc_core.photos.settings import ImageLayout


def mp16_path(photo_id: str) -> str:
    """Where MP-16 keeps a photo: `2e/b5/4325164013.jpg`."""
    name = f"{photo_id}.jpg"
    digest = hashlib.sha1(name.encode("utf-8"), usedforsecurity=False).hexdigest()
    return f"{digest[:2]}/{digest[2:4]}/{name}"


def multimedia_commons_path(photo_hash: str) -> str:
    """Where the Multimedia Commons bucket keeps a photo, by YFCC100M's hash of it: `4cc/b23/4ccb23d8....jpg`."""
    return f"{photo_hash[:3]}/{photo_hash[3:6]}/{photo_hash}.jpg"


def place_images(photos: pd.DataFrame, layout: ImageLayout, folder: Path) -> pd.DataFrame:
    """`RawPhotos` whose `image_path` says where the picture lies below `folder`, if that has the layout.

    With `by_name` a photo without a file keeps the path it had; two files for one photo are an `InputError`.
    """
    if layout == "as_given":
        return photos
    if layout == "mp16":
        return photos.assign(image_path=[mp16_path(photo) for photo in photos["photo_id"]])
    files = _files_by_id(folder, set(photos["photo_id"]))
    paths = [files.get(photo, path) for photo, path in zip(photos["photo_id"], photos["image_path"], strict=True)]
    return photos.assign(image_path=paths)


def _files_by_id(folder: Path, photo_ids: set[str]) -> dict[str, str]:
    files: dict[str, str] = {}
    for file in files_below(folder):
        photo_id = PurePosixPath(file).stem
        if photo_id in photo_ids and is_image(file):
            if photo_id in files:
                raise InputError(f"{folder} has two images of photo {photo_id}: {files[photo_id]} and {file}")
            files[photo_id] = file
    return files

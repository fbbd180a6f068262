"""A folder of photos that carry their own position in EXIF.

Every file below the folder is a row, in the order of its relative path; hidden files and folders are not. What is no
picture is rejected as such, so that accepted + rejected = files. The `photo_id` is the file's path relative to the
folder, with its suffix: `a.jpg` and `a.png` are two photos. EXIF names no author, so `author_id` is "".
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from geoloc_core.errors import InputError
from geoloc_core.photos.batches import in_batches
from geoloc_core.photos.exif import read_gps
from geoloc_core.photos.sources.base import (
    CANDIDATE_COLUMNS,
    IMAGE_SUFFIXES,
    ROWS_PER_BATCH,
    Sieve,
    SourceBatch,
)


@dataclass(frozen=True)
class PhotoFolderSource:
    """Reads a folder of pictures, at any depth."""

    name: str = "photo_folder"
    description: str = "a folder of photos with GPS in EXIF"

    def sniff(self, path: Path) -> bool:
        """Whether `path` is a folder with at least one picture in it, by suffix."""
        return path.is_dir() and any(_suffix(file) in IMAGE_SUFFIXES for file in photo_files(path))

    def read(self, path: Path, dataset: str, rows_per_batch: int = ROWS_PER_BATCH) -> Iterator[SourceBatch]:
        """Batches of the folder's files."""
        if not path.is_dir():
            raise InputError(f"{path} is not a folder")
        sieve = Sieve(dataset)
        for some in in_batches(enumerate(photo_files(path), start=1), rows_per_batch):
            rows = [_candidate(path, file, number) for number, file in some]
            yield sieve.sort(pd.DataFrame(rows, columns=list(CANDIDATE_COLUMNS)))


def photo_files(folder: Path) -> Iterator[str]:
    """Relative paths of the files below a folder, sorted within each folder; hidden ones left out."""

    def unreadable(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}") from error

    for parent, folders, files in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                yield (Path(parent) / name).relative_to(folder).as_posix()


def _candidate(folder: Path, file: str, number: int) -> tuple[object, ...]:
    shown = os.fsencode(file).decode("utf-8", "backslashreplace")
    latitude = longitude = float("nan")
    if shown != file:
        reason = "undecodable_text"
    elif _suffix(file) not in IMAGE_SUFFIXES:
        reason = "not_a_photo"
    else:
        fix = read_gps(folder / file)
        reason = fix if isinstance(fix, str) else ""
        if not isinstance(fix, str):
            latitude, longitude = fix
    return number, shown, "", latitude, longitude, shown, "", reason, shown


def _suffix(file: str) -> str:
    return Path(file).suffix.lower()

"""Names of files from outside: which are pictures, which are safe to open, which lie below a folder."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from geoloc_core.errors import InputError

_RAW = "dng cr2 cr3 crw nef nrw arw srf sr2 raf orf rw2 pef srw rwl x3f 3fr iiq dcr kdc mrw erf"
_READ = "jpg jpeg jpe png webp avif heic heif hif gif tif tiff bmp mpo"
RAW_SUFFIXES = frozenset(f".{name}" for name in _RAW.split())
IMAGE_SUFFIXES = RAW_SUFFIXES.union(f".{name}" for name in _READ.split())
"""Names of photos; RAW ones are among them, so that they are refused as what they are."""
VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".3gp", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".mts")


def is_image(name: str) -> bool:
    """Whether a file name is a picture's, by its suffix."""
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def is_raw(name: str) -> bool:
    """Whether a file name has the suffix of a camera's RAW format."""
    return PurePosixPath(name).suffix.lower() in RAW_SUFFIXES


def is_video(name: str) -> bool:
    """Whether a file name is a video's."""
    return name.lower().endswith(VIDEO_SUFFIXES)


def is_safe_path(path: str) -> bool:
    """Whether a relative path from outside stays inside the folder that it is joined to."""
    if "\\" in path or "\x00" in path or path[1:2] == ":":
        return False
    return not path.startswith("/") and ".." not in path.split("/")


def printable(name: str) -> str:
    """A file name as text; bytes that are not UTF-8 (surrogates, in Python) are written as escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def files_below(folder: Path) -> Iterator[str]:
    """Relative paths of the files below a folder, sorted within each folder; hidden ones are left out."""

    def unreadable(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}") from error

    for parent, folders, files in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                yield (Path(parent) / name).relative_to(folder).as_posix()

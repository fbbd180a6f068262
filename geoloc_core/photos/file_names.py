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
# Bytes of a name that every common file system takes, and of a path below a folder of some depth (PATH_MAX is 4,096).
LONGEST_NAME, LONGEST_PATH = 255, 1024
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
    """Whether a relative path from outside can name a file in the folder that it is joined to; "" names none, and is safe."""
    if "\\" in path or "\x00" in path or path[1:2] == ":" or path.startswith("/"):
        return False
    parts = path.split("/")
    if ".." in parts or (path and parts[-1] in ("", ".")):
        return False
    # A character has at most four bytes, and most names are short.
    return 4 * len(path) <= LONGEST_NAME or (
        max(_bytes(part) for part in parts) <= LONGEST_NAME and _bytes(path) <= LONGEST_PATH
    )


def _bytes(name: str) -> int:
    return len(name.encode("utf-8", "surrogatepass"))


def printable(name: str) -> str:
    """A file name as text; bytes that are not UTF-8 (surrogates, in Python) are written as escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def visible(text: str) -> str:
    """A text with all that does not print (ESC, carriage returns, marks that turn its direction) as escapes, for terminals."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in printable(text))


def files_below(folder: Path) -> Iterator[str]:
    """Relative paths of the files below a folder, sorted within each folder; hidden ones are left out.

    A symbolic link to a folder is listed and not entered: what lies behind it is there already, or outside.
    """

    def unreadable(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}") from error

    for parent, folders, files in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted([*files, *(name for name in folders if (Path(parent) / name).is_symlink())]):
            if not name.startswith("."):
                yield (Path(parent) / name).relative_to(folder).as_posix()

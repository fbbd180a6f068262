"""Tar and zip archives of pictures: read member by member, and unpacked safely.

An archive comes from outside: a member is read up to a limit, links and devices are not followed, a name that leads out
of the folder is refused, and an archive that is a decompression bomb is refused.
"""

import os
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from geoloc_core.errors import InputError
from geoloc_core.photos.file_names import is_image, is_safe_path
from geoloc_core.photos.images import ImageLimits, RefusedImage
from geoloc_core.progress import track
from geoloc_core.storage import write_bytes

# Pictures are compressed already: an archive of them hardly shrinks.
MAX_EXPANSION, ALWAYS_ALLOWED_BYTES = 20, 1 << 30

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")

# What the readers of the standard library raise on damaged, encrypted or unknown content.
_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError, zlib.error, NotImplementedError, RuntimeError)


@dataclass(frozen=True)
class Member:
    """One file of an archive.

    `read(limit)` gives at most `limit` bytes, once, while the archive is at this member; it raises `RefusedImage` where
    only this member is damaged (zip), `InputError` where nothing can be read after it either (tar).
    """

    name: str
    size: int  # as the archive declares it
    is_file: bool  # False for a link or a device
    read: Callable[[int], bytes]


def is_archive(path: Path) -> bool:
    """Whether the content is a tar, plain or compressed, or a zip."""
    try:
        return path.is_file() and (zipfile.is_zipfile(path) or tarfile.is_tarfile(path))
    except (OSError, EOFError, zlib.error):
        return False


def archives_in(path: Path) -> list[Path]:
    """The archive `path`, or the archives of a folder that holds no picture and no folder beside them; [] otherwise."""
    if not path.is_dir():
        return [path] if is_archive(path) else []
    archives = []
    with os.scandir(path) as entries:
        for entry in (entry for entry in entries if not entry.name.startswith(".")):
            if entry.is_dir() or is_image(entry.name):
                return []  # also so that a folder of millions of pictures is not listed to its end
            if entry.name.lower().endswith(ARCHIVE_SUFFIXES):
                archives.append(Path(entry.path))
    return sorted(filter(is_archive, archives))


def members(path: Path) -> Iterator[Member]:
    """The members of an archive in order, folders left out; `InputError` where it is damaged or a decompression bomb."""
    allowed = max(ALWAYS_ALLOWED_BYTES, MAX_EXPANSION * path.stat().st_size)
    total, done = 0, 0
    try:
        for member in _zip_members(path) if zipfile.is_zipfile(path) else _tar_members(path):
            total += member.size
            if total > allowed:
                raise InputError(
                    f"{path} would unpack to more than {MAX_EXPANSION} times its size, as no archive of photos does"
                )
            yield member
            done += 1
    except _DAMAGE as error:
        raise InputError(f"{path} is damaged after {done} files ({error}); fetch it again") from error


def unpack_images(path: Path, folder: Path, limits: ImageLimits) -> Mapping[str, int]:
    """Write the pictures of an archive below `folder`, each under its own name, undecoded; how many by outcome.

    Outcomes are "written", "already_there" (a file of that size: a second run goes on where the first ended),
    "not_a_photo", "unsafe_path", "too_many_bytes" and "unreadable_file".
    """
    every = track(members(path), f"unpacking {path.name}", unit="file")
    return dict(sorted(Counter(_unpack(member, folder, limits) for member in every).items()))


def _unpack(member: Member, folder: Path, limits: ImageLimits) -> str:
    if not is_safe_path(member.name):
        return "unsafe_path"
    if not (member.is_file and is_image(member.name)):
        return "not_a_photo"
    if member.size > limits.max_bytes:
        return "too_many_bytes"
    target = folder / member.name
    if target.is_file() and target.stat().st_size == member.size:
        return "already_there"
    if not target.parent.resolve().is_relative_to(folder.resolve()):
        return "unsafe_path"
    try:
        content = member.read(limits.max_bytes + 1)
    except RefusedImage as refusal:
        return refusal.reason
    if len(content) > limits.max_bytes:
        return "too_many_bytes"
    write_bytes(target, content)
    return "written"


def _zip_members(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                # The upper half of the attributes is the Unix mode; 0o12 is a symbolic link.
                is_link = info.external_attr >> 28 == 0o12
                yield Member(info.filename, info.file_size, not is_link, partial(_read_zip, archive, info))


def _read_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int) -> bytes:
    try:
        with archive.open(info) as file:
            return file.read(limit)
    except _DAMAGE as error:
        name = f"{info.filename} of {archive.filename}"
        raise RefusedImage("unreadable_file", f"{name} cannot be read: {error}", str(error)) from error


def _tar_members(path: Path) -> Iterator[Member]:
    with tarfile.open(path, "r|*") as archive:
        for info in archive:
            if not info.isdir():
                yield Member(info.name.removeprefix("./"), info.size, info.isfile(), partial(_read_tar, archive, info))


def _read_tar(archive: tarfile.TarFile, info: tarfile.TarInfo, limit: int) -> bytes:
    try:
        file = archive.extractfile(info)
        return file.read(limit) if file is not None else b""
    except _DAMAGE as error:
        raise InputError(f"{archive.name!s} is damaged in its file {info.name} ({error}); fetch it again") from error

"""Tar and zip archives of pictures: read member by member, and unpacked safely.

An archive comes from outside: a member is read up to a limit, a name or a link that leads out of the folder is refused, and
so is an archive that is a decompression bomb.
"""

import os
import posixpath
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from geoloc_core.errors import InputError
from geoloc_core.photos.compressed import open_bytes
from geoloc_core.photos.file_names import LONGEST_PATH, is_image, is_safe_path
from geoloc_core.photos.images import ImageLimits, RefusedImage, resolve_inside, write_inside
from geoloc_core.progress import track

# Pictures are compressed already: an archive of them hardly shrinks.
MAX_EXPANSION, ALWAYS_ALLOWED_BYTES = 20, 1 << 30

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")

MAX_HEADER_BYTES = 1 << 20  # of a long name or of PAX records
_LONG_HEADERS = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)


@dataclass(frozen=True)
class Member:
    """One file of an archive.

    `read(limit)` gives at most `limit` bytes, once, while the archive is at this member; it raises `RefusedImage` where
    only this member is damaged (zip), `InputError` where nothing can be read after it either (tar).
    """

    name: str
    size: int  # as the archive declares it
    reason: str  # "" for a file; of a link or a device, why it is none
    read: Callable[[int], bytes]


def is_archive(path: Path) -> bool:
    """Whether the content is a zip, or a tar, plain or compressed, that begins with a file."""
    try:
        return path.is_file() and (
            zipfile.is_zipfile(path) or next(_tar_members(path, tarfile.BLOCKSIZE), None) is not None
        )
    except Exception:  # noqa: BLE001 - on hostile bytes a parser may raise anything
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
    except InputError:
        raise
    except Exception as error:  # on hostile bytes a parser may raise anything
        raise InputError(f"{path} is damaged after {done} files ({error}); fetch it again") from error


def unpack_images(path: Path, folder: Path, limits: ImageLimits) -> Mapping[str, int]:
    """Write the pictures of an archive below `folder`, each under its own name, undecoded; how many by outcome.

    Outcomes are "written", "already_there" (a file of that size: a second run goes on where the first ended),
    "not_a_photo", "unsafe_path", "too_many_bytes" and "unreadable_file".
    """
    every = track(members(path), f"unpacking {path.name}", unit="file")
    return dict(sorted(Counter(_unpack(member, folder, limits) for member in every).items()))


def _unpack(member: Member, folder: Path, limits: ImageLimits) -> str:
    if member.reason or not is_image(member.name):
        return member.reason or ("not_a_photo" if is_safe_path(member.name) else "unsafe_path")
    if member.size > limits.max_bytes:
        return "too_many_bytes"
    try:
        target = resolve_inside(folder, member.name)
        if target.is_file() and target.stat().st_size == member.size:
            return "already_there"
        content = member.read(limits.max_bytes + 1)
        if len(content) > limits.max_bytes:
            return "too_many_bytes"
        write_inside(folder, member.name, content)
    except RefusedImage as refusal:
        return refusal.reason
    return "written"


def _link_reason(folder: str, target: str) -> str:
    """Why a link is no photo: it leads out of the archive, or to a member, which is a photo of its own."""
    return "not_a_photo" if is_safe_path(posixpath.normpath(posixpath.join(folder, target))) else "unsafe_path"


def _zip_members(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                read = partial(_read_zip, archive, info)
                # The upper half of the attributes is the Unix mode; 0o12 is a symbolic link, whose content is its target.
                is_link = info.external_attr >> 28 == 0o12
                target = read(LONGEST_PATH).decode("utf-8", "replace") if is_link else ""
                reason = _link_reason(posixpath.dirname(info.filename), target) if is_link else ""
                yield Member(info.filename, info.file_size, reason, read)


def _read_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int) -> bytes:
    try:
        with archive.open(info) as file:
            return file.read(limit)
    except Exception as error:  # on hostile bytes a parser may raise anything
        name = f"{info.filename} of {archive.filename}"
        raise RefusedImage("unreadable_file", f"{name} cannot be read: {error}", str(error)) from error


class _Header(tarfile.TarInfo):
    """A header of a tar; `tarfile` itself would hold any length of name or records that one declares."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        info = super().frombuf(buf, encoding, errors)
        if info.size > MAX_HEADER_BYTES and info.type in _LONG_HEADERS:
            raise InputError(f"the archive declares a name of {info.size} bytes; the limit is {MAX_HEADER_BYTES}")
        return info


def _tar_members(path: Path, read_bytes: int = 20 * tarfile.BLOCKSIZE) -> Iterator[Member]:
    with (
        open_bytes(path, MAX_EXPANSION, ALWAYS_ALLOWED_BYTES) as file,
        tarfile.open(fileobj=file, mode="r|", tarinfo=_Header, bufsize=read_bytes) as archive,
    ):
        while (info := archive.next()) is not None:
            # Read once, from first to last: the list of all would take a kilobyte for each.
            archive.members = []  # type: ignore[attr-defined]
            name = info.name.removeprefix("./")
            if not info.isdir():
                folder = posixpath.dirname(name) if info.issym() else ""
                reason = _link_reason(folder, info.linkname) if info.issym() or info.islnk() else ""
                reason = reason or ("" if info.isfile() else "not_a_photo")
                yield Member(name, info.size, reason, partial(_read_tar, path, archive, info))


def _read_tar(path: Path, archive: tarfile.TarFile, info: tarfile.TarInfo, limit: int) -> bytes:
    try:
        file = archive.extractfile(info)
        return file.read(limit) if file is not None else b""
    except InputError:
        raise
    except Exception as error:  # on hostile bytes a parser may raise anything
        raise InputError(f"{path} is damaged in its file {info.name} ({error}); fetch it again") from error

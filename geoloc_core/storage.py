"""How bytes reach the disk: atomically, and by way of fsspec, so that `s3://` works where a folder does.

A reader never sees half a file. On a local disk the bytes go to a temporary name in the same folder and are renamed
into place; an object store shows an object only when it is complete, which is the same promise.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import fsspec

TEMPORARY_PREFIX = ".geoloc-part-"


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is an address of an object store (`s3://...`) rather than a place on a local disk."""
    return "://" in os.fspath(path) and not os.fspath(path).startswith("file://")


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file that takes the place of `path` when the block ends well, and leaves no trace when it does not."""
    if is_remote(path):
        # fsspec's transaction discards the upload when the block raises.
        filesystem, plain = fsspec.core.url_to_fs(os.fspath(path))
        with filesystem.transaction, filesystem.open(plain, "wb") as file:
            yield file
        return
    with replacing_path(path) as temporary, temporary.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def replacing_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary local path that is renamed to `path` when the block ends well; for libraries that want a path."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, suffix=target.suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files private; what we publish has the permissions any new file would have.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """The block runs while no other process holds `lock`; the system lets go of it when a process dies."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write `content` to `path` atomically."""
    with replacing(path) as file:
        file.write(content)


def write_text(path: str | os.PathLike[str], content: str) -> None:
    """Write `content` to `path` atomically, as UTF-8."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` to `path` atomically, as indented JSON with sorted keys, so that equal values are equal bytes."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """All bytes of `path`, local or remote."""
    with fsspec.open(os.fspath(path), "rb") as file:
        return file.read()


def read_json(path: str | os.PathLike[str]) -> Any:
    """The JSON value kept at `path`."""
    return json.loads(read_bytes(path))


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Hex SHA-256 of a local file's bytes, read in blocks."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def value_sha256(value: Mapping[str, Any] | list[Any] | str) -> str:
    """Hex SHA-256 of a JSON-able value; the order of keys does not matter."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()

"""Files from outside, uncompressed on the way, and never further than a bound: a few bytes may say gigabytes of nothing."""

import bz2
import gzip
import io
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from geoloc_core.errors import InputError

_OPENERS: dict[bytes, Callable[[BinaryIO], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}


def open_bytes(path: Path, expansion: int, always_bytes: int) -> BinaryIO:
    """`path` for reading, uncompressed if its first bytes say gzip, bzip2 or xz, whatever its name.

    Reading raises `InputError` beyond `expansion` times the file's size, where that is more than `always_bytes`.
    """
    try:
        file, size = path.open("rb"), path.stat().st_size
        magic = file.read(6)
        file.seek(0)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    for first_bytes, opener in _OPENERS.items():
        if magic.startswith(first_bytes):
            return io.BufferedReader(_Bounded(file, opener(file), max(always_bytes, expansion * size)), 1 << 16)
    return file


class _Bounded(io.RawIOBase):
    """What `unpacked` gives of `file`, if that is at most `most` bytes."""

    def __init__(self, file: BinaryIO, unpacked: Any, most: int) -> None:
        self._file, self._unpacked, self._most, self._given = file, unpacked, most, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._unpacked.read1(len(buffer))  # what there is, before a damaged place
        self._given += len(content)
        if self._given > self._most:
            name = self._file.name
            raise InputError(f"{name} unpacks to more than the limit of {self._most} bytes, as no file of photos does")
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        self._unpacked.close()
        self._file.close()
        super().close()

"""What a shard has embedded so far, so that a run that was killed goes on from there.

A journal lies beside its shard while that is being made (`<shard>.journal`). It is only ever appended to: a header,
then one record for each batch with a length and a CRC-32, so that a record torn by a kill is recognised and cut off.
The journal is also the lock: whoever has it open has locked it (flock), and the system lets go when a process dies.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

_FRAME = struct.Struct("<4sQI")
_MAGIC = b"glj1"


class Journal:
    """An open, locked journal; `rows` are those that it held when it was opened."""

    def __init__(self, file: BinaryIO, header: Mapping[str, Any], dimension: int) -> None:
        self._file, self._dimension = file, dimension
        self._places: list[tuple[int, int, int]] = []
        self.batch_size = 0
        self.photo_ids: list[str] = []
        self.image_sha256: list[str] = []
        self.status: list[str] = []
        self._header = dict(header)
        self._recover()

    def start(self, batch_size: int) -> None:
        """Begin with this batch size, unless an earlier run already chose one: equal batches give equal bytes."""
        if self.batch_size:
            return
        self.batch_size = batch_size
        self._append(json.dumps({**self._header, "batch_size": batch_size}, sort_keys=True).encode("ascii"))

    def add(
        self, photo_ids: Sequence[str], image_sha256: Sequence[str], status: Sequence[str], vectors: np.ndarray
    ) -> None:
        """Append one batch."""
        names = json.dumps([list(photo_ids), list(image_sha256), list(status)]).encode("ascii")
        end = self._append(struct.pack("<Q", len(names)) + names + vectors.astype("<f2").tobytes())
        self._remember(photo_ids, image_sha256, status, end - vectors.nbytes)

    def vectors(self, first: int, last: int) -> np.ndarray:
        """float16 (last - first, D): the vectors of rows `first` to `last`, as they were added."""
        parts = []
        for start, stop, place in self._places:
            low, high = max(first, start), min(last, stop)
            if low < high:
                width = 2 * self._dimension
                raw = os.pread(self._file.fileno(), (high - low) * width, place + (low - start) * width)
                parts.append(np.frombuffer(raw, np.dtype("<f2")).reshape(high - low, self._dimension))
        return np.concatenate(parts) if parts else np.empty((0, self._dimension), np.float16)

    def _append(self, payload: bytes) -> int:
        self._file.write(_FRAME.pack(_MAGIC, len(payload), zlib.crc32(payload)) + payload)
        self._file.flush()
        return self._file.tell()

    def _remember(
        self, photo_ids: Sequence[str], image_sha256: Sequence[str], status: Sequence[str], place: int
    ) -> None:
        start = len(self.photo_ids)
        self._places.append((start, start + len(photo_ids), place))
        self.photo_ids += photo_ids
        self.image_sha256 += image_sha256
        self.status += status

    def _recover(self) -> None:
        """Read whole records up to the first that is not, and cut off what follows; another maker's are all cut off."""
        self._file.seek(0)
        good = 0
        for number, (payload, end) in enumerate(_records(self._file)):
            if number == 0:
                found = json.loads(payload)
                batch_size = found.pop("batch_size")
                if found != self._header:
                    break
                self.batch_size = batch_size
            else:
                (length,) = struct.unpack_from("<Q", payload)
                ids, hashes, status = json.loads(payload[8 : 8 + length])
                self._remember(ids, hashes, status, end - 2 * len(ids) * self._dimension)
            good = end
        self._file.truncate(good)
        self._file.seek(good)


def _records(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """(payload, offset after it) of each whole record."""
    while True:
        frame = file.read(_FRAME.size)
        if len(frame) < _FRAME.size:
            return
        magic, length, checksum = _FRAME.unpack(frame)
        if magic != _MAGIC or length > os.fstat(file.fileno()).st_size:
            return
        payload = file.read(length)
        if len(payload) < length or zlib.crc32(payload) != checksum:
            return
        yield payload, file.tell()


@contextmanager
def open_journal(path: Path, header: Mapping[str, Any], dimension: int) -> Iterator[Journal]:
    """The journal at `path`, locked; where another process has it, wait until that one is done.

    A block that ends well removes the journal: the shard is written then. One that raises leaves it for the next run.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = _lock(path)
    try:
        yield Journal(file, header, dimension)
        path.unlink()
    finally:
        file.close()


def _lock(path: Path) -> BinaryIO:
    told = False
    while True:
        file = path.open("a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not told:
                print(f"{path} is in use: another process embeds this shard; waiting for it", file=sys.stderr)
                told = True
            fcntl.flock(file, fcntl.LOCK_EX)
        # Whoever held the lock may have removed the file meanwhile; then ours has no name, and a new one is needed.
        try:
            same = os.fstat(file.fileno()).st_ino == path.stat().st_ino
        except FileNotFoundError:
            same = False
        if same:
            return file
        file.close()

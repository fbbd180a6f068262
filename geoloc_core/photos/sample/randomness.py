"""Chance that can be repeated: every draw comes from a stream named by what it decides.

A stream is seeded with a hash of its name, never with the state of another stream, so a shard, an author or a photo
is the same whichever was drawn first, in whichever process.
"""

from __future__ import annotations

import hashlib

import numpy as np


def stream(*name: str | int) -> np.random.Generator:
    """The generator that belongs to `name`, for example `stream(seed, "sample-00", 17)`."""
    return np.random.Generator(np.random.PCG64(int.from_bytes(_digest(name)[:16], "big")))


def digits(count: int, *name: str | int) -> str:
    """`count` decimal digits (at most 18) that belong to `name` and tell nothing about it; the first is not 0."""
    lowest = 10 ** (count - 1)
    return str(lowest + int.from_bytes(_digest(name)[:16], "big") % (9 * lowest))


def hexadecimals(count: int, *name: str | int) -> str:
    """`count` lower-case hexadecimal digits (at most 64) that belong to `name`."""
    return _digest(name).hex()[:count]


def _digest(name: tuple[str | int, ...]) -> bytes:
    # The type is part of the name: the text "1" and the number 1 are different streams.
    parts = (f"{type(part).__name__}:{part}" for part in name)
    return hashlib.sha256("\x1f".join(parts).encode("utf-8")).digest()

"""Progress of long work, on standard error, so that standard output stays a result."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def track(items: Iterable[T], what: str, total: int | None = None, unit: str = "it") -> Iterable[T]:
    """Pass `items` through, showing how many are done, the rate and the time left.

    On a terminal the line is redrawn; in a log file a new state is written every ten seconds at most.
    """
    return tqdm(items, desc=what, total=total, unit=unit, file=sys.stderr, **_pace())


def bar(what: str, total: int | None = None, unit: str = "it") -> tqdm:
    """The same, moved by hand with `.update(n)`; close it, or use it in a `with` block."""
    return tqdm(desc=what, total=total, unit=unit, file=sys.stderr, **_pace())


def _pace() -> dict[str, float | bool | None]:
    quiet = not sys.stderr.isatty()
    return {"mininterval": 10.0 if quiet else 0.2, "delay": 2.0 if quiet else 0.0, "leave": False if quiet else None}

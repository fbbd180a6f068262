"""Progress of long work, on standard error, so that standard output stays a result."""

import sys
from collections.abc import Iterable
from typing import Any, TextIO, TypeVar

from tqdm import tqdm

T = TypeVar("T")

# In a log file a new line is written this often at most, and none for work that ends before the first.
SECONDS_BETWEEN_LINES = 10.0


def track(items: Iterable[T], what: str, total: int | None = None, unit: str = "it") -> Iterable[T]:
    """Pass `items` through, showing how many are done, the rate and the time left."""
    return tqdm(items, desc=what, total=total, unit=unit, **_manner())


def bar(what: str, total: int | None = None, unit: str = "it") -> tqdm:
    """The same, moved by hand with `.update(n)`; close it, or use it in a `with` block."""
    return tqdm(desc=what, total=total, unit=unit, **_manner())


def _manner() -> dict[str, Any]:
    """On a terminal one line, redrawn and taken away at the end; in a log whole lines, few of them."""
    if sys.stderr.isatty():
        return {"file": sys.stderr, "leave": False, "mininterval": 0.2}
    pace = SECONDS_BETWEEN_LINES
    return {"file": _Lines(sys.stderr), "leave": False, "mininterval": pace, "delay": pace, "ncols": 100}


class _Lines:
    """Turns the redrawing of a line into lines that stay."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """One line for each state that says something."""
        if said := text.strip():
            self._stream.write(said + "\n")

    def flush(self) -> None:
        """Pass it on."""
        self._stream.flush()

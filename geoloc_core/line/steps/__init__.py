"""One function for each row of the table: read the inputs, call a room with them, write the output.

The rooms work on arrays, frames and specifications; only these functions know where artifacts lie. `geoloc_core.line.make`
calls them and writes the receipt.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geoloc_core.line.layout import Layout
from geoloc_core.line.profile import Profile
from geoloc_core.line.project import Project
from geoloc_core.storage import file_sha256, value_sha256


class Markdown(str):
    """A text that is Markdown."""

    __slots__ = ()


@dataclass(frozen=True)
class Job:
    """One target to be made.

    also: other partitions of the same artifact that are about to be made; a step may do their work on the way (backbones of
    one shard share a decode). warn: what a person should know of this run.
    """

    project: Project
    key: str
    also: tuple[str, ...] = ()
    warn: Callable[[str], None] = lambda sentence: None

    @property
    def profile(self) -> Profile:
        """What to run."""
        return self.project.profile

    @property
    def layout(self) -> Layout:
        """Where artifacts lie."""
        return self.project.layout


@dataclass(frozen=True)
class Output:
    """What a step wrote.

    version: hash of the content. files: all that belongs to it. rows: how many rows it has in tables of the warehouse.
    facts: what people want to know of it, by name: numbers and texts; a mapping of names to counts; the bytes of a small
    picture; the path of a file; `Markdown`; any other JSON-able value. watched: files that the target stands for without
    owning them: their change makes it stale.
    """

    version: str
    files: Sequence[Path] = ()
    rows: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    watched: Sequence[Path] = ()


def files_version(files: Sequence[Path]) -> str:
    """One version for several files: a hash of their names and contents."""
    return value_sha256([[path.name, file_sha256(path)] for path in sorted(files)])

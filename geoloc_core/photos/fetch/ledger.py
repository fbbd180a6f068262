"""What became of each photo that was asked for, kept line by line, so that a run can go on where the last one ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from geoloc_core.photos.fetch.answers import Outcome


@dataclass(frozen=True)
class Entry:
    """The last that is known of one photo. A permanent refusal holds for the address that was asked."""

    photo_id: str
    url: str
    outcome: str
    reason: str
    detail: str = ""
    http_status: int = 0
    attempts: int = 0

    def settled_for(self, url: str) -> bool:
        """Whether there is nothing to gain from asking `url` again."""
        return self.outcome == Outcome.OK or (self.outcome == Outcome.PERMANENT and self.url == url)


class Ledger:
    """A file of JSON lines that is only ever appended to; the last line about a photo counts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    def read(self) -> Mapping[str, Entry]:
        """The last entry of each photo. A line that a crash left half-written is passed over."""
        found: dict[str, Entry] = {}
        if not self._path.is_file():
            return found
        with self._path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    entry = Entry(**json.loads(line))
                except (ValueError, TypeError):
                    continue
                found[entry.photo_id] = entry
        return found

    def __enter__(self) -> Ledger:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("a+", encoding="utf-8")
        # After a crash the file may end in the middle of a line.
        self._file.write("\n" if self._file.tell() else "")
        return self

    def write(self, entry: Entry) -> None:
        """Append one entry and hand it to the system at once."""
        assert self._file is not None
        self._file.write(json.dumps(asdict(entry), ensure_ascii=False) + "\n")
        self._file.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

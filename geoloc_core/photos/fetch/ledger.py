"""What became of each photo that was asked for, one JSON line each, so that a run can resume where the last one ended."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """The last that is known of one photo; `settings` are those that the verdict depends on, as text."""

    photo_id: str
    url: str
    outcome: str
    reason: str
    detail: str = ""
    http_status: int = 0
    attempts: int = 0
    settings: str = ""


def read_ledger(path: Path) -> Mapping[str, Entry]:
    """The last entry of each photo. A line that a crash left half-written is passed over."""
    entries: dict[str, Entry] = {}
    if path.is_file():
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    entry = Entry(**json.loads(line))
                except (ValueError, TypeError):
                    continue
                entries[entry.photo_id] = entry
    return entries


@contextmanager
def open_ledger(path: Path) -> Iterator[Callable[[Entry], None]]:
    """A function that appends an entry to the file and hands it to the system at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        # After a crash the file may end in the middle of a line.
        file.write("\n" if file.tell() else "")

        def write(entry: Entry) -> None:
            file.write(json.dumps(asdict(entry), ensure_ascii=False) + "\n")
            file.flush()

        yield write

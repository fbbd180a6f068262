"""Good inputs of each kind with bytes changed, inserted, repeated and cut by hypothesis; each is read in a bounded child.

    python -m tests.hostile.fuzz [--examples N] [--kind KIND ...] [--project FOLDER]

What fails is made smaller by hypothesis and printed. The same examples each time, unless `--examples` is more than 50.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.core.photos.conftest import jpeg
from tests.hostile.bounded import WELL
from tests.hostile.corpus import (
    CSV,
    HEADER,
    OK,
    PARQUET,
    RECEIPT,
    TAR,
    TINY_YAML,
    ZIP,
    Hostile,
    encoded,
    geojson,
    in_copy,
    of_file,
    of_receipt,
    text_in,
)
from tests.hostile.readers import NEEDS_PROJECT, READERS, load_libraries
from tests.hostile.run import refreshed, tried

Vessel = Callable[[bytes], Hostile]
TOKENS = [
    b"[",
    b"{",
    b'"',
    b":",
    b",",
    b"\n",
    b"\0",
    b"\xff",
    b"-1",
    b"1e999",
    b"null",
    b"../",
    b"&a ",
    b"*a",
    b"<<: ",
    b"\x1b",
    b"9" * 30,
]
WAYS = ["set", "insert", "repeat", "drop", "cut"]
change = st.tuples(st.integers(0, 2**20), st.sampled_from(WAYS), st.sampled_from(TOKENS) | st.binary(max_size=4))


def edited(good: bytes, changes: list[tuple[int, str, bytes]]) -> bytes:
    """The bytes after every change, each at its place modulo their length."""
    content = good
    for number, what, token in changes:
        place = number % (len(content) + 1)
        before, after = content[:place], content[place:]
        content = {
            "set": before + token + after[len(token) :],
            "insert": before + token + after,
            "repeat": before + (token or b"x") * 5000 + after,
            "drop": before + after[1 + number % 97 :],
            "cut": before or after,
        }[what]
    return content


def vessels(project: Path) -> dict[str, list[tuple[bytes, Vessel]]]:
    """By kind: good bytes, and how other bytes become an input."""

    def file(kind: str, name: str, good: bytes) -> tuple[bytes, Vessel]:
        return good, lambda content: of_file(kind, "fuzz", name, content)

    made = {
        "profile": [file("profile", "p.yaml", TINY_YAML)],
        "table": [file("table", "m.csv", HEADER + CSV[len(HEADER) : 400])],
        "parquet": [file("parquet", "m.parquet", PARQUET)],
        "archive": [file("archive", "a.zip", ZIP), file("archive", "a.tar", TAR[:4096])],
        "picture": [file("picture", "a.jpg", encoded(kind)) for kind in ("JPEG", "PNG", "WEBP", "TIFF", "GIF")],
        "exif": [file("exif", "a.jpg", jpeg((52.0, 30.0, 36.0))[:300])],
        "receipt": [(text_in(Path(), RECEIPT), lambda content: of_receipt("fuzz", content))],
        "answer of a server": [file("answer of a server", "answer", OK + b"Content-Length: 3\r\nX: y\r\n\r\nabc")],
        "boundaries": [file("boundaries", "mine.geojson", geojson())],
    }
    if not (project / "home").is_dir():
        return made

    def copy(kind: str, folder: Path, name: str) -> tuple[bytes, Vessel]:
        return (folder / name).read_bytes()[:20_000], lambda content: in_copy(kind, "fuzz", folder, name, content)

    weights, model = project / "home" / "checkpoints" / "tiny-vit", project / "home" / "model"
    return made | {
        "checkpoint": [copy("checkpoint", weights, "config.json"), copy("checkpoint", weights, "model.safetensors")],
        "packed model": [copy("packed model", model, "model.json"), copy("packed model", model, "head/head.json")],
    }


def fuzz(kind: str, good: bytes, vessel: Vessel, project: Path, folder: Path, examples: int) -> None:
    """AssertionError with the smallest input found that is neither accepted nor refused in one sentence."""

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=examples <= 50,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(change, max_size=6))
    def every_input_is_accepted_or_refused(changes: list[tuple[int, str, bytes]]) -> None:
        judged = tried(vessel(edited(good, changes)), project, folder)
        assert judged.verdict in WELL, f"{kind}: {judged.verdict}: {judged.detail}"

    every_input_is_accepted_or_refused()


def main() -> int:
    """Fuzz every kind; 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=50, help="of each seed")
    parser.add_argument("--kind", action="append", choices=READERS)
    parser.add_argument("--project", type=Path)
    options = parser.parse_args()
    kinds, status = options.kind or list(READERS), 0
    with tempfile.TemporaryDirectory(prefix="geoloc-fuzz-") as temporary:
        folder = Path(temporary)
        needed = not set(kinds).isdisjoint(NEEDS_PROJECT)
        project = options.project or (refreshed(folder / "project") if needed else folder / "none")
        load_libraries(kinds)
        for kind in kinds:
            for good, vessel in vessels(project)[kind]:
                try:
                    fuzz(kind, good, vessel, project, folder, options.examples)
                    print(f"{kind}: nothing found in {options.examples} examples", flush=True)
                except AssertionError as error:
                    print(f"{error}\n" + "\n".join(getattr(error, "__notes__", [])), flush=True)
                    status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())

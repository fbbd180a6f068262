"""A head, packed into one folder that answers by itself: head, places, names of regions, backbones by hash.

Everything is there except the backbones' weights, which are large and shared: the package names each by the hash of its
weights, and `Predictor` refuses others. A head's weights lie on the disk once: the package holds a second name for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from geoloc_core.answers.answer import Answerer, Places
from geoloc_core.answers.kinds import NEAREST_ANSWER
from geoloc_core.errors import CheckpointError
from geoloc_core.evaluation.predictions import continents
from geoloc_core.geography.boundaries import BoundarySet
from geoloc_core.geography.cells import FINEST, LEVELS, ROOT
from geoloc_core.learning.head_files import load_head, read_references
from geoloc_core.learning.refine import REFERENCES_FILE
from geoloc_core.photos.rows import read_rows, write_rows
from geoloc_core.storage import read_json, share_file, write_json

FORMAT = 2
# head.json comes last, as it names the hashes of the others.
HEAD_FILES = ("head.safetensors", REFERENCES_FILE, "head.json")


@dataclass(frozen=True)
class Packed:
    """The package's folder, its files, and which experiments' heads are in it (`companion` may be empty)."""

    folder: Path
    files: list[Path]
    experiment: str
    companion: str = ""

    @classmethod
    def read(cls, folder: Path) -> Packed:
        """What lies in a folder; CheckpointError as in `read_description`."""
        description = read_description(folder)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return cls(folder, files, description["experiment"], description["companion"])


def pack(
    folder: Path,
    head: Path,
    companion: Path | None,
    places: Mapping[str, tuple[Path, Path]],
    boundaries: BoundarySet,
    description: Mapping[str, Any],
) -> Packed:
    """Pack the trained head of a folder, and that of a companion which divides a country's probability.

    places: for each level the files of its anchors and of its cells; description: the rest of model.json. Files of an older
    package that are not needed any more are removed.
    """
    for level, (anchors, cells) in places.items():
        share_file(anchors, folder / f"anchors_{level}.parquet")
        share_file(cells, folder / f"cells_{level}.parquet")
    write_rows(region_names(boundaries), folder / "regions.parquet")
    for part, source in (("head", head), ("companion", companion)):
        for file in HEAD_FILES:
            if source is not None and (file != REFERENCES_FILE or description["answer"] == NEAREST_ANSWER):
                share_file(source / file, folder / part / file)
            else:
                (folder / part / file).unlink(missing_ok=True)
    write_json(folder / "model.json", {"format": FORMAT, **description})
    return Packed.read(folder)


def region_names(boundaries: BoundarySet) -> pd.DataFrame:
    """region_id, level, name, parent_id and continent of every region, without geometry."""
    countries, finer = boundaries.countries, boundaries.subdivisions
    finer = finer.assign(continent=finer["parent_id"].map(continents(boundaries)), level=FINEST)
    columns = ["region_id", "level", "name", "parent_id", "continent"]
    frames = (countries.assign(parent_id="", level=ROOT), finer)
    return pd.concat([pd.DataFrame(frame[columns]) for frame in frames], ignore_index=True)


def read_description(folder: Path) -> dict[str, Any]:
    """What a packed model says of itself; CheckpointError where there is none, or one of another version."""
    try:
        description = read_json(folder / "model.json")
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"there is no packed model in {folder}; make one with `geoloc refresh`, or name another folder with --model"
        ) from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise CheckpointError(f"the model in {folder} was packed by another version; `geoloc refresh` packs it anew")
    return description


def read_answerer(folder: Path, description: Mapping[str, Any]) -> Answerer:
    """The heads of a packed model and the places that they answer with; no backbone is loaded."""
    places = {
        level: Places(read_rows(folder / f"anchors_{level}.parquet"), read_rows(folder / f"cells_{level}.parquet"))
        for level in LEVELS
    }
    head = load_head(folder / "head")
    companion = load_head(folder / "companion") if description["companion"] else None
    references = None
    if description["answer"] == NEAREST_ANSWER:
        # The finest regions are answered with: the companion's where there is one.
        references = read_references(folder / ("companion" if companion else "head"), companion or head)
    return Answerer(head, places, description["answer"], companion, references)

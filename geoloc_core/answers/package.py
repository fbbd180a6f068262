"""A head, packed into one folder that answers by itself: head, places, names of regions, backbones by hash.

Everything is there except the backbones' weights, which are large and shared: the package names each by the hash of its
weights, and `Predictor` refuses others. A head's weights lie on the disk once: the package holds a second name for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from geoloc_core.answers.predict import FORMAT
from geoloc_core.evaluation.evaluate import Evaluation
from geoloc_core.geography.boundaries import read_boundaries
from geoloc_core.learning.refine import REFERENCES_FILE
from geoloc_core.line.layout import Layout
from geoloc_core.line.profile import NEAREST_ANSWER, REGION_LEVELS, Profile
from geoloc_core.photos.rows import write_rows
from geoloc_core.storage import read_json, share_file, write_json

# head.json comes last, as it names the hashes of the others.
HEAD_FILES = ("head.safetensors", REFERENCES_FILE, "head.json")


@dataclass(frozen=True)
class Packed:
    """The package's folder, its files, and which experiments' heads are in it (`companion` may be empty)."""

    folder: Path
    files: list[Path]
    experiment: str
    companion: str = ""


def pack_head(profile: Profile, layout: Layout, key: str, folder: Path, companion: str = "") -> Packed:
    """Pack the head of an experiment, and that of a companion which is asked for the sub-division within the country."""
    for level in REGION_LEVELS:
        share_file(layout.region_anchors(level), folder / f"anchors_{level}.parquet")
        share_file(layout.region_cells(level), folder / f"cells_{level}.parquet")
    write_rows(region_names(layout), folder / "regions.parquet")
    heads = {"head": key, "companion": companion}
    for part, name in heads.items():
        for file in HEAD_FILES:
            needed = file != REFERENCES_FILE or profile.answer_of(key) == NEAREST_ANSWER
            if name and needed:
                share_file(layout.head(name) / file, folder / part / file)
            else:
                (folder / part / file).unlink(missing_ok=True)
    used = [profile.features[profile.experiment(name).features] for name in heads.values() if name]
    names = list(dict.fromkeys(name for features in used for name in features))
    evaluation = Evaluation.from_json(read_json(layout.validation_report(key) / "evaluation.json"))
    description = {
        "format": FORMAT,
        "profile": profile.name,
        "notice": profile.notice,
        "answer": profile.answer_of(key),
        "experiment": key,
        "companion": companion,
        "split": profile.split.model_dump(),
        "backbones": {name: read_json(layout.backbone(name)) for name in names},
        "specifications": {name: asdict(profile.backbone(name)) for name in names},
        "validation": evaluation.to_json()["scores"],
    }
    write_json(folder / "model.json", description)
    return Packed(folder, package_files(folder), key, companion)


def package_files(folder: Path) -> list[Path]:
    """Every file of a package."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def best_by(evaluations: Mapping[str, Evaluation], metric: str) -> str:
    """The key whose `metric` is highest; of equals, the first in the order of the profile."""
    return max(evaluations, key=lambda key: evaluations[key].scores.get(metric, float("-inf")))


def region_names(layout: Layout) -> pd.DataFrame:
    """region_id, level, name, parent_id and continent of every region, without geometry."""
    boundaries = read_boundaries(layout.regions)
    countries = boundaries.countries[["region_id", "name", "continent"]].assign(level="country", parent_id="")
    subdivisions = boundaries.subdivisions[["region_id", "name", "parent_id"]].assign(level="subdivision")
    subdivisions["continent"] = subdivisions["parent_id"].map(countries.set_index("region_id")["continent"])
    frame = pd.concat([countries, subdivisions], ignore_index=True)
    return pd.DataFrame(frame[["region_id", "level", "name", "parent_id", "continent"]])

"""The champion, packed into one folder that answers by itself: heads, anchors, names of regions, backbones by hash.

Everything is there except the backbones' weights, which are large and shared: the package names each by the hash of its
weights, and `Predictor` refuses others.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from geoloc_core.evaluation.evaluate import Evaluation
from geoloc_core.geography.boundaries import read_boundaries
from geoloc_core.layout import Layout
from geoloc_core.photos.rows import read_rows, write_rows
from geoloc_core.profile import REGION_LEVELS, Profile
from geoloc_core.storage import read_json, write_json

FORMAT = 1


@dataclass(frozen=True)
class Packed:
    """The package's folder, its files, what it was made from, and why."""

    folder: Path
    files: list[Path]
    experiment: str
    subdivision_experiment: str
    why: str


def pack_champion(profile: Profile, layout: Layout) -> Packed:
    """Choose the head that answers for new photos and pack it."""
    evaluations = {
        key: Evaluation.from_json(read_json(layout.validation_report(key) / "evaluation.json"))
        for key in profile.experiment_keys()
    }
    best = best_by(evaluations, "accuracy")
    finer = {key: value for key, value in evaluations.items() if profile.experiment(key).level != "country"}
    # A head of countries says nothing of sub-divisions: the best head that does is asked within the country.
    companion = best if best in finer else best_by(finer, "subdivision_accuracy") if finer else ""
    why = (
        f"`{best}` has the highest validation accuracy of {len(evaluations)} experiments: "
        f"{evaluations[best].scores['accuracy']:.1f} %."
    )
    folder = layout.model
    for key, name in ((best, "country"), (companion, "subdivision")):
        if key:
            _copy_head(layout.head(key), folder / name)
    for level in REGION_LEVELS:
        write_rows(read_rows(layout.region_anchors(level)), folder / f"anchors_{level}.parquet")
    write_rows(region_names(layout), folder / "regions.parquet")
    used = [profile.features[profile.experiment(key).features] for key in (best, companion) if key]
    names = list(dict.fromkeys(name for features in used for name in features))
    description = {
        "format": FORMAT,
        "profile": profile.name,
        "notice": profile.notice,
        "anchor": profile.anchor,
        "experiment": best,
        "subdivision_experiment": companion,
        "backbones": {name: read_json(layout.backbone(name)) for name in names},
        "specifications": {name: asdict(profile.backbone(name)) for name in names},
        "validation": evaluations[best].to_json()["scores"],
    }
    write_json(folder / "model.json", description)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return Packed(folder, files, best, companion, why)


def best_by(evaluations: dict[str, Evaluation], metric: str) -> str:
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


def _copy_head(source: Path, target: Path) -> None:
    """Copy the files that answering needs; head.json last, as it names the hash of the weights."""
    target.mkdir(parents=True, exist_ok=True)
    for name in ("head.safetensors", "head.json"):
        shutil.copyfile(source / name, target / f".{name}")
        (target / f".{name}").replace(target / name)

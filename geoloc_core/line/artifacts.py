"""THE table of artifacts: each declared once, with what it is made from, down to the partition.

Dagster's dependencies, partitions and code versions, the plan, the removal of orphans and the command line's lists all
derive from `LINE`. Adding an artifact is one row here and one function in `line/steps/`.

A *target* is an artifact and one of its partitions. Its inputs are other targets, and *settings*: things that no step makes (a
section of the profile, the content of a file), whose value stands for itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoloc_core.geography import EMBEDDED_FILE
from geoloc_core.storage import changed_fields, fingerprint, remembered_sha256, size_and_time, value_sha256

if TYPE_CHECKING:
    from geoloc_core.line.profile import Dataset, Profile

LARGE_BYTES = 2**30
# A setting of more characters is shown, and kept in receipts, by its hash.
LONGEST_SETTING = 120


@dataclass(frozen=True, order=True)
class Target:
    """An artifact and one of its partitions (empty where it has none)."""

    asset: str
    partition: str = ""

    def __str__(self) -> str:
        return f"{self.asset}[{self.partition}]" if self.partition else self.asset


@dataclass(frozen=True)
class Dimension:
    """One way in which artifacts are divided; `keys` says into what."""

    name: str
    keys: Callable[[Profile], tuple[str, ...]]


SHARD = Dimension("shard", lambda profile: profile.shards())
BACKBONE = Dimension("backbone", lambda profile: profile.backbones())
EXPERIMENT = Dimension("experiment", lambda profile: profile.experiment_keys())
BENCHMARK = Dimension("benchmark", lambda profile: profile.benchmark_names())
LEVEL = Dimension("level", lambda profile: profile.levels())
DIMENSIONS = (SHARD, BACKBONE, EXPERIMENT, BENCHMARK, LEVEL)

# (profile, own key) -> the keys of the upstream artifact that this partition is made from.
Selection = Callable[["Profile", str], "tuple[str, ...]"]
# (profile, own key) -> settings by name; a value that is called reads the content of something on the disk.
Settings = Callable[["Profile", str], "dict[str, Any]"]


def same(profile: Profile, key: str) -> tuple[str, ...]:
    """The partition of the same key."""
    return (key,)


def whole(profile: Profile, key: str) -> tuple[str, ...]:
    """An artifact that is not divided."""
    return ("",)


def first(profile: Profile, key: str) -> tuple[str, ...]:
    """The first part of a key of two dimensions."""
    return (key.split("|")[0],)


def second(profile: Profile, key: str) -> tuple[str, ...]:
    """The second part of a key of two dimensions."""
    return (key.split("|")[1],)


def every(*dimensions: Dimension) -> Selection:
    """All partitions of the upstream artifact."""
    return lambda profile, key: keys_of(profile, dimensions)


def _text_towers(profile: Profile, key: str) -> tuple[str, ...]:
    """The backbones that share their space with sentences; each has a zero-shot row in the tables."""
    return tuple(name for name in profile.backbones() if profile.backbone(name).has_text_tower)


def _training_vectors(profile: Profile, key: str) -> tuple[str, ...]:
    return tuple(f"{name}|{shard}" for name in profile.backbones_of(key) for shard in profile.training_shards())


def _benchmark_vectors(profile: Profile, key: str) -> tuple[str, ...]:
    benchmark, experiment = key.split("|")
    return tuple(f"{name}|{benchmark}" for name in profile.backbones_of(experiment))


def _zero_shot_vectors(profile: Profile, key: str) -> tuple[str, ...]:
    return tuple(f"{name}|{shard}" for name in _text_towers(profile, key) for shard in profile.shards())


def from_profile(*names: str, answers: Selection | None = None) -> Settings:
    """The values of keys of the profile, and how each of the experiments that `answers` selects answers."""

    def settings(profile: Profile, key: str) -> dict[str, Any]:
        experiments = answers(profile, key) if answers else ()
        values = {name: getattr(profile, name) for name in names}
        return values | {f"answer of {experiment}": profile.answer_of(experiment) for experiment in experiments}

    return settings


NO_SETTINGS = from_profile()


@dataclass(frozen=True)
class Artifact:
    """One row of the table.

    Its step is the function of its name in `line/steps/GROUP.py`, whose docstring is what people read.

    version: raised when the step would write something else from the same inputs. by: dimensions, in the order of their
    names. made_from: upstream artifacts, each with the selection of its partitions. settings: what else the content
    depends on. suffix: how the name of its file ends, empty for a folder. pool: "gpu" or "warehouse", where only one step
    works at a time.
    """

    group: str
    version: str = "1"
    by: tuple[Dimension, ...] = ()
    made_from: Mapping[str, Selection] = field(default_factory=dict)
    settings: Settings = NO_SETTINGS
    kinds: tuple[str, ...] = ("parquet",)
    suffix: str = ""
    pool: str = ""


def _delivery_settings(profile: Profile, shard: str) -> dict[str, Any]:
    if (membership := profile.dataset_of(shard)) is None:
        return {"drawn": profile.drawn, "embedded boundaries": lambda: content_version(EMBEDDED_FILE)}
    return {f"metadata of {membership[0].name}": lambda: content_version(Path(membership[0].metadata))}


def _rows_settings(profile: Profile, shard: str) -> dict[str, Any]:
    if (membership := profile.dataset_of(shard)) is None:
        return {}
    names = ("name", "source", "shards", "rows_per_shard", "columns")
    # Options of a later day leave the settings of a dataset that does not use them as they were.
    later = changed_fields(membership[0])
    settings = {name: getattr(membership[0], name) for name in names}
    return {
        f"rows of {membership[0].name}": settings | {name: later[name] for name in ("rows", "url") if name in later}
    }


def _picture_settings(profile: Profile, shard: str) -> dict[str, Any]:
    if (membership := profile.dataset_of(shard)) is None:
        return {"images": profile.images}
    dataset = membership[0]
    pictures = {f"pictures of {dataset.name}": lambda: pictures_version(dataset)}
    # What was blocked is asked for again once its network is allowed.
    networks = profile.fetching.allowed_networks if dataset.fetch else ()
    return {"images": profile.images, **pictures, **({"networks": networks} if networks else {})}


def _split_settings(profile: Profile, key: str) -> dict[str, Any]:
    shards = {"training": profile.training_shards(), "benchmarks": profile.benchmark_names()}
    return {"split": profile.split, "shards": shards}


def _head_settings(profile: Profile, key: str) -> dict[str, Any]:
    from geoloc_core.learning.recipes import head_spec, recipe

    experiment = profile.experiment(key)
    return {
        f"recipe {experiment.recipe}": recipe(experiment.recipe),
        f"head {experiment.head}": head_spec(experiment.head),
        "seed": profile.seed,
        "features": profile.backbones_of(key),
    }


def _boundary_settings(profile: Profile, key: str) -> dict[str, Any]:
    return {f"boundaries {profile.boundaries}": lambda: boundary_version(profile.boundaries)}


def _backbone_settings(profile: Profile, name: str) -> dict[str, Any]:
    return {f"specification of {name}": profile.backbone(name).fingerprint()}


# fmt: off
LINE: dict[str, Artifact] = {
    "regions": Artifact("geography", suffix=".parquet", settings=_boundary_settings),
    "deliveries": Artifact("photos", "2", by=(SHARD,), settings=_delivery_settings, kinds=("file",)),
    "raw_photos": Artifact(
        "photos", "2", by=(SHARD,), suffix=".parquet", settings=_rows_settings, kinds=("parquet", "pandera"),
        made_from={"deliveries": same}),
    "images": Artifact(
        "photos", "3", by=(SHARD,), suffix=".parquet", settings=_picture_settings, kinds=("parquet", "pandera"),
        made_from={"deliveries": same, "raw_photos": same}),
    "labeled_photos": Artifact(
        "photos", by=(SHARD,), pool="warehouse", kinds=("duckdb", "pandera"), settings=from_profile("near_cap_km"),
        made_from={"raw_photos": same, "regions": whole}),
    "training_photos": Artifact(
        "photos", "2", pool="warehouse", kinds=("duckdb", "pandera"), settings=_split_settings,
        made_from={"labeled_photos": every(SHARD), "images": every(SHARD)}),
    "class_distribution": Artifact(
        "photos", "3", kinds=("parquet", "pandera"), settings=from_profile("map_country"),
        made_from={"training_photos": whole, "regions": whole}),
    "backbones": Artifact(
        "features", by=(BACKBONE,), suffix=".json", kinds=("pytorch", "huggingface"), settings=_backbone_settings),
    "embeddings": Artifact(
        "features", "4", by=(BACKBONE, SHARD), suffix=".parquet", kinds=("parquet", "pytorch"), pool="gpu",
        made_from={"backbones": first, "images": second}),
    "class_weights": Artifact("learning", "2", by=(LEVEL,), suffix=".parquet", made_from={"training_photos": whole}),
    "region_anchors": Artifact(
        "learning", "3", by=(LEVEL,), suffix=".parquet", made_from={"training_photos": whole, "regions": whole}),
    "heads": Artifact(
        "learning", "5", by=(EXPERIMENT,), kinds=("pytorch", "mlflow"), pool="gpu", settings=_head_settings,
        made_from={"training_photos": whole, "embeddings": _training_vectors,
                   "class_weights": lambda profile, key: (profile.experiment(key).cells,)}),
    "validation_report": Artifact(
        "evaluation", "4", by=(EXPERIMENT,), settings=from_profile("name", "notice", "split", answers=same),
        # Regions and backbones: what the packed head says of itself, beyond its own files.
        made_from={"heads": same, "training_photos": whole, "region_anchors": every(LEVEL), "embeddings": _training_vectors,
                   "regions": whole, "backbones": lambda profile, key: profile.backbones_of(key)}),
    "benchmark_report": Artifact(
        "evaluation", "4", by=(BENCHMARK, EXPERIMENT), settings=from_profile(answers=second),
        made_from={"heads": second, "labeled_photos": first, "region_anchors": every(LEVEL),
                   "embeddings": _benchmark_vectors}),
    "results": Artifact(
        "evaluation", "5", kinds=("markdown",),
        settings=from_profile("name", "notice", "map_country", answers=every(EXPERIMENT)),
        made_from={"class_distribution": whole, "training_photos": whole, "regions": whole,
                   "labeled_photos": every(BENCHMARK), "images": every(BENCHMARK), "region_anchors": every(LEVEL),
                   "backbones": _text_towers, "embeddings": _zero_shot_vectors,
                   "validation_report": every(EXPERIMENT), "benchmark_report": every(BENCHMARK, EXPERIMENT)}),
    "champion": Artifact(
        "evaluation", "3", kinds=("mlflow",), settings=from_profile(answers=every(EXPERIMENT)),
        made_from={"results": whole, "heads": every(EXPERIMENT), "validation_report": every(EXPERIMENT),
                   "region_anchors": every(LEVEL), "regions": whole, "backbones": every(BACKBONE)}),
}
# fmt: on
# Upstream before downstream.
ASSETS = tuple(LINE)


def keys_of(profile: Profile, dimensions: tuple[Dimension, ...]) -> tuple[str, ...]:
    """The partition keys of artifacts that are divided so; `("",)` for those that are not divided."""
    keys: tuple[str, ...] = ("",)
    for dimension in dimensions:
        keys = tuple("|".join(filter(None, (key, own))) for key in keys for own in dimension.keys(profile))
    return keys


def partitions(profile: Profile, asset: str) -> tuple[str, ...]:
    """Keys of all partitions that an artifact should have."""
    return keys_of(profile, LINE[asset].by)


def targets(profile: Profile) -> Iterator[Target]:
    """Every target of a profile, upstream before downstream."""
    for asset in ASSETS:
        for key in partitions(profile, asset):
            yield Target(asset, key)


def upstream(profile: Profile, target: Target) -> tuple[Target, ...]:
    """The targets that a target is made from."""
    row = LINE[target.asset]
    return tuple(
        Target(asset, key) for asset, select in row.made_from.items() for key in select(profile, target.partition)
    )


def setting_versions(profile: Profile, target: Target) -> dict[str, str]:
    """What else a target is made from, by name: short settings as they read, long ones and files by their hash."""
    settings = LINE[target.asset].settings(profile, target.partition)
    return {f"profile: {name}": value() if callable(value) else _readable(value) for name, value in settings.items()}


def _readable(value: Any) -> str:
    """A setting as one line of JSON; of a section of the profile only what differs from the defaults."""
    text = json.dumps(changed_fields(value), sort_keys=True, ensure_ascii=False)
    return text if len(text) <= LONGEST_SETTING else fingerprint({"value": value})


def boundary_version(source: str) -> str:
    """Content of a boundary set: the bytes of the files that it is read from."""
    if source == "embedded":
        return content_version(EMBEDDED_FILE)
    from geoloc_core.geography.boundaries import source_files

    return value_sha256([content_version(path) for path in source_files(source)])


def pictures_version(dataset: Dataset) -> str:
    """Where a dataset's pictures are, and the size and time of each archive of them.

    The files of a folder of pictures are not looked at: listing millions at each plan is too much. Who adds some remakes
    `images` (`geoloc run images --partition SHARD`).
    """
    from geoloc_core.photos.archives import archives_in

    archives = [[file.name, *size_and_time(file)] for file in archives_in(Path(dataset.images or dataset.metadata))]
    return value_sha256([dataset.images, dataset.layout, dataset.fetch, archives])


def content_version(path: Path) -> str:
    """Content of a file; of a folder, its listing with sizes and times, as hashing every photo at each plan is too much.

    A file of more than `LARGE_BYTES` goes by its size and time as well. "absent" where there is nothing: the step that needs
    it will say so in its own words.
    """
    if path.is_dir():
        files = (file for file in path.rglob("*") if file.is_file())
        return value_sha256(sorted([str(file.relative_to(path)), *size_and_time(file)] for file in files))
    if not path.is_file():
        return "absent"
    if path.stat().st_size > LARGE_BYTES:
        return value_sha256([[path.name, *size_and_time(path)]])
    return remembered_sha256(path)

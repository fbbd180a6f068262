"""THE table of artifacts: each declared once, with what it is made from, down to the partition.

Dagster's dependencies, partitions and code versions, the plan, the removal of orphans and the command line's lists all
derive from `LINE`. Adding an artifact is one row here and one function in `line/steps/`.

A *target* is an artifact and one of its partitions. Its inputs are other targets, and *settings*: things that no step makes (a
section of the profile, the content of a file), whose value stands for itself.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoloc_core.geography import EMBEDDED_FILE
from geoloc_core.storage import changed_fields, file_sha256, fingerprint, value_sha256

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


def _cells(profile: Profile, key: str) -> tuple[str, ...]:
    return (profile.experiment(key).cells,)


def _backbones(profile: Profile, key: str) -> tuple[str, ...]:
    return profile.backbones_of(key)


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


def _all_benchmarks(profile: Profile, key: str) -> tuple[str, ...]:
    return profile.benchmark_names()


def _no_settings(profile: Profile, key: str) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Artifact:
    """One row of the table.

    step: function of `line/steps/`, as "module.function"; it is called with a `Job`. version: raised when the step would
    write something else from the same inputs. by: dimensions, in the order of their names. made_from: upstream artifacts, each
    with the selection of its partitions. settings: what else the content depends on. suffix: how the name of its
    file ends, empty where it is a folder. pool: "gpu" or "warehouse", where
    only one step may work at a time.
    """

    group: str
    step: str
    description: str
    version: str = "1"
    by: tuple[Dimension, ...] = ()
    made_from: Mapping[str, Selection] = field(default_factory=dict)
    settings: Settings = _no_settings
    kinds: tuple[str, ...] = ("parquet",)
    suffix: str = ""
    pool: str = ""


def _delivery_settings(profile: Profile, shard: str) -> dict[str, Any]:
    membership = profile.dataset_of(shard)
    if membership is None:
        return {"drawn": profile.drawn, "embedded boundaries": lambda: content_version(EMBEDDED_FILE)}
    dataset = membership[0]
    return {f"metadata of {dataset.name}": lambda: content_version(Path(dataset.metadata))}


def _rows_settings(profile: Profile, shard: str) -> dict[str, Any]:
    membership = profile.dataset_of(shard)
    if membership is None:
        return {}
    dataset = membership[0]
    names = ("name", "source", "shards", "rows_per_shard", "columns")
    return {f"rows of {dataset.name}": {name: getattr(dataset, name) for name in names}}


def _picture_settings(profile: Profile, shard: str) -> dict[str, Any]:
    membership = profile.dataset_of(shard)
    pictures = {} if membership is None else {f"pictures of {membership[0].name}": pictures_version(membership[0])}
    return {"images": profile.images, **pictures}


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


def _answer(profile: Profile, key: str) -> dict[str, Any]:
    return {f"answer of {key}": profile.answer_of(key)}


def _answers(profile: Profile) -> dict[str, Any]:
    return {name: value for key in profile.experiment_keys() for name, value in _answer(profile, key).items()}


LINE: dict[str, Artifact] = {
    "regions": Artifact(
        "geography",
        "geography.regions",
        "Countries and their first-level sub-divisions: the cells that a photo can be labelled with. Countries are the union "
        "of their sub-divisions, so the two levels never disagree. What had to be repaired in a boundary set is listed with "
        "each materialization.",
        settings=lambda profile, key: {
            f"boundaries {profile.boundaries}": lambda: boundary_version(profile.boundaries)
        },
        suffix=".parquet",
    ),
    "deliveries": Artifact(
        "photos",
        "photos.deliveries",
        "A metadata file as it arrived, with the photos that it names. The sample's deliveries are drawn by the program; all "
        "others lie where the profile says, and only their content is recorded here.",
        "2",
        by=(SHARD,),
        settings=_delivery_settings,
        kinds=("file",),
    ),
    "raw_photos": Artifact(
        "photos",
        "photos.raw_photos",
        "One row for each photo that the delivery names. Rows that cannot be used lie beside it, each with its number, the "
        "reason and the raw text: accepted + rejected = rows in.",
        "2",
        by=(SHARD,),
        made_from={"deliveries": same},
        settings=_rows_settings,
        kinds=("parquet", "pandera"),
        suffix=".parquet",
    ),
    "images": Artifact(
        "photos",
        "photos.images",
        "Manifest of the pictures: size, hash and perceptual hash of each, or the reason why there is none. Archives are "
        "unpacked, and pictures fetched by their URLs, on the way; a second materialization asks only for what did not come.",
        "3",
        by=(SHARD,),
        made_from={"deliveries": same, "raw_photos": same},
        settings=_picture_settings,
        kinds=("parquet", "pandera"),
        suffix=".parquet",
    ),
    "labeled_photos": Artifact(
        "photos",
        "photos.labeled_photos",
        "The country and the sub-division of each photo, and how that is known: `inside` a polygon, `near` one (with the "
        "distance), or `none`.",
        by=(SHARD,),
        made_from={"raw_photos": same, "regions": whole},
        settings=lambda profile, key: {"near_cap_km": profile.near_cap_km},
        kinds=("duckdb", "pandera"),
        pool="warehouse",
    ),
    "training_photos": Artifact(
        "photos",
        "photos.training_photos",
        "The photos that heads learn from, split by author. Excluded, each with its reason: benchmark photos, their authors, "
        "near-duplicates of them, photos without a label or a usable picture.",
        "2",
        made_from={"labeled_photos": every(SHARD), "images": every(SHARD)},
        settings=_split_settings,
        kinds=("duckdb", "pandera"),
        pool="warehouse",
    ),
    "class_distribution": Artifact(
        "photos",
        "photos.class_distribution",
        "Table 1: photos of each country and sub-division, the head and the tail, and the coverage map.",
        "2",
        made_from={"training_photos": whole, "regions": whole},
        settings=lambda profile, key: {"map_country": profile.map_country},
        kinds=("parquet", "pandera"),
    ),
    "backbones": Artifact(
        "features",
        "features.backbones",
        "The identity of a frozen encoder: its specification and the hash of its weights. The sample's weights are made here "
        "from a seed; all others must be there, and their hash is taken.",
        by=(BACKBONE,),
        settings=lambda profile, name: {f"specification of {name}": profile.backbone(name).fingerprint()},
        kinds=("pytorch", "huggingface"),
        suffix=".json",
    ),
    "embeddings": Artifact(
        "features",
        "features.embeddings",
        "One float16 vector for each usable picture of a shard; a picture without one is a row with the reason. Only what is "
        "missing is embedded: a killed run goes on from what it had, ten more photos embed ten.",
        "3",
        by=(BACKBONE, SHARD),
        made_from={"backbones": first, "images": second},
        kinds=("parquet", "pytorch"),
        pool="gpu",
        suffix=".parquet",
    ),
    "class_weights": Artifact(
        "learning",
        "learning.class_weights",
        "How much one photo of each region counts in the loss, by scheme: inverse frequency (the thesis), its square root, "
        "the effective number of samples, none.",
        "2",
        by=(LEVEL,),
        made_from={"training_photos": whole},
        suffix=".parquet",
    ),
    "region_anchors": Artifact(
        "learning",
        "learning.region_anchors",
        "The coordinates that a region answers with: the polygon's centroid (the thesis), and points fitted to the training "
        "photos: mean, medoid, the best point by GeoScore, within 200 km and within 750 km; and where in each region the "
        "training photos are, for answers from the whole posterior.",
        "3",
        by=(LEVEL,),
        made_from={"training_photos": whole, "regions": whole},
        suffix=".parquet",
    ),
    "heads": Artifact(
        "learning",
        "learning.heads",
        "A small classifier on frozen vectors: given a photo's vector, how probable is each region. Its partition reads "
        "features.head.level.recipe: which backbones, which network, which cells, how it is trained.",
        "3",
        by=(EXPERIMENT,),
        made_from={"training_photos": whole, "class_weights": _cells, "embeddings": _training_vectors},
        settings=_head_settings,
        kinds=("pytorch", "mlflow"),
        pool="gpu",
    ),
    "validation_report": Artifact(
        "evaluation",
        "evaluation.validation_report",
        "One experiment on the validation photos, whose authors it never learned from: every prediction, the scores of Table "
        "2, and how well the head's promises of certainty hold; and the head, packed so that it answers by itself and logged "
        "in MLflow as a model.",
        "3",
        by=(EXPERIMENT,),
        made_from={
            "heads": same,
            "training_photos": whole,
            "region_anchors": every(LEVEL),
            "embeddings": _training_vectors,
            # What the packed head says of itself, beyond its own files.
            "regions": whole,
            "backbones": _backbones,
        },
        settings=lambda profile, key: {
            "name": profile.name,
            "notice": profile.notice,
            "split": profile.split,
            **_answer(profile, key),
        },
    ),
    "benchmark_report": Artifact(
        "evaluation",
        "evaluation.benchmark_report",
        "One experiment on one benchmark: every photo of it counts, those without a picture as wrong.",
        "3",
        by=(BENCHMARK, EXPERIMENT),
        made_from={
            "heads": second,
            "labeled_photos": first,
            "region_anchors": every(LEVEL),
            "embeddings": _benchmark_vectors,
        },
        settings=lambda profile, key: _answer(profile, key.split("|")[1]),
    ),
    "results": Artifact(
        "evaluation",
        "evaluation.results",
        "Tables 1, 2 and 3 beside the class prior, the best constant point, a random photo and zero-shot CLIP; maps; the "
        "HTML report.",
        "3",
        made_from={
            "class_distribution": whole,
            "training_photos": whole,
            "regions": whole,
            "labeled_photos": _all_benchmarks,
            "images": _all_benchmarks,
            "region_anchors": every(LEVEL),
            "backbones": _text_towers,
            "embeddings": _zero_shot_vectors,
            "validation_report": every(EXPERIMENT),
            "benchmark_report": every(BENCHMARK, EXPERIMENT),
        },
        settings=lambda profile, key: {
            "name": profile.name,
            "notice": profile.notice,
            "map_country": profile.map_country,
            **_answers(profile),
        },
        kinds=("markdown",),
    ),
    "champion": Artifact(
        "evaluation",
        "evaluation.champion",
        "The head that answers for new photos, packed with all it needs except the backbones' weights, registered in MLflow "
        "under the alias `champion`. The best head on the validation photos challenges it; it moves only if that one is better "
        "beyond its interval and loses on no continent more than a margin. Why is recorded in champion.json.",
        "3",
        made_from={
            "results": whole,
            "heads": every(EXPERIMENT),
            "validation_report": every(EXPERIMENT),
            "region_anchors": every(LEVEL),
            "regions": whole,
            "backbones": every(BACKBONE),
        },
        settings=lambda profile, key: _answers(profile),
        kinds=("mlflow",),
    ),
}
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


def pictures_version(dataset: Dataset) -> Callable[[], str]:
    """Where a dataset's pictures are, and the size and time of each archive of them.

    The files of a folder of pictures are not looked at: listing millions at each plan is too much. Who adds some remakes
    `images` (`geoloc run images --partition SHARD`).
    """

    def version() -> str:
        from geoloc_core.photos.archives import archives_in

        archives = [
            [archive.name, archive.stat().st_size, archive.stat().st_mtime_ns]
            for archive in archives_in(Path(dataset.images or dataset.metadata))
        ]
        return value_sha256([dataset.images, dataset.layout, dataset.fetch, archives])

    return version


def content_version(path: Path) -> str:
    """Content of a file; of a folder, its listing with sizes and times, as hashing every photo at each plan is too much.

    A file of more than `LARGE_BYTES` goes by its size and time as well. "absent" where there is nothing: the step that needs
    it will say so in its own words.
    """
    if path.is_dir():
        listing = sorted(
            (str(file.relative_to(path)), file.stat().st_size, file.stat().st_mtime_ns)
            for file in path.rglob("*")
            if file.is_file()
        )
        return value_sha256([list(entry) for entry in listing])
    if not path.is_file():
        return "absent"
    status = path.stat()
    if status.st_size > LARGE_BYTES:
        return value_sha256([[path.name, status.st_size, status.st_mtime_ns]])
    return _file_version(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=4096)
def _file_version(path: Path, size: int, modified_ns: int) -> str:
    # The arguments are the key of the cache: a file that was written anew is read anew.
    return file_sha256(path)

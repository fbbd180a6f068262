"""What each target is made from: the whole graph, down to the partition.

A *target* is an asset and one of its partitions. Its inputs are other targets, and things outside the graph (a file, a
part of the profile) whose content stands for itself. Dagster's own dependencies say the same for whole assets; this page
says it for partitions, and a test holds the two together.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from geoloc_core.line.layout import EMBEDDED_BOUNDARIES
from geoloc_core.line.profile import REGION_LEVELS, Experiment
from geoloc_core.line.project import Project
from geoloc_core.photos.settings import Dataset
from geoloc_core.storage import file_sha256, value_sha256

# Raise a number when the code of that asset changes what it would write from the same inputs.
CODE_VERSIONS = {
    "regions": "1",
    "deliveries": "1",
    "raw_photos": "2",
    "images": "3",
    "labeled_photos": "1",
    "training_photos": "2",
    "class_distribution": "2",
    "backbones": "1",
    "embeddings": "3",
    "class_weights": "2",
    "region_anchors": "3",
    "heads": "3",
    "validation_report": "3",
    "benchmark_report": "3",
    "results": "3",
    "champion": "3",
}
LARGE_BYTES = 2**30

# Upstream before downstream.
ASSETS = tuple(CODE_VERSIONS)


@dataclass(frozen=True, order=True)
class Target:
    """An asset and one of its partitions (empty where the asset has none)."""

    asset: str
    partition: str = ""

    def __str__(self) -> str:
        return f"{self.asset}[{self.partition}]" if self.partition else self.asset


@dataclass(frozen=True)
class Outside:
    """Something that no asset makes; `version` reads its content when asked."""

    name: str
    version: Callable[[], str]

    def __str__(self) -> str:
        return self.name


Input = Target | Outside


def two_dimensional(**keys: str) -> str:
    """The text of a two-dimensional partition key as Dagster writes it: values in the order of the dimensions' names."""
    return "|".join(keys[name] for name in sorted(keys))


class Lineage:
    """The targets of a project and what each is made from."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.profile = project.profile

    def partitions(self, asset: str) -> tuple[str, ...]:
        """Keys of all partitions that an asset should have; `("",)` for an asset without partitions."""
        profile = self.profile
        by_asset: dict[str, Callable[[], tuple[str, ...]]] = {
            "backbones": profile.backbones,
            "embeddings": self._embedding_keys,
            "class_weights": lambda: REGION_LEVELS,
            "region_anchors": lambda: REGION_LEVELS,
            "heads": profile.experiment_keys,
            "validation_report": profile.experiment_keys,
            "benchmark_report": lambda: tuple(
                two_dimensional(experiment=experiment, benchmark=benchmark)
                for experiment in profile.experiment_keys()
                for benchmark in profile.benchmark_names()
            ),
        }
        if asset in by_asset:
            return by_asset[asset]()
        if asset in {"deliveries", "raw_photos", "images", "labeled_photos"}:
            return profile.shards()
        return ("",)

    def _embedding_keys(self) -> tuple[str, ...]:
        return tuple(
            two_dimensional(backbone=backbone, shard=shard)
            for backbone in self.profile.backbones()
            for shard in self.profile.shards()
        )

    def targets(self) -> Iterator[Target]:
        """Every target, upstream before downstream."""
        for asset in ASSETS:
            for partition in self.partitions(asset):
                yield Target(asset, partition)

    def inputs(self, target: Target) -> tuple[Input, ...]:
        """What `target` is made from."""
        return tuple(getattr(self, f"_{target.asset}")(target.partition))

    # One method for each asset, in the order of the line.

    def _regions(self, _: str) -> Iterator[Input]:
        yield Outside(f"boundaries {self.profile.boundaries}", lambda: boundary_version(self.profile.boundaries))

    def _deliveries(self, shard: str) -> Iterator[Input]:
        of = self.profile.dataset_of(shard)
        if of is None:
            assert self.profile.drawn is not None
            drawn = asdict(self.profile.drawn)
            yield Outside("profile: drawn", lambda: value_sha256(drawn))
            yield Outside("boundaries embedded", lambda: boundary_version("embedded"))
        else:
            metadata = Path(of[0].metadata)
            yield Outside(f"metadata of {of[0].name}", lambda: path_version(metadata))

    def _raw_photos(self, shard: str) -> Iterator[Input]:
        yield Target("deliveries", shard)
        of = self.profile.dataset_of(shard)
        if of is not None:
            dataset = of[0]
            rows = {
                "name": dataset.name,
                "source": dataset.source,
                "shards": dataset.shards,
                "rows": dataset.rows_per_shard,
                "columns": dataset.columns,
            }
            yield Outside(f"profile: rows of {dataset.name}", lambda: value_sha256(rows))

    def _images(self, shard: str) -> Iterator[Input]:
        yield Target("deliveries", shard)
        yield Target("raw_photos", shard)
        yield Outside("profile: images", lambda: value_sha256(self.profile.images.model_dump()))
        of = self.profile.dataset_of(shard)
        if of is not None:
            dataset = of[0]
            yield Outside(f"pictures of {dataset.name}", lambda: pictures_version(dataset))

    def _labeled_photos(self, shard: str) -> Iterator[Input]:
        yield Target("raw_photos", shard)
        yield Target("regions")
        yield Outside("profile: near_cap_km", lambda: value_sha256([self.profile.near_cap_km]))

    def _training_photos(self, _: str) -> Iterator[Input]:
        for shard in self.profile.shards():
            yield Target("labeled_photos", shard)
            yield Target("images", shard)
        roles = {"training": list(self.profile.training_shards()), "benchmarks": list(self.profile.benchmark_names())}
        yield Outside("profile: split", lambda: value_sha256({**self.profile.split.model_dump(), **roles}))

    def _class_distribution(self, _: str) -> Iterator[Input]:
        yield Target("training_photos")
        yield Target("regions")
        yield Outside("profile: map_country", lambda: value_sha256([self.profile.map_country]))

    def _backbones(self, name: str) -> Iterator[Input]:
        yield Outside(f"specification of {name}", lambda: self.profile.backbone(name).fingerprint())

    def _embeddings(self, key: str) -> Iterator[Input]:
        backbone, shard = key.split("|")
        yield Target("backbones", backbone)
        yield Target("images", shard)

    def _class_weights(self, _: str) -> Iterator[Input]:
        yield Target("training_photos")

    def _region_anchors(self, _: str) -> Iterator[Input]:
        yield Target("training_photos")
        yield Target("regions")

    def _heads(self, key: str) -> Iterator[Input]:
        experiment = self.profile.experiment(key)
        yield Target("training_photos")
        yield Target("class_weights", "country" if experiment.level == "country" else "subdivision")
        for backbone in self.profile.features[experiment.features]:
            for shard in self.profile.training_shards():
                yield Target("embeddings", two_dimensional(backbone=backbone, shard=shard))
        yield Outside(f"recipe {experiment.recipe}, head {experiment.head}", lambda: recipe_version(experiment))
        settings = [self.profile.seed, self._features(experiment)]
        yield Outside(f"profile: seed, features {experiment.features}", lambda: value_sha256(settings))

    def _features(self, experiment: Experiment) -> list[str]:
        return list(self.profile.features[experiment.features])

    def _validation_report(self, key: str) -> Iterator[Input]:
        experiment = self.profile.experiment(key)
        yield Target("heads", key)
        yield Target("training_photos")
        for level in REGION_LEVELS:
            yield Target("region_anchors", level)
        for backbone in self._features(experiment):
            for shard in self.profile.training_shards():
                yield Target("embeddings", two_dimensional(backbone=backbone, shard=shard))
        # What the packed head says of itself, beyond its own files.
        yield Target("regions")
        for backbone in self._features(experiment):
            yield Target("backbones", backbone)
        told = [self.profile.name, self.profile.notice, self.profile.split.model_dump()]
        yield Outside("profile: name, notice and split", lambda: value_sha256(told))
        yield self._answer(key)

    def _answer(self, key: str) -> Outside:
        return Outside(f"profile: answer of {key}", lambda: value_sha256([self.profile.answer_of(key)]))

    def _benchmark_report(self, key: str) -> Iterator[Input]:
        benchmark, name = key.split("|")
        yield Target("heads", name)
        yield Target("labeled_photos", benchmark)
        for level in REGION_LEVELS:
            yield Target("region_anchors", level)
        for backbone in self._features(self.profile.experiment(name)):
            yield Target("embeddings", two_dimensional(backbone=backbone, shard=benchmark))
        yield self._answer(name)

    def _results(self, _: str) -> Iterator[Input]:
        yield Target("class_distribution")
        yield Target("training_photos")
        yield Target("regions")
        for benchmark in self.profile.benchmark_names():
            yield Target("labeled_photos", benchmark)
            yield Target("images", benchmark)
        for level in REGION_LEVELS:
            yield Target("region_anchors", level)
        # The zero-shot rows ask those backbones that share their space with texts.
        for name in (name for name in self.profile.backbones() if self.profile.backbone(name).has_text_tower):
            yield Target("backbones", name)
            for shard in self.profile.shards():
                yield Target("embeddings", two_dimensional(backbone=name, shard=shard))
        for asset in ("validation_report", "benchmark_report"):
            for partition in self.partitions(asset):
                yield Target(asset, partition)
        profile = self.profile
        answers = [[key, profile.answer_of(key)] for key in profile.experiment_keys()]
        shown = [profile.name, profile.notice, profile.map_country, answers]
        yield Outside("profile: name and notice", lambda: value_sha256(shown))

    def _champion(self, _: str) -> Iterator[Input]:
        yield Target("results")
        for asset in ("heads", "validation_report"):
            for key in self.profile.experiment_keys():
                yield Target(asset, key)
        for level in REGION_LEVELS:
            yield Target("region_anchors", level)
        yield Target("regions")
        for name in self.profile.backbones():
            yield Target("backbones", name)
        for key in self.profile.experiment_keys():
            yield self._answer(key)


def boundary_version(source: str) -> str:
    """Content of a boundary set: the bytes of the files that it is read from."""
    if source == "embedded":
        return path_version(EMBEDDED_BOUNDARIES)
    from geoloc_core.geography.boundaries import source_files

    return value_sha256([path_version(path) for path in source_files(source)])


def recipe_version(experiment: Experiment) -> str:
    """Everything that the recipe and the head's shape say."""
    from geoloc_core.learning.recipes import head_spec, recipe

    return value_sha256([asdict(recipe(experiment.recipe)), asdict(head_spec(experiment.head))])


def pictures_version(dataset: Dataset) -> str:
    """Where a dataset's pictures are, and the size and time of each archive of them.

    The files of a folder of pictures are not looked at: listing millions at each plan is too much. Who adds some remakes
    `images` (`geoloc run images --partition SHARD`).
    """
    from geoloc_core.photos.archives import archives_in

    archives = [
        [archive.name, archive.stat().st_size, archive.stat().st_mtime_ns]
        for archive in archives_in(Path(dataset.images or dataset.metadata))
    ]
    return value_sha256([dataset.images, dataset.layout, dataset.fetch, archives])


def path_version(path: Path) -> str:
    """Content of a file; of a folder, its listing with sizes and times, as hashing every photo at each plan is too much.

    A file of more than `LARGE_BYTES` goes by its size and time as well.
    "absent" where there is nothing: the asset that needs it will say so in its own words.
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
    return _content(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=4096)
def _content(path: Path, size: int, modified_ns: int) -> str:
    # The arguments are the key of the cache: a file that was written anew is read anew.
    return file_sha256(path)

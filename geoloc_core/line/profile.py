"""What to run, never how: a profile is a YAML file that names deliveries, boundaries, backbones and experiments.

Every key is checked; one that is not known is an error that lists those that are. `${NAME}` in a value is taken from the
environment. A profile is looked up by name in the project's `profiles/` folder, or given as a path.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel, ValidationError

from geoloc_core.devices import CHOICES as DEVICES
from geoloc_core.errors import ProfileError
from geoloc_core.photos.settings import IMAGE_LAYOUTS, Dataset, FetchPolicy, ImageLimits, Split

if TYPE_CHECKING:
    from geoloc_core.features.specification import BackboneSpec

LEVELS = ("country", "subdivision", "hierarchical")
# The levels of the boundary set itself; a hierarchical head uses the classes of "subdivision".
REGION_LEVELS = ("country", "subdivision")
# When heads are trained again: as soon as what they are made from differs, or when somebody (or drift) asks for it.
RETRAINING = ("always", "asked")
# What point an answer gives: the anchor of the likeliest region, by kind; the best of all points for the whole posterior; or
# where the training photo of that region was taken that looks most like the photo.
NEAREST_ANSWER = "nearest_photo"
ANSWERS = (
    "centroid", "mean", "medoid", "geoscore", "within200", "within750", "expected_distance", "expected_geoscore",
    NEAREST_ANSWER,
)  # fmt: skip
# The thesis answers with the polygon's centroid; whatever else is compared, its row stays the thesis's.
THESIS_ANSWER = "centroid"
# On IM2GPS, with a simulated classifier that names 39 % of the countries, a mean GeoScore of 1890 against 1545 for the best
# anchor and 1416 for the centroid (peers.md, weak point 6; docs/reproduction.md).
DEFAULT_ANSWER = "expected_geoscore"


@dataclass(frozen=True)
class Drawn:
    """The sample: a dataset that the project draws itself (`geoloc_core.photos.sample`)."""

    seed: int = 20240
    shards: int = 4
    photos_per_shard: int = 600
    benchmarks: dict[str, int] = field(default_factory=lambda: {"sample-im2gps": 120, "sample-im2gps3k": 360})


@dataclass(frozen=True)
class Landing:
    """How a metadata file laid in the landing folder becomes a dataset to learn from.

    `images` is where its pictures are; empty for the landing folder itself (an archive of photos has its own).
    `source` is the layout of the metadata, told from the content where it says auto; `layout` and `fetch` are as in a
    dataset. A file of more rows becomes several shards.
    """

    images: str = ""
    source: str = "auto"
    layout: str = "as_given"
    fetch: bool = False
    rows_per_shard: int = 100_000


@dataclass(frozen=True)
class Experiment:
    """features / head / level / recipe; its key is the name of its partition.

    `answer` is one of `ANSWERS`, or empty: see `Profile.answer_of`. It is no part of the key, as it changes nothing of what
    is trained.
    """

    features: str
    head: str
    level: str
    recipe: str
    answer: str = ""

    @property
    def key(self) -> str:
        """For example `clip+vit.mlp.country.thesis`."""
        return ".".join((self.features, self.head, self.level, self.recipe))


@dataclass(frozen=True)
class Profile:
    """Everything that a run is made from, apart from the code."""

    name: str
    features: dict[str, tuple[str, ...]]
    experiments: tuple[Experiment, ...]
    derived: dict[str, dict[str, Any]] = field(default_factory=dict)
    notice: str = ""
    boundaries: str = "embedded"
    near_cap_km: float = 25.0
    drawn: Drawn | None = None
    training: tuple[Dataset, ...] = ()
    benchmarks: tuple[Dataset, ...] = ()
    landing: Landing = Landing()
    retraining: str = "always"
    split: Split = field(default_factory=Split)
    images: ImageLimits = field(default_factory=ImageLimits)
    fetching: FetchPolicy = field(default_factory=FetchPolicy)
    answer: str = ""
    seed: int = 0
    device: str = "auto"
    batch_size: int = 0
    checkpoints: str = ""
    map_country: str = "NLD"

    def training_shards(self) -> tuple[str, ...]:
        """Names of the shards that heads learn from."""
        drawn = _drawn_shards(self.drawn) if self.drawn else ()
        return drawn + tuple(name for dataset in self.training for name in dataset.shard_names())

    def benchmark_names(self) -> tuple[str, ...]:
        """Names of the benchmark sets; each is one shard of that name."""
        drawn = tuple(self.drawn.benchmarks) if self.drawn else ()
        return drawn + tuple(dataset.name for dataset in self.benchmarks)

    def shards(self) -> tuple[str, ...]:
        """All shards: those of training, then the benchmarks."""
        return self.training_shards() + self.benchmark_names()

    def backbones(self) -> tuple[str, ...]:
        """Names of the backbones that the experiments need, each once, in order of first use."""
        used = [name for experiment in self.experiments for name in self.features[experiment.features]]
        return tuple(dict.fromkeys(used))

    def backbone(self, name: str) -> BackboneSpec:
        """The backbone of that name: the profile's own (`derived`, the key `backbones` of the file), or the registry's."""
        from geoloc_core.features.backbones import backbone, derived_backbone

        return derived_backbone(name, self.derived[name]) if name in self.derived else backbone(name)

    def dataset_of(self, shard: str) -> tuple[Dataset, int] | None:
        """The dataset that a shard belongs to and the shard's number in it; None where the shard is drawn."""
        for dataset in self.training + self.benchmarks:
            names = dataset.shard_names()
            if shard in names:
                return dataset, names.index(shard)
        return None

    def experiment(self, key: str) -> Experiment:
        """The experiment of that key."""
        for experiment in self.experiments:
            if experiment.key == key:
                return experiment
        raise ProfileError(f"profile {self.name!r} has no experiment {key!r}; it has {_listed(self.experiment_keys())}")

    def answer_of(self, key: str) -> str:
        """What point an experiment answers with: its own choice, the profile's, else the default of its recipe."""
        experiment = self.experiment(key)
        usual = THESIS_ANSWER if experiment.recipe in ("thesis", "thesis_unweighted") else DEFAULT_ANSWER
        return experiment.answer or self.answer or usual

    def experiment_keys(self) -> tuple[str, ...]:
        """Keys of all experiments, in the order of the profile."""
        return tuple(experiment.key for experiment in self.experiments)


def _drawn_shards(drawn: Drawn) -> tuple[str, ...]:
    return tuple(f"sample-{number:02d}" for number in range(drawn.shards))


def load_profile(path: str | os.PathLike[str]) -> Profile:
    """Read and check a profile; a `ProfileError` names the key that does not fit and how to mend it."""
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ProfileError(f"profile {file} cannot be read ({error.strerror}); name a YAML file that exists") from error
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ProfileError(f"profile {file} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict):
        raise ProfileError(f"profile {file} must be a mapping of keys to values; see profiles/sample.yaml")
    value = _from_environment(value, where=file.name)
    value.setdefault("name", file.stem)
    return _beside(parse_profile(value, where=file.name), file.resolve().parent)


def _beside(profile: Profile, folder: Path) -> Profile:
    """The profile with its relative paths taken from the folder that the file lies in, whoever runs it from where."""

    def absolute(path: str) -> str:
        return path if not path or "://" in path else str(folder / path)

    def placed(datasets: tuple[Dataset, ...]) -> tuple[Dataset, ...]:
        return tuple(
            dataset.model_copy(update={"metadata": absolute(dataset.metadata), "images": absolute(dataset.images)})
            for dataset in datasets
        )

    return dataclasses.replace(
        profile,
        training=placed(profile.training),
        benchmarks=placed(profile.benchmarks),
        checkpoints=absolute(profile.checkpoints),
        boundaries=profile.boundaries if profile.boundaries == "embedded" else absolute(profile.boundaries),
    )


def parse_profile(value: Mapping[str, Any], where: str = "profile") -> Profile:
    """Build a `Profile` from plain values, as YAML gives them."""
    value = dict(value)
    features = value.pop("features", None)
    if not isinstance(features, dict) or not features:
        raise ProfileError(
            f"{where}: `features` must name at least one list of backbones, for example clip: [tiny-clip]"
        )
    value["features"] = {str(name): _names(list_, f"{where}: features.{name}") for name, list_ in features.items()}
    if "derived" in value:
        raise ProfileError(f"{where}: unknown key 'derived'; backbones of your own stand under `backbones`")
    value["derived"] = _derived(value.pop("backbones", None) or {}, f"{where}: backbones")
    value["experiments"] = _experiments(value.pop("experiments", None), where)
    parts = {"drawn": Drawn, "landing": Landing, "split": Split, "images": ImageLimits, "fetching": FetchPolicy}
    for key, kind in parts.items():
        if value.get(key) is not None:
            value[key] = _build(kind, value[key], f"{where}: {key}")
    for key in ("training", "benchmarks"):
        entries = value.get(key) or []
        if not isinstance(entries, list):
            raise ProfileError(f"{where}: {key} must be a list of datasets, each with name, metadata and images")
        value[key] = tuple(_build(Dataset, entry, f"{where}: {key}") for entry in entries)
    profile = _build(Profile, value, where)
    for name in profile.derived:
        profile.backbone(name)  # refuses what no library knows
    check_profile(profile, where)
    return profile


def check_profile(profile: Profile, where: str) -> None:
    """What the types cannot say."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", profile.name):
        raise ProfileError(f"{where}: name {profile.name!r} may hold letters, digits, '-', '_' and '.' only")
    if not profile.training_shards():
        raise ProfileError(f"{where}: nothing to learn from; give `drawn` or at least one dataset under `training`")
    shards = profile.shards()
    twice = sorted({name for name in shards if shards.count(name) > 1})
    if twice:
        raise ProfileError(f"{where}: two datasets give the shard {twice[0]!r}; rename one of them")
    for experiment in profile.experiments:
        if experiment.features not in profile.features:
            raise ProfileError(
                f"{where}: experiment {experiment.key!r} uses the features {experiment.features!r}, which `features` "
                f"does not name; it names {_listed(profile.features)}"
            )
        if experiment.answer and experiment.answer not in ANSWERS:
            raise ProfileError(
                f"{where}: {experiment.key} answers with {experiment.answer!r}, which is not known; choose one of "
                f"{_listed(ANSWERS)}"
            )
        if experiment.level not in LEVELS:
            raise ProfileError(f"{where}: level {experiment.level!r} is not known; choose one of {_listed(LEVELS)}")
    for name in (*shards, *profile.features, *profile.backbones()):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_+@-]*", name):
            raise ProfileError(f"{where}: the name {name!r} may hold letters, digits, '-', '_', '+' and '@' only")
    if len(set(profile.experiment_keys())) < len(profile.experiments):
        raise ProfileError(f"{where}: the same experiment is listed twice")
    if profile.answer and profile.answer not in ANSWERS:
        raise ProfileError(f"{where}: answer {profile.answer!r} is not known; choose one of {_listed(ANSWERS)}")
    if profile.retraining not in RETRAINING:
        raise ProfileError(f"{where}: retraining {profile.retraining!r} must be one of {_listed(RETRAINING)}")
    if profile.device not in DEVICES:
        raise ProfileError(f"{where}: device {profile.device!r} must be one of {_listed(DEVICES)}")
    if profile.landing.rows_per_shard < 1:
        raise ProfileError(f"{where}: landing.rows_per_shard must be at least 1")
    if profile.landing.layout not in IMAGE_LAYOUTS:
        raise ProfileError(f"{where}: landing.layout must be one of {_listed(IMAGE_LAYOUTS)}")
    for dataset in profile.benchmarks:
        if dataset.shards != 1:
            raise ProfileError(f"{where}: benchmark {dataset.name!r} must be one shard; leave `shards` out")


def _experiments(value: object, where: str) -> tuple[Experiment, ...]:
    if not isinstance(value, list) or not value:
        raise ProfileError(f"{where}: `experiments` must list at least one features.head.level.recipe")
    experiments = []
    for entry in value:
        answer = ""
        if isinstance(entry, Mapping):
            unknown = sorted(str(key) for key in entry if key not in ("key", "answer"))
            if unknown or "key" not in entry:
                raise ProfileError(
                    f"{where}: an experiment with settings must read {{key: features.head.level.recipe, answer: ...}}, "
                    f"not {dict(entry)!r}"
                )
            entry, answer = entry["key"], str(entry.get("answer") or "")
        parts = str(entry).split(".")
        if len(parts) != 4:
            raise ProfileError(
                f"{where}: experiment {entry!r} must read features.head.level.recipe, for example clip.linear.country.thesis"
            )
        experiments.append(Experiment(parts[0], parts[1], parts[2], parts[3], answer))
    return tuple(experiments)


def _derived(value: object, where: str) -> dict[str, dict[str, Any]]:
    if not isinstance(value, dict) or not all(isinstance(entry, dict) for entry in value.values()):
        raise ProfileError(
            f"{where} must map names to settings, for example clip-fast: {{of: clip-l-14, decode: draft}}"
        )
    return {str(name): dict(entry) for name, entry in value.items()}


def _names(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
        raise ProfileError(f"{where} must be a list of names of backbones")
    return tuple(value)


def _build(kind: Any, value: object, where: str) -> Any:
    """Make the dataclass `kind` from a mapping, checking names and types of its keys."""
    if not isinstance(value, Mapping):
        raise ProfileError(f"{where} must be a mapping of keys to values")
    if issubclass(kind, BaseModel):
        return _model(kind, value, where)
    fields = {item.name: item for item in dataclasses.fields(kind)}
    for key in value:
        if key not in fields:
            raise ProfileError(f"{where}: unknown key {key!r}; known are {_listed(fields)}")
    for name, item in fields.items():
        required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        if name not in value and required:
            raise ProfileError(f"{where}: the key {name!r} is missing")
    arguments = {key: _typed(fields[key], entry, where) for key, entry in value.items()}
    return kind(**arguments)


def _model(kind: type[BaseModel], value: Mapping[str, Any], where: str) -> BaseModel:
    """The same for a specification that another room checks."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise ProfileError(f"{where}: unknown key {key!r}; known are {_listed(kind.model_fields)}") from error
        if first["type"] == "missing":
            raise ProfileError(f"{where}: the key {key!r} is missing") from error
        raise ProfileError(f"{where}: {key}: {first['msg']}, not {first['input']!r}") from error


def _typed(item: dataclasses.Field[Any], value: object, where: str) -> object:
    """Check a plain value against the annotation of its field; the nested ones were built already."""
    plain: dict[str, type | tuple[type, ...]] = {"str": str, "int": int, "float": (int, float), "bool": bool}
    expected = plain.get(str(item.type))
    if expected is not None and (not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool)):
        raise ProfileError(f"{where}: {item.name} must be of type {item.type}, not {value!r}")
    if str(item.type) == "float" and isinstance(value, int):
        return float(value)
    if str(item.type) == "dict[str, int]" and not (
        isinstance(value, dict) and all(isinstance(k, str) and isinstance(v, int) for k, v in value.items())
    ):
        raise ProfileError(f"{where}: {item.name} must map names to whole numbers")
    if str(item.type) == "dict[str, str]" and not (
        isinstance(value, dict) and all(isinstance(k, str) and isinstance(v, str) for k, v in value.items())
    ):
        raise ProfileError(f"{where}: {item.name} must map names to names")
    if str(item.type) == "tuple[str, ...]":
        if not isinstance(value, list | tuple) or not all(isinstance(entry, str) for entry in value):
            raise ProfileError(f"{where}: {item.name} must be a list of texts")
        return tuple(value)
    return value


def _from_environment(value: Any, where: str) -> Any:
    """Replace `${NAME}` in every text by the environment's value."""
    if isinstance(value, dict):
        return {key: _from_environment(entry, where) for key, entry in value.items()}
    if isinstance(value, list):
        return [_from_environment(entry, where) for entry in value]
    if not isinstance(value, str):
        return value

    def look_up(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            raise ProfileError(
                f"{where}: {match.group(0)} is asked for and the environment has no {name}; export it first"
            )
        return os.environ[name]

    return re.sub(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", look_up, value)


def _listed(names: Any) -> str:
    return ", ".join(str(name) for name in names)

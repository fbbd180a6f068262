"""What to run, never how: a profile is a YAML file that names deliveries, boundaries, backbones and experiments.

Every key is checked; one that is not known is an error that lists those that are. `${NAME}` in a value is taken from the
environment. A profile is looked up by name in the project's `profiles/` folder, or given as a path.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from geoloc_core.answers.kinds import ANSWERS, DEFAULT_ANSWER, THESIS_ANSWER
from geoloc_core.devices import CHOICES as DEVICES
from geoloc_core.errors import ProfileError

if TYPE_CHECKING:
    from geoloc_core.features.specification import BackboneSpec

LEVELS = ("country", "subdivision", "hierarchical")
# The levels of the boundary set itself; a hierarchical head uses the classes of "subdivision".
REGION_LEVELS = ("country", "subdivision")
# When heads are trained again: as soon as what they are made from differs, or when somebody (or drift) asks for it.
RETRAINING = ("always", "asked")
# How the pictures of a dataset lie in their folder; `photos.layouts` says where each puts a photo.
IMAGE_LAYOUTS = ("as_given", "mp16", "by_name")


@dataclass(frozen=True)
class Drawn:
    """The sample: a dataset that the project draws itself (`geoloc_core.photos.sample`)."""

    seed: int = 20240
    shards: int = 4
    photos_per_shard: int = 600
    benchmarks: dict[str, int] = field(default_factory=lambda: {"sample-im2gps": 120, "sample-im2gps3k": 360})


@dataclass(frozen=True)
class Dataset:
    """Metadata in a published format and the photos that it names.

    `metadata` may itself be a folder, a tar or a zip of photos with EXIF GPS, or a WebDataset. `columns` maps our columns
    to those of a CSV or Parquet file (`sources.columns.ColumnMapping`) where their names do not tell.

    `images` is a folder, an archive, or a folder of nothing but archives; left out, it is `metadata` where that holds
    photos, and else a folder of the project's own. `layout` says how the pictures lie in it (`photos.layouts`). With
    `fetch` those that are not there are fetched by the URLs of the metadata, into that folder.

    Rows go to `shards` shards of `rows_per_shard` rows in the order of the file; the last shard takes all that is left,
    so that no row is lost when the file grows.
    """

    name: str
    metadata: str
    images: str = ""
    source: str = "auto"
    layout: str = "as_given"
    fetch: bool = False
    columns: dict[str, str] = field(default_factory=dict)
    shards: int = 1
    rows_per_shard: int = 100_000

    def shard_names(self) -> tuple[str, ...]:
        """`mp16` in one shard, or `mp16-00`, `mp16-01`, ..."""
        if self.shards == 1:
            return (self.name,)
        width = max(2, len(str(self.shards - 1)))
        return tuple(f"{self.name}-{number:0{width}d}" for number in range(self.shards))


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
class Split:
    """How photos are divided: by author, by a keyed hash, so that more photos never move an author across."""

    key: str = "geoloc"
    validation_share: float = 0.2
    max_phash_distance: int = 4
    min_support: int = 1


@dataclass(frozen=True)
class ImageBounds:
    """The most that a picture may ask of us."""

    max_bytes: int = 64 * 1024 * 1024
    max_pixels: int = 89_478_485


@dataclass(frozen=True)
class Fetching:
    """How politely pictures are fetched. `allowed_networks` are private networks that may be asked all the same."""

    per_host: int = 4
    concurrent: int = 64
    attempts: int = 5
    user_agent: str = "geoloc/0.1 (research; fetches each picture once)"
    allowed_networks: tuple[str, ...] = ()


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
    split: Split = Split()
    images: ImageBounds = ImageBounds()
    fetching: Fetching = Fetching()
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
            dataclasses.replace(dataset, metadata=absolute(dataset.metadata), images=absolute(dataset.images))
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
    parts = {"drawn": Drawn, "landing": Landing, "split": Split, "images": ImageBounds, "fetching": Fetching}
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
    if not 0.0 < profile.split.validation_share < 1.0:
        raise ProfileError(
            f"{where}: split.validation_share must lie between 0 and 1, not {profile.split.validation_share}"
        )
    for dataset in profile.training + profile.benchmarks:
        if dataset.shards < 1 or dataset.rows_per_shard < 1:
            raise ProfileError(f"{where}: dataset {dataset.name!r} needs shards and rows_per_shard of at least 1")
        if dataset.layout not in IMAGE_LAYOUTS:
            raise ProfileError(
                f"{where}: dataset {dataset.name!r} has no known layout {dataset.layout!r}; choose one of "
                f"{_listed(IMAGE_LAYOUTS)}"
            )
    if profile.landing.layout not in IMAGE_LAYOUTS:
        raise ProfileError(f"{where}: landing.layout must be one of {_listed(IMAGE_LAYOUTS)}")
    if min(profile.fetching.per_host, profile.fetching.concurrent, profile.fetching.attempts) < 1:
        raise ProfileError(f"{where}: fetching needs per_host, concurrent and attempts of at least 1")
    for network in profile.fetching.allowed_networks:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            raise ProfileError(
                f"{where}: fetching.allowed_networks: {network!r} is no network, such as 10.0.0.0/8"
            ) from error
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


def _build(kind: type, value: object, where: str) -> Any:
    """Make the dataclass `kind` from a mapping, checking names and types of its keys."""
    if not isinstance(value, Mapping):
        raise ProfileError(f"{where} must be a mapping of keys to values")
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

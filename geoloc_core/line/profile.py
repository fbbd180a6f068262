"""What to run, never how: a profile is a YAML file that names data, boundaries, backbones and experiments.

Every key is checked; `geoloc profile schema` prints the JSON Schema that editors complete from. `${NAME}` in a value is
taken from the environment. A profile is looked up by name in the project's `profiles/` folder, or given as a path.
"""

import difflib
import itertools
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, Field, ValidationError, ValidationInfo, WithJsonSchema, model_validator

from geoloc_core.answers.kinds import ANSWERS, DEFAULT_ANSWER, THESIS_ANSWER
from geoloc_core.errors import ProfileError
from geoloc_core.geography.cells import FINEST, KINDS, LEVELS
from geoloc_core.learning.recipes import head_spec, recipe
from geoloc_core.photos.settings import (
    Dataset,
    FetchPolicy,
    ImageLayout,
    ImageLimits,
    ProfilePath,
    Settings,
    Split,
    beside_profile,
)  # fmt: skip
from geoloc_core.storage import read_bounded

if TYPE_CHECKING:
    from geoloc_core.features.specification import BackboneSpec

# An experiment's classes are the cells of one level, or those of the finest level with a loss at every level above it.
HIERARCHICAL = "hierarchical"
# `${NAME}`, or `${NAME:-DEFAULT}` for a value where the environment has none.
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
NAME = r"^[A-Za-z0-9][A-Za-z0-9_+@-]*$"
MOST_PROFILE_BYTES, MOST_CHARACTERS = 2**20, 2**22
Name = Annotated[str, Field(pattern=NAME)]
Count = Annotated[int, Field(ge=1)]


def _choice(*names: str) -> tuple[AfterValidator, WithJsonSchema]:
    """What makes a text one of `names`, which the JSON Schema lists."""

    def choose(value: str) -> str:
        if value not in names:
            raise ValueError(f"{value!r} is not known; choose one of {', '.join(filter(None, names))}")
        return value

    return AfterValidator(choose), WithJsonSchema({"type": "string", "enum": list(names)})


def _boundaries(value: str, info: ValidationInfo) -> str:
    return value if value == "embedded" else beside_profile(value, info)


Answer = Annotated[str, *_choice("", *ANSWERS)]
Level = Annotated[str, *_choice(*KINDS, HIERARCHICAL)]


class Drawn(Settings):
    """The sample: a dataset that the project draws itself."""

    seed: int = 20240
    shards: int = Field(default=4, ge=1, le=100)
    photos_per_shard: Count = 600
    benchmarks: dict[Name, Count] = Field(default={"sample-im2gps": 120, "sample-im2gps3k": 360})

    def shard_names(self) -> tuple[str, ...]:
        """`sample-00`, `sample-01`, ..."""
        return tuple(f"sample-{number:02d}" for number in range(self.shards))


class Landing(Settings):
    """How a metadata file laid in the landing folder becomes a dataset to learn from.

    `images` is where its pictures are; empty for the landing folder itself (an archive of photos has its own). The other
    keys are as in a dataset. A file of more rows becomes several shards.
    """

    images: ProfilePath = ""
    source: str = "auto"
    layout: ImageLayout = "as_given"
    fetch: bool = False
    rows_per_shard: Count = 100_000


class Experiment(Settings):
    """features / head / level / recipe; its key is the name of its partition.

    In YAML it is the key alone, or `{key: ..., answer: ...}`. `answer` is one of `ANSWERS`, or empty: see
    `Profile.answer_of`. It is no part of the key, as it changes nothing of what is trained.
    """

    features: str
    head: str
    level: Level
    recipe: str
    answer: Answer = ""

    @model_validator(mode="before")
    @classmethod
    def _from_key(cls, value: Any) -> Any:
        if not isinstance(value, str | Mapping) or (isinstance(value, Mapping) and "features" in value):
            return value
        settings = {"key": value} if isinstance(value, str) else dict(value)
        parts = str(settings.pop("key", "")).split(".")
        if len(parts) != 4:
            raise ValueError("must read features.head.level.recipe, for example clip.linear.country.thesis")
        return {**dict(zip(("features", "head", "level", "recipe"), parts, strict=True)), **settings}

    @property
    def key(self) -> str:
        """For example `clip+vit.mlp.country.thesis`."""
        return ".".join((self.features, self.head, self.level, self.recipe))

    @property
    def cells(self) -> str:
        """The level whose cells are the classes."""
        return FINEST if self.level == HIERARCHICAL else self.level


class SampleKind(Settings):
    """One way of filling a profile with photos: its keys are laid over the profile's where it can be had.

    `folder` must be there, `address` must answer within `choice.SECONDS`; without either it can always be had.
    """

    folder: str = ""
    address: str = ""
    notice: str = ""
    drawn: Drawn | None = None
    training: tuple[Dataset, ...] = ()
    benchmarks: tuple[Dataset, ...] = ()
    fetching: FetchPolicy = FetchPolicy()


class Profile(Settings):
    """Everything that a run is made from, apart from the code."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    features: dict[Name, Annotated[tuple[Name, ...], Field(min_length=1)]] = Field(min_length=1)
    # Features whose experiments are taken only where their weights can be had.
    optional: tuple[Name, ...] = ()
    experiments: tuple[Experiment, ...] = Field(min_length=1)
    # The profile's own backbones, each `{of: NAME, ...}`; the method `backbones` names all that are used.
    own_backbones: dict[Name, dict[str, Any]] = Field(default={}, alias="backbones")
    notice: str = ""
    boundaries: Annotated[str, AfterValidator(_boundaries)] = "embedded"
    near_cap_km: float = Field(default=25.0, ge=0.0)
    # Kinds of photos by name, of which `choice` takes the first that can be had here.
    sample: dict[Name, SampleKind] = Field(default={})
    drawn: Drawn | None = None
    training: tuple[Dataset, ...] = ()
    benchmarks: tuple[Dataset, ...] = ()
    landing: Landing = Landing()
    # When heads are trained again: as soon as what they are made from differs, or when somebody (or drift) asks for it.
    retraining: Literal["always", "asked"] = "always"
    # What the sensor `removals` does with artifacts that the profile no longer names.
    orphans: Literal["keep", "remove"] = "keep"
    split: Split = Split()
    images: ImageLimits = ImageLimits()
    fetching: FetchPolicy = FetchPolicy()
    answer: Answer = ""
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    batch_size: int = Field(default=0, ge=0)
    checkpoints: ProfilePath = ""
    map_country: str = "NLD"

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        shards, keys = self.shards(), self.experiment_keys()
        if not self.training_shards() and not self.sample:
            raise ValueError("nothing to learn from; give `drawn` or at least one dataset under `training`")
        if unknown := [name for name in self.optional if name not in self.features]:
            raise ValueError(f"`optional` names the features {unknown[0]!r}, which `features` does not name")
        if odd := [name for name in shards if not re.match(NAME, name)]:
            raise ValueError(f"the name {odd[0]!r} may have letters, digits, '-', '_', '+' and '@' only")
        if duplicates := sorted({name for name in shards if shards.count(name) > 1}):
            raise ValueError(f"two datasets give the shard {duplicates[0]!r}; rename one of them")
        if several := [dataset.name for dataset in self.benchmarks if dataset.shards != 1]:
            raise ValueError(f"benchmark {several[0]!r} must be one shard; leave `shards` out")
        for experiment in self.experiments:
            if experiment.features not in self.features:
                raise ValueError(
                    f"experiment {experiment.key!r} uses the features {experiment.features!r}, which `features` does not "
                    f"name; it names {', '.join(self.features)}"
                )
        if len(set(keys)) < len(keys):
            raise ValueError("the same experiment is listed twice")
        try:
            self._names_what_exists()
        except ProfileError as error:
            raise ValueError(str(error)) from error
        return self

    def _names_what_exists(self) -> None:
        """Look up every name of something outside the profile; a ProfileError lists those that there are."""
        sources = {self.landing.source, *(dataset.source for dataset in self.training + self.benchmarks)}
        for source in sources - {"auto"}:
            from geoloc_core.photos.sources.registry import named_source

            named_source(source)
        for name in dict.fromkeys([*self.own_backbones, *itertools.chain(*self.features.values())]):
            self.backbone(name)
        for experiment in self.experiments:
            head_spec(experiment.head)
            recipe(experiment.recipe)

    def training_shards(self) -> tuple[str, ...]:
        """Names of the shards that heads learn from."""
        drawn = self.drawn.shard_names() if self.drawn else ()
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
        names = [name for experiment in self.experiments for name in self.features[experiment.features]]
        return tuple(dict.fromkeys(names))

    def backbone(self, name: str) -> "BackboneSpec":
        """The backbone of that name: the profile's own, or the registry's."""
        from geoloc_core.features.backbones import backbone, derived_backbone

        return derived_backbone(name, self.own_backbones[name]) if name in self.own_backbones else backbone(name)

    def levels(self) -> tuple[str, ...]:
        """The ways of dividing the earth that are in use: the boundary set's, and those that experiments name."""
        return tuple(dict.fromkeys((*LEVELS, *(experiment.cells for experiment in self.experiments))))

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
        keys = ", ".join(self.experiment_keys())
        raise ProfileError(f"profile {self.name!r} has no experiment {key!r}; it has {keys}")

    def backbones_of(self, key: str) -> tuple[str, ...]:
        """The backbones whose vectors an experiment joins, in order."""
        return self.features[self.experiment(key).features]

    def answer_of(self, key: str) -> str:
        """What point an experiment answers with: its own choice, the profile's, else the default of its recipe."""
        experiment = self.experiment(key)
        usual = THESIS_ANSWER if experiment.recipe in ("thesis", "thesis_unweighted") else DEFAULT_ANSWER
        return experiment.answer or self.answer or usual

    def experiment_keys(self) -> tuple[str, ...]:
        """Keys of all experiments, in the order of the profile."""
        return tuple(experiment.key for experiment in self.experiments)

    def chosen(
        self, kind: str, left_out: Sequence[str], note: str, environment: Mapping[str, str], file: Path
    ) -> "Profile":
        """The profile with one of its kinds of photos, without the features `left_out` and their experiments.

        `note` is added to the notice; `file`, where the profile was read from, is what relative paths lie beside.
        """
        values = self.model_dump(by_alias=True, exclude={"sample", "optional"}, exclude_unset=True)
        if kind:
            own = self.sample[kind].model_dump(by_alias=True, exclude={"folder", "address"}, exclude_unset=True)
            values |= _from_environment(own, file.name, environment)
        values["notice"] = " ".join(filter(None, (values.get("notice", ""), note)))
        values["experiments"] = [item for item in values["experiments"] if item["features"] not in left_out]
        return parse_profile(values, file.name, file.parent)

    def with_datasets(self, datasets: Sequence[Dataset], where: str) -> "Profile":
        """The profile with more datasets to learn from, checked again; `where` names their file in errors."""
        extended = self.model_copy(update={"training": (*self.training, *datasets)})
        return parse_profile(extended.model_dump(by_alias=True), where)


class _Loader(yaml.SafeLoader):
    """YAML as plain data: no key twice, nothing that holds itself, and of a bounded size with its aliases written out."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node, seen = super().compose_mapping_node(anchor), set()
        for key, _ in node.value:
            if (name := (key.tag, str(key.value))) in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} is given twice", problem_mark=key.start_mark)
            seen.add(name)
        return node

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None and _characters(node, {}) > MOST_CHARACTERS:
            raise ValueError(f"with its aliases written out it has more than {MOST_CHARACTERS:,} characters")
        return node


def _characters(node: yaml.Node, known: dict[int, int]) -> int:
    """How long a node is with its aliases written out; `known` has what was counted before, -1 for what is being counted."""
    if isinstance(node, yaml.ScalarNode):
        return 1 + len(node.value)
    if known.setdefault(id(node), 0) == -1:
        raise ValueError("a value holds itself by an alias")
    if not known[id(node)]:
        known[id(node)] = -1
        children = itertools.chain(*(item if isinstance(item, tuple) else (item,) for item in node.value))
        known[id(node)] = 1 + sum(_characters(child, known) for child in children)
    return known[id(node)]


def load_profile(path: str | os.PathLike[str]) -> Profile:
    """Read and check a profile; a `ProfileError` names the key that does not fit and how to mend it.

    Relative paths in it are taken from the folder that the file lies in, whoever runs it from where.
    """
    file = Path(path)
    try:
        values = yaml.load(read_bounded(file, MOST_PROFILE_BYTES), Loader=_Loader)
        if not isinstance(values, dict):
            raise ProfileError(f"profile {file} must be a mapping of keys to values; see profiles/sample.yaml")
        json.dumps(values, default=str)
    except OSError as error:
        raise ProfileError(f"profile {file} cannot be read ({error.strerror}); name a YAML file that exists") from error
    except RecursionError as error:
        raise ProfileError(f"profile {file} is nested too deeply; see profiles/sample.yaml") from error
    # PyYAML's constructors raise all of these where a tag does not fit its value.
    except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ProfileError(f"profile {file} is not valid YAML: {' '.join(str(error).split())}") from error
    # What a kind of sample takes from the environment is looked up when it is chosen.
    sample = {"sample": values.pop("sample")} if "sample" in values else {}
    values = _from_environment({"name": file.stem, **values}, file.name) | sample
    return parse_profile(values, file.name, file.resolve().parent)


def parse_profile(values: Mapping[str, Any], where: str = "profile", folder: Path | None = None) -> Profile:
    """Build a `Profile` from plain values, as YAML gives them; relative paths are taken from `folder`."""
    try:
        # As JSON lists become tuples and numbers floats where the schema says so; a text never becomes a number.
        return Profile.model_validate_json(json.dumps(values, default=str), context={"folder": folder})
    except ValidationError as error:
        raise ProfileError(f"{where}: {_sentence(error)}") from error


def _sentence(error: ValidationError) -> str:
    """The first thing that does not fit, with the path of its key."""
    first = error.errors()[0]
    # Names of classes and list positions help nobody who reads YAML; keys do.
    place = ".".join(str(part) for part in first["loc"])
    # A list whose only item is wrong counts as too short as well.
    rest = sum(other["type"] != "too_short" for other in error.errors()[1:])
    more = f" (and {rest} more like this)" if rest else ""
    if first["type"] == "extra_forbidden":
        names = {name for section in Settings.__subclasses__() for name in section.model_fields} | {"backbones"}
        close = difflib.get_close_matches(str(first["loc"][-1]), names, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return f"unknown key {place!r}; {hint}`geoloc profile schema` lists those that are known{more}"
    if first["type"] == "missing":
        return f"the key {place!r} is missing{more}"
    message = (
        first["msg"]
        .removeprefix("Value error, ")
        .replace("a valid array", "a list")
        .replace("an object", "a valid mapping")
    )
    given = "" if first["type"] == "value_error" else f", not {first['input']!r:.60}"
    return f"{place}: {message}{given}{more}" if place else f"{message}{more}"


def _from_environment(value: Any, where: str, environment: Mapping[str, str] = os.environ) -> Any:
    """Replace `${NAME}` and `${NAME:-DEFAULT}` in every text by the environment's value."""
    if isinstance(value, dict):
        return {key: _from_environment(entry, where, environment) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_from_environment(entry, where, environment) for entry in value]
    if not isinstance(value, str):
        return value

    def variable(match: re.Match[str]) -> str:
        found = environment.get(match[1], match[2])
        if found is None:
            raise ProfileError(f"{where}: {match[0]} is not set in the environment; export {match[1]} first")
        return found

    return VARIABLE.sub(variable, value)

"""A project: one profile and the folder that its artifacts live in."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from geoloc_core.errors import GeolocError, ProfileError
from geoloc_core.line.choice import Choice, apply, choose, read_choice, record_choice
from geoloc_core.line.landing import read_ledger
from geoloc_core.line.layout import Layout
from geoloc_core.line.profile import Profile, load_profile
from geoloc_core.photos.settings import Dataset
from geoloc_core.storage import read_checked, write_json

if TYPE_CHECKING:
    from geoloc_core.photos.warehouse import Warehouse

SOURCE_ROOT = Path(__file__).resolve().parents[2]
DEFAULT_PROFILE = "sample"


@dataclass(frozen=True)
class Project:
    """What to run (`profile`, read from `profile_path`) and where its artifacts are (`layout`).

    `choice` is what the profile left to the place, None where it left nothing.
    """

    profile: Profile
    profile_path: Path
    layout: Layout
    choice: Choice | None = None

    @property
    def home(self) -> Path:
        """The data folder."""
        return self.layout.home

    @property
    def checkpoints(self) -> Path:
        """Folder of weights: the profile's own, or the one in the data folder."""
        return checkpoints_of(self.profile, self.layout)

    def settle(self) -> None:
        """Write down whose the data folder is, and what the profile left to the place, before anything is made."""
        if not self.layout.owner.is_file():
            write_json(self.layout.owner, {"profile": self.profile.name})
        if self.choice is not None:
            record_choice(self.layout.choice, self.choice)

    def warehouse(self) -> Warehouse:
        """The DuckDB tables of this project."""
        from geoloc_core.photos.warehouse import Warehouse

        return Warehouse(self.layout.warehouse)

    def missing_inputs(self) -> dict[str, str]:
        """What the profile names and is not on the disk, by dataset (or "boundaries"), each as a sentence with the mend."""
        missing: dict[str, str] = {}
        for dataset in self.profile.training + self.profile.benchmarks:
            for key, path in (("metadata", dataset.metadata), ("images", "" if dataset.fetch else dataset.images)):
                if path and not Path(path).exists():
                    name = f"the {key} of {dataset.name!r}, {path}, {'does' if key == 'metadata' else 'do'} not exist"
                    missing.setdefault(dataset.name, f"{name}; correct `{key}` in the profile")
        boundaries = self.profile.boundaries
        if boundaries != "embedded" and not Path(boundaries).exists():
            missing["boundaries"] = f"the boundaries {boundaries} do not exist; correct `boundaries` in the profile"
        return missing

    def unplaced_benchmarks(self, names: Container[str]) -> list[str]:
        """A sentence for each of these benchmarks of which no row has a place, so that no answer could be judged by it."""
        from geoloc_core.photos.shard_rows import refused_whole

        sentences = []
        for dataset in (dataset for dataset in self.profile.benchmarks if dataset.name in names):
            with contextlib.suppress(GeolocError, OSError):  # the step that reads it says what is wrong
                if reasons := refused_whole(dataset):
                    counts = ", ".join(f"{reason} {count:,}" for reason, count in reasons.items())
                    what = f"no row of the benchmark {dataset.name!r}, {dataset.metadata}, is a photo with a place"
                    sentences.append(f"{what} ({counts}); correct it, or take it out of `benchmarks`")
        return sentences


def checkpoints_of(profile: Profile, layout: Layout) -> Path:
    """Folder of weights: the profile's own, or the one in the data folder."""
    return Path(profile.checkpoints) if profile.checkpoints else layout.checkpoints


def dataset_of(profile: Profile, layout: Layout, shard: str) -> tuple[Dataset, int]:
    """The dataset that a shard belongs to and the shard's number in it; a drawn delivery is a dataset of one shard."""
    folder = layout.delivery(shard)
    drawn = Dataset(name="sample", metadata=str(folder / "metadata.csv"), images=str(folder / "images"))
    return profile.dataset_of(shard) or (drawn, 0)


def picture_folder_of(profile: Profile, layout: Layout, shard: str) -> Path:
    """The folder that the `image_path` of a shard's manifest is relative to."""
    from geoloc_core.photos.pictures import picture_folder

    dataset, _ = dataset_of(profile, layout, shard)
    return picture_folder(dataset, layout.pictures(dataset.name))


def find_profile(name: str) -> Path:
    """A path as it stands, or the file of that name in `profiles/`."""
    path = Path(name)
    if path.suffix in {".yaml", ".yml"}:
        return path
    for folder in (Path.cwd() / "profiles", SOURCE_ROOT / "profiles"):
        if (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    names = sorted(path.stem for path in (SOURCE_ROOT / "profiles").glob("*.yaml"))
    raise ProfileError(f"no profile is called {name!r}; there are {', '.join(names)}, or give the path of a YAML file")


def default_home(profile: Profile) -> Path:
    """`.geoloc/NAME` in the source tree; in the working folder when the package was installed without its tree."""
    root = SOURCE_ROOT if (SOURCE_ROOT / "workspace.yaml").is_file() else Path.cwd()
    return root / ".geoloc" / profile.name


def open_project(profile: str | None = None, home: str | os.PathLike[str] | None = None) -> Project:
    """The project that the arguments, the environment (GEOLOC_PROFILE, GEOLOC_HOME) or the defaults name."""
    name = find_profile(profile or os.environ.get("GEOLOC_PROFILE") or DEFAULT_PROFILE)
    path = Path(os.path.realpath(name))  # unlike `resolve`, it ends at a link to itself
    loaded = _loaded(path, _modified_ns(path))
    folder = home or os.environ.get("GEOLOC_HOME")
    layout = Layout(Path(folder).resolve() if folder else default_home(loaded))
    _check_owner(layout, loaded.name)
    choice = None
    if loaded.sample or loaded.optional:
        surroundings = tuple(sorted(item for item in os.environ.items() if item[0].startswith(("GEOLOC_", "HF_"))))
        loaded, choice = _chosen(path, _modified_ns(path), layout, _modified_ns(layout.choice), surroundings)
    if layout.landed.is_file():
        loaded = _with_landed(path, _modified_ns(path), layout, _modified_ns(layout.landed), choice)
    return Project(loaded, path, layout, choice)


def _check_owner(layout: Layout, name: str) -> None:
    """A ProfileError where the data folder was made by another profile: what this one does not name would be orphans."""
    if not layout.owner.is_file():
        return
    try:
        owner = read_checked(layout.owner, dict[str, str]).get("profile", name)
    except (OSError, ValueError) as error:
        raise ProfileError(
            f"{layout.owner} cannot be read ({error}); delete it if {name!r} made this folder"
        ) from error
    if owner != name:
        mend = f"add `--profile {owner}`, or name another folder with --home"
        raise ProfileError(f"the data folder {layout.home} belongs to the profile {owner!r}, not to {name!r}; {mend}")


def _modified_ns(path: Path) -> int:
    """When a file was last written, so that a process that lives long (the code server) sees an edited one."""
    return path.stat().st_mtime_ns if path.is_file() else 0


@functools.lru_cache(maxsize=8)
def _loaded(path: Path, modified_ns: int) -> Profile:
    return load_profile(path)


@functools.lru_cache(maxsize=8)
def _chosen(
    path: Path, modified_ns: int, layout: Layout, choice_ns: int, surroundings: tuple[tuple[str, str], ...]
) -> tuple[Profile, Choice]:
    """The profile as it was decided for a data folder, or as it would be decided now."""
    loaded = _loaded(path, modified_ns)
    choice = read_choice(layout.choice) or choose(loaded, checkpoints_of(loaded, layout))
    return apply(loaded, path, choice), choice


@functools.lru_cache(maxsize=8)
def _with_landed(path: Path, modified_ns: int, layout: Layout, landed_ns: int, choice: Choice | None) -> Profile:
    """The profile, and what came by the landing folder besides."""
    loaded = _loaded(path, modified_ns)
    profile = loaded if choice is None else apply(loaded, path, choice)
    return profile.with_datasets([delivery.dataset for delivery in read_ledger(layout).deliveries], layout.landed.name)

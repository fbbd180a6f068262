"""A head, packed into one folder that answers by itself: head, places, names of regions, backbones by hash.

Everything is there except the backbones' weights, which are large and shared: the package names each by the hash of its
weights, and `Predictor` refuses others. A head's weights lie on the disk once: the package holds a second name for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pandas as pd
import pydantic

from geoloc_core.answers.answer import Answerer, Places
from geoloc_core.answers.kinds import ANSWERS, NEAREST_ANSWER
from geoloc_core.errors import CheckpointError, GeolocError
from geoloc_core.evaluation.intervals import Figure
from geoloc_core.evaluation.predictions import continents
from geoloc_core.features.specification import BackboneSpec, specification_from
from geoloc_core.geography.boundaries import BoundarySet
from geoloc_core.geography.cells import FINEST, LEVELS, ROOT
from geoloc_core.learning.head_files import load_head, read_references
from geoloc_core.learning.refine import REFERENCES_FILE
from geoloc_core.photos.rows import read_rows, write_rows
from geoloc_core.storage import FileName, read_checked, share_file, write_json

FORMAT = 2
# head.json comes last, as it names the hashes of the others.
HEAD_FILES = ("head.safetensors", REFERENCES_FILE, "head.json")


class TrainedWith(pydantic.BaseModel):
    """The weights of a backbone that a head was trained with: what of `CheckpointIdentity` tells them from others."""

    version: FileName
    weights_sha256: str


class ModelDescription(pydantic.BaseModel):
    """What model.json says.

    experiment, companion: the keys of the heads in it ("" for no companion); answer: one of `kinds.ANSWERS`; profile, notice,
    split: of the profile that made it; backbones, specifications: by name; validation: scores.
    """

    format: Literal[FORMAT]  # type: ignore[valid-type]
    profile: str
    notice: str
    answer: Literal[ANSWERS]  # type: ignore[valid-type]
    experiment: Annotated[str, pydantic.Field(min_length=1)]
    companion: str
    split: dict[str, Any]
    backbones: Annotated[dict[FileName, TrainedWith], pydantic.Field(min_length=1)]
    specifications: dict[FileName, dict[str, Any]]
    validation: dict[str, Figure]

    @pydantic.model_validator(mode="after")
    def _names_what_it_describes(self) -> Self:
        for name in self.backbones:
            if name not in self.specifications:
                raise ValueError(f"specifications: lacks the backbone {name!r}")
            self.specification(name)
        return self

    def specification(self, name: str) -> BackboneSpec:
        """How the backbone of that name is made from its weights."""
        values = self.specifications[name]
        try:
            # Types are checked apart, as validation would make 1 of a mean a 1.0, and so another backbone of it.
            pydantic.TypeAdapter(BackboneSpec).validate_python(values)
            return specification_from(values)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, ("specifications", name, *first["loc"])))
            raise ValueError(f"{place}: {first['msg']}") from error
        except (TypeError, GeolocError) as error:
            raise ValueError(f"specifications.{name}: {error}") from error


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
        return cls(folder, files, description.experiment, description.companion)


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


def read_description(folder: Path) -> ModelDescription:
    """What a packed model says of itself; CheckpointError where there is none, or what it says does not hold together."""
    file = folder / "model.json"
    try:
        return read_checked(file, ModelDescription)
    except OSError as error:
        raise CheckpointError(
            f"there is no packed model in {folder}; make one with `geoloc refresh`, or name another folder with --model"
        ) from error
    except (ValueError, GeolocError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"{file} is no description of a model ({reason}); `geoloc refresh` packs it anew"
        ) from error


def read_answerer(folder: Path, description: ModelDescription) -> Answerer:
    """The heads of a packed model and the places that they answer with; no backbone is loaded."""
    places = {
        level: Places(
            read_rows(folder / f"anchors_{level}.parquet", ["region_id", "kind", "latitude", "longitude"]),
            read_rows(folder / f"cells_{level}.parquet", ["region_id", "latitude", "longitude", "photos"]),
        )
        for level in LEVELS
    }
    head = load_head(folder / "head")
    companion = load_head(folder / "companion") if description.companion else None
    for part in filter(None, (head, companion)):
        stated = [(feature["backbone"], feature["version"]) for feature in part.features]
        packed = [(name, description.backbones[name].version) for name, _ in stated if name in description.backbones]
        if stated != packed or [feature["dimension"] for feature in part.features] != list(part.block_dims):
            raise CheckpointError(
                f"the features of a head in {folder} ({', '.join(name for name, _ in stated) or 'none'}) are not the backbones "
                f"that its model.json names ({', '.join(description.backbones) or 'none'}); `geoloc refresh` packs it anew"
            )
    for level, ids in {ROOT: head.countries, (companion or head).level: (companion or head).classes}.items():
        level = level if level in LEVELS else FINEST
        if missing := sorted(set(ids) - set(places[level].anchors["region_id"])):
            raise CheckpointError(
                f"{folder / f'anchors_{level}.parquet'} has no place for {missing[0]}, which a head.json beside it answers "
                "with; `geoloc refresh` packs the model anew"
            )
    references = None
    if description.answer == NEAREST_ANSWER:
        # The finest regions are answered with: the companion's where there is one.
        references = read_references(folder / ("companion" if companion else "head"), companion or head)
    return Answerer(head, places, description.answer, companion, references)

"""A head on disk: head.safetensors (weights), head.json (everything else), history.csv (how training went).

head.json is written last and names the hash of the weights, so that a folder is either whole or refused; and the hash of
references.safetensors (see `refine`) where the head keeps photos to answer with.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
import pydantic
import safetensors.torch
from pydantic import Field

from geoloc_core import storage
from geoloc_core.errors import CheckpointError, GeolocError
from geoloc_core.learning.calibrate import COVERAGE, MAX_RISK
from geoloc_core.learning.posterior import Head
from geoloc_core.learning.recipes import HeadSpec
from geoloc_core.learning.refine import References
from geoloc_core.learning.weights import LEVELS
from geoloc_core.storage import FileName

if TYPE_CHECKING:
    from geoloc_core.learning.train import TrainedHead

FORMAT = 3
PLAIN_FIELDS = ("level", "classes", "parents", "temperature", "within_temperature", "logit_adjustment", "calibration")

# All that torch and safetensors raise where weights and sizes are not those of a head.
UNFIT = (
    GeolocError,
    OSError,
    ValueError,
    KeyError,
    TypeError,
    RuntimeError,
    OverflowError,
    safetensors.SafetensorError,
)
RegionId = Annotated[str, Field(min_length=1)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
# Calibration looks between 0.02 and 50.
Temperature = Annotated[float, Field(ge=1e-3, le=1e3)]


class Calibrated(pydantic.BaseModel, extra="allow"):
    """What `Head.promise` reads of the calibration; all of it may be missing."""

    set_coverage: Share = COVERAGE
    set_threshold: float = 0.0
    sure_max_risk: Share = MAX_RISK
    sure_threshold: float = math.inf
    n_calibration: Annotated[int, Field(ge=0)] = 0
    stopping_source: str = ""


class BlockDescription(pydantic.BaseModel, extra="allow"):
    """Which backbone one block of vectors comes from."""

    backbone: FileName
    version: str
    dimension: Annotated[int, Field(ge=1)]


class HeadDescription(pydantic.BaseModel):
    """What head.json says, as `save_head` writes it."""

    format: Literal[FORMAT]  # type: ignore[valid-type]
    weights_sha256: str
    head: HeadSpec
    block_dims: Annotated[list[Annotated[int, Field(ge=1, le=2**20)]], Field(min_length=1)]
    level: Literal[LEVELS]  # type: ignore[valid-type]
    classes: Annotated[list[RegionId], Field(min_length=1)]
    parents: list[RegionId]
    class_counts: list[Annotated[int, Field(ge=1, lt=2**63)]]
    temperature: Temperature
    within_temperature: Temperature
    logit_adjustment: Annotated[float, Field(ge=-100.0, le=100.0)]
    calibration: Calibrated
    features: list[BlockDescription]
    recipe: dict[str, Any]
    seed: int
    best_epoch: int
    meta: dict[str, Any]

    @pydantic.model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes names a region twice")
        if not len(self.classes) == len(self.parents) == len(self.class_counts):
            raise ValueError("classes, parents and class_counts do not belong together")
        return self


def save_head(folder: str | os.PathLike[str], trained: TrainedHead, meta: Mapping[str, Any] | None = None) -> None:
    """Write `trained` to `folder` (local or remote).

    `meta`: JSON-able values to keep beside it; "features" (a list of {"backbone", "version", "dimension"}) becomes
    `Head.features`, the rest `Head.meta`.
    """
    head, base = trained.head, os.fspath(folder).rstrip("/")
    meta = {"features": head.features, **head.meta, **(meta or {})}
    weights = safetensors.torch.save(head.state)
    description = {
        "format": FORMAT,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "head": asdict(head.spec),
        "block_dims": list(head.block_dims),
        "class_counts": head.class_counts.tolist(),
        **{name: getattr(head, name) for name in PLAIN_FIELDS},
        "features": meta.pop("features"),
        "recipe": asdict(trained.recipe),
        "seed": trained.seed,
        "best_epoch": trained.best_epoch,
        "meta": meta,
    }
    storage.write_bytes(f"{base}/head.safetensors", weights)
    storage.write_text(f"{base}/history.csv", trained.history.to_csv(index=False, lineterminator="\n"))
    storage.write_json(f"{base}/head.json", description)


def load_head(folder: str | os.PathLike[str]) -> Head:
    """Read a head that `save_head` wrote; CheckpointError with the reason when it is missing, damaged or unfit."""
    base = os.fspath(folder).rstrip("/")
    try:
        described, weights = storage.read_checked(f"{base}/head.json", HeadDescription), Path(base, "head.safetensors")
        if not weights.is_file():  # a pipe could block a reader for ever
            raise FileNotFoundError(weights)
        head = _assemble(described, weights.read_bytes())
        _ = head.module  # builds the network and puts the weights in: shapes and names are checked here
    except FileNotFoundError as error:
        raise CheckpointError(
            f"there is no whole head in {base} ({error.filename or error}); train it first"
        ) from error
    except CheckpointError:
        raise
    except UNFIT as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"the head in {base} cannot be read: {reason}; train it again") from error
    return head


def read_references(folder: str | os.PathLike[str], head: Head) -> References:
    """The photos that the head in `folder` keeps to answer with; CheckpointError where there are none, or others."""
    try:
        references = References.load(folder, head.meta.get("references_sha256", ""))
    except CheckpointError:
        raise
    except UNFIT as error:
        raise CheckpointError(
            f"the photos kept in {os.fspath(folder)} cannot be read: {error}; train it again"
        ) from error
    n_photos, starts = len(references.latitude), references.starts
    shapes = (references.vectors.shape, references.longitude.shape, starts.shape)
    whole = shapes == ((n_photos, sum(head.block_dims)), (n_photos,), (len(head.classes) + 1,))
    if not whole or starts[0] != 0 or starts[-1] != n_photos or (np.diff(starts) < 0).any():
        raise CheckpointError(f"the photos kept in {os.fspath(folder)} are not those of its classes; train it again")
    return references


def _assemble(described: HeadDescription, weights: bytes) -> Head:
    if hashlib.sha256(weights).hexdigest() != described.weights_sha256:
        raise ValueError("head.safetensors is not the file that head.json was written with")
    plain = described.model_dump(exclude_unset=True)
    kept = {name: plain[name] for name in ("recipe", "seed", "best_epoch", "weights_sha256")}
    return Head(
        spec=described.head,
        block_dims=tuple(described.block_dims),
        state=safetensors.torch.load(weights),
        class_counts=np.asarray(described.class_counts, dtype=np.int64),
        **{name: plain[name] for name in PLAIN_FIELDS},
        features=plain["features"],
        meta={**described.meta, **kept},
    )

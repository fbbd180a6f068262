"""A head on disk: head.safetensors (weights), head.json (everything else), history.csv (how training went).

head.json is written last and names the hash of the weights, so that a folder is either whole or refused; and the hash of
references.safetensors (see `refine`) where the head keeps photos to answer with.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors
import safetensors.torch

from geoloc_core import storage
from geoloc_core.errors import CheckpointError, GeolocError
from geoloc_core.learning.posterior import Head
from geoloc_core.learning.recipes import HeadSpec
from geoloc_core.learning.refine import References
from geoloc_core.learning.weights import LEVELS

if TYPE_CHECKING:
    from geoloc_core.learning.train import TrainedHead

FORMAT = 3


def save_head(folder: str | os.PathLike[str], trained: TrainedHead, meta: Mapping[str, Any] | None = None) -> None:
    """Write `trained` to `folder` (local or remote).

    `meta`: JSON-able values to keep beside it; "features" (a list of {"backbone", "version", "dimension"}) becomes
    `Head.features`, the rest `Head.meta`.
    """
    described = {**trained.head.meta, **(meta or {})}
    weights = safetensors.torch.save({name: tensor.contiguous() for name, tensor in trained.head.state.items()})
    description = {
        "format": FORMAT,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "head": trained.head.spec.as_dict(),
        "block_dims": list(trained.head.block_dims),
        "level": trained.head.level,
        "classes": trained.head.classes,
        "parents": trained.head.parents,
        "class_counts": [int(count) for count in trained.head.class_counts],
        "temperature": trained.head.temperature,
        "within_temperature": trained.head.within_temperature,
        "logit_adjustment": trained.head.logit_adjustment,
        "calibration": trained.head.calibration,
        "features": described.pop("features", trained.head.features),
        "recipe": trained.recipe.as_dict(),
        "seed": trained.seed,
        "best_epoch": trained.best_epoch,
        "meta": described,
    }
    base = os.fspath(folder).rstrip("/")
    storage.write_bytes(f"{base}/head.safetensors", weights)
    storage.write_text(f"{base}/history.csv", trained.history.to_csv(index=False, lineterminator="\n"))
    storage.write_json(f"{base}/head.json", description)


def load_head(folder: str | os.PathLike[str]) -> Head:
    """Read a head that `save_head` wrote; CheckpointError with the reason when it is missing, damaged or unfit."""
    base = os.fspath(folder).rstrip("/")
    try:
        description = storage.read_json(f"{base}/head.json")
        weights = Path(base, "head.safetensors").read_bytes()
    except FileNotFoundError as error:
        raise CheckpointError(
            f"there is no whole head in {base} ({error.filename or error}); train it first"
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"the head in {base} cannot be read ({error}); train it again") from error
    try:
        head = _assemble(description, weights)
        _ = head.module  # builds the network and puts the weights in: shapes and names are checked here
    except CheckpointError:
        raise
    except (GeolocError, KeyError, TypeError, ValueError, AttributeError, safetensors.SafetensorError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise CheckpointError(f"the head in {base} is malformed: {reason}; train it again") from error
    return head


def read_references(folder: str | os.PathLike[str], head: Head) -> References:
    """The photos that the head in `folder` keeps to answer with; CheckpointError where there are none."""
    if "references_sha256" not in head.meta:
        raise CheckpointError(f"the head in {os.fspath(folder)} keeps no photos to answer with; train it again")
    return References.load(folder, head.meta["references_sha256"])


def _assemble(described: Any, weights: bytes) -> Head:
    if not isinstance(described, dict) or described.get("format") != FORMAT:
        raise ValueError(f"head.json is not of format {FORMAT}")
    if hashlib.sha256(weights).hexdigest() != described["weights_sha256"]:
        raise ValueError("head.safetensors is not the file that head.json was written with")
    classes, parents = _names(described, "classes"), _names(described, "parents")
    counts = np.asarray(described["class_counts"], dtype=np.int64)
    level = described["level"]
    temperature, within = float(described["temperature"]), float(described["within_temperature"])
    if len(set(classes)) != len(classes) or not classes:
        raise ValueError("the class list is empty or names a region twice")
    if len(parents) != len(classes) or counts.shape != (len(classes),) or (counts < 1).any():
        raise ValueError("classes, parents and class counts do not belong together")
    if level not in LEVELS:
        raise ValueError(f"level {level!r} is not known")
    for number in (temperature, within):
        if not (math.isfinite(number) and number > 0):
            raise ValueError(f"temperature {number} is not a positive number")
    return Head(
        spec=HeadSpec.from_dict(described["head"]),
        block_dims=tuple(int(width) for width in described["block_dims"]),
        state=safetensors.torch.load(weights),
        level=level,
        classes=classes,
        parents=parents,
        class_counts=counts,
        temperature=temperature,
        within_temperature=within,
        logit_adjustment=float(described["logit_adjustment"]),
        calibration=dict(described["calibration"]),
        features=[dict(feature) for feature in described["features"]],
        meta={
            **described["meta"],
            **{name: described[name] for name in ("recipe", "seed", "best_epoch", "weights_sha256")},
        },
    )


def _names(described: dict[str, Any], key: str) -> list[str]:
    names = described[key]
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"{key} is not a list of region ids")
    return names

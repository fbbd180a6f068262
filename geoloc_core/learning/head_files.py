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
from typing import TYPE_CHECKING, Any

import numpy as np
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
PLAIN_FIELDS = ("level", "classes", "parents", "temperature", "within_temperature", "logit_adjustment", "calibration")

UNFIT = (GeolocError, OSError, ValueError, KeyError, TypeError, AttributeError, safetensors.SafetensorError)


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
        head = _assemble(storage.read_json(f"{base}/head.json"), Path(base, "head.safetensors").read_bytes())
        _ = head.module  # builds the network and puts the weights in: shapes and names are checked here
    except FileNotFoundError as error:
        raise CheckpointError(
            f"there is no whole head in {base} ({error.filename or error}); train it first"
        ) from error
    except CheckpointError:
        raise
    except UNFIT as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise CheckpointError(f"the head in {base} cannot be read: {reason}; train it again") from error
    return head


def read_references(folder: str | os.PathLike[str], head: Head) -> References:
    """The photos that the head in `folder` keeps to answer with; CheckpointError where there are none, or others."""
    return References.load(folder, head.meta.get("references_sha256", ""))


def _assemble(description: Any, weights: bytes) -> Head:
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise ValueError(f"head.json is not of format {FORMAT}")
    if hashlib.sha256(weights).hexdigest() != description["weights_sha256"]:
        raise ValueError("head.safetensors is not the file that head.json was written with")
    classes, parents, level = (description[name] for name in ("classes", "parents", "level"))
    counts = np.asarray(description["class_counts"], dtype=np.int64)
    for name, ids in (("classes", classes), ("parents", parents)):
        if not isinstance(ids, list) or not all(isinstance(region_id, str) and region_id for region_id in ids):
            raise ValueError(f"{name} is not a list of region ids")
    if len(set(classes)) != len(classes) or not classes:
        raise ValueError("the class list is empty or names a region twice")
    if len(parents) != len(classes) or counts.shape != (len(classes),) or (counts < 1).any():
        raise ValueError("classes, parents and class counts do not belong together")
    if level not in LEVELS:
        raise ValueError(f"level {level!r} is not known")
    for number in (description["temperature"], description["within_temperature"]):
        if not (math.isfinite(number) and number > 0):
            raise ValueError(f"temperature {number} is not a positive number")
    return Head(
        spec=HeadSpec(**description["head"]),
        block_dims=tuple(description["block_dims"]),
        state=safetensors.torch.load(weights),
        class_counts=counts,
        **{name: description[name] for name in PLAIN_FIELDS},
        features=[dict(feature) for feature in description["features"]],
        meta={
            **description["meta"],
            **{name: description[name] for name in ("recipe", "seed", "best_epoch", "weights_sha256")},
        },
    )

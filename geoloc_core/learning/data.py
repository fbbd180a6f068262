"""What a head is trained on: matrices held once, labels, and who took the photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geoloc_core.errors import InputError


@dataclass(frozen=True)
class TrainingData:
    """Photos of both splits, row by row the same photo in every array.

    blocks: one matrix (n, D_i) for each backbone, float16 or float32, in memory or memory-mapped; never copied whole.
    labels: int64 (n,), position in the class list, -1 where the truth is no class (see `encode_labels`). Such a photo
        teaches nothing and counts as wrong where it is judged.
    is_train: bool (n,), False for the validation photos.
    latitude, longitude: float64 (n,), degrees.
    author_id: object (n,), or none: then every photo stands for an author of its own.
    class_weights: scheme -> weight of each class (K,), or none: then they are computed from the photos that are fitted.

    Photos without a vector do not belong here: leave their rows out.
    """

    blocks: Sequence[np.ndarray]
    labels: np.ndarray
    is_train: np.ndarray
    latitude: np.ndarray
    longitude: np.ndarray
    author_id: np.ndarray | None = None
    class_weights: Mapping[str, np.ndarray] | None = None

    def __post_init__(self) -> None:
        n = len(self.labels)
        if not self.blocks:
            raise InputError("training data has no vectors: give one matrix for each backbone")
        for position, block in enumerate(self.blocks):
            if block.ndim != 2 or len(block) != n:
                raise InputError(f"block {position} has shape {block.shape}, but there are labels for {n} photos")
        for name in ("is_train", "latitude", "longitude", "author_id"):
            column = getattr(self, name)
            if column is not None and len(column) != n:
                raise InputError(f"{name} has {len(column)} rows, but there are labels for {n} photos")
        if not (self.is_train & (self.labels >= 0)).any():
            raise InputError("no photo of the training split has a label, so there is nothing to learn from")

    @property
    def block_dims(self) -> tuple[int, ...]:
        """Width of each block."""
        return tuple(block.shape[1] for block in self.blocks)

    @property
    def teachable_labels(self) -> np.ndarray:
        """Labels of the training photos that have one."""
        return self.labels[self.is_train & (self.labels >= 0)]


@dataclass(frozen=True)
class Parts:
    """Which rows are fitted and which decide when to stop: int64 tensors, ascending, all with a label."""

    fit: Tensor
    stopping: Tensor
    stopping_source: str


def encode_labels(region_ids: np.ndarray, is_train: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Class list and labels (n,) of region ids (n,), "" for a photo without one.

    The classes are the regions that occur in the training split, in ascending order: a region that training never saw
    is no class, can never be answered, and its photos get the label -1.
    """
    ids = np.asarray(region_ids, dtype=object)
    classes = sorted(set(ids[np.asarray(is_train, dtype=bool)]) - {""})
    position = {region_id: index for index, region_id in enumerate(classes)}
    return classes, np.fromiter((position.get(region_id, -1) for region_id in ids), np.int64, len(ids))


def divide(data: TrainingData, held_out_share: float, seed: int) -> Parts:
    """Part the training rows into those that are fitted and those that decide when to stop.

    held_out_share > 0 takes about that share of the *training authors* away for stopping and calibration, so that the
    validation photos are only ever reported on. 0 is the thesis's way: the validation photos also decide when to stop.
    Where there is nobody to spare the fitted photos decide, and `stopping_source` says so.
    """
    validation = np.flatnonzero(~data.is_train)
    teachable = np.flatnonzero(data.is_train & (data.labels >= 0))
    if held_out_share > 0:
        held_out = _held_out(data, teachable, held_out_share, seed)
        source, stopping, fit = "held-out training authors", teachable[held_out], teachable[~held_out]
    else:
        source, stopping, fit = "validation", validation[data.labels[validation] >= 0], teachable
    if not len(stopping):
        source, stopping = "training", fit
    return Parts(torch.from_numpy(fit), torch.from_numpy(stopping), source)


def _held_out(data: TrainingData, rows: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Which of `rows` are held out, bool: whole authors, and never the last author of a class."""
    if data.author_id is None:
        author = np.arange(len(rows))
    else:
        author = np.unique(np.asarray(data.author_id, dtype=object)[rows].astype(str), return_inverse=True)[1]
    n_authors = int(author.max()) + 1
    order = np.random.default_rng(seed).permutation(n_authors)
    photos_of = np.bincount(author, minlength=n_authors)[order]
    # Authors differ in size by orders of magnitude: take them until the share of the *photos* is reached.
    taken = np.zeros(n_authors, dtype=bool)
    taken[order[np.cumsum(photos_of) <= share * len(rows)]] = True
    labels = data.labels[rows]
    n_classes = int(labels.max()) + 1
    left = np.bincount(labels[~taken[author]], minlength=n_classes)
    bereft = (left == 0)[labels]
    taken[author[bereft]] = False
    return taken[author]

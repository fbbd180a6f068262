"""From a region to a place in it: answer with where the most similar training photos of the region were taken.

After PIGEON's prototypes (Haas et al. 2024), with the nearest photo where its released code takes the farthest. A head keeps
some training photos of each class beside its weights (`references.safetensors`) for experiments that answer so.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor
from torch.nn import functional

from geoloc_core import storage
from geoloc_core.errors import CheckpointError, InputError
from geoloc_core.geography.sphere import haversine_km
from geoloc_core.learning.neighbours import nearest
from geoloc_core.learning.posterior import joined_chunks

REFERENCES_FILE = "references.safetensors"
REFERENCES_PER_CLASS = 50
"""Of 4,000 sub-divisions and 1,536 numbers a photo that is 0.6 GB; more photos find a nearer one ever more slowly."""


@dataclass(frozen=True)
class Refinement:
    """Settings of `refine_points`.

    top_regions: how many of the likeliest regions may win; neighbours: how many photos of a region speak for it;
    width: a region's probability is multiplied by exp(-(1 - c) / width), c the mean cosine of these photos;
    max_move_km: where the new point lies farther than this from the old one, the old one stays.
    """

    top_regions: int = 5
    neighbours: int = 3
    width: float = 0.1
    max_move_km: float = 1000.0


@dataclass(frozen=True)
class References:
    """Training photos by region: unit vectors float16 (n, D), the position of their class, degrees; ordered by class."""

    vectors: Tensor
    labels: np.ndarray
    latitude: np.ndarray
    longitude: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(
        cls,
        blocks: Sequence[np.ndarray],
        labels: np.ndarray,
        latitude: np.ndarray,
        longitude: np.ndarray,
        n_classes: int,
    ) -> References:
        """From training photos; those with the label -1 are left out."""
        known = np.flatnonzero(labels >= 0)
        order = known[np.argsort(labels[known], kind="stable")]
        vectors = unit_rows([block[order] for block in blocks]).half()
        starts = np.searchsorted(labels[order], np.arange(n_classes + 1))
        return cls(vectors, labels[order], latitude[order], longitude[order], starts)

    def save(self, folder: str | os.PathLike[str]) -> str:
        """Write `references.safetensors` to `folder` (local or remote); the hash of its bytes."""
        tensors = {
            "vectors": self.vectors.contiguous(),
            "labels": torch.from_numpy(self.labels),
            "latitude": torch.from_numpy(self.latitude),
            "longitude": torch.from_numpy(self.longitude),
            "starts": torch.from_numpy(self.starts),
        }
        content = safetensors.torch.save(tensors)
        storage.write_bytes(f"{os.fspath(folder).rstrip('/')}/{REFERENCES_FILE}", content)
        return hashlib.sha256(content).hexdigest()

    @classmethod
    def load(cls, folder: str | os.PathLike[str], sha256: str) -> References:
        """What `save` wrote; CheckpointError where it is missing, or its bytes are others."""
        path = f"{os.fspath(folder).rstrip('/')}/{REFERENCES_FILE}"
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read ({error}); train the head again") from error
        if hashlib.sha256(content).hexdigest() != sha256:
            raise CheckpointError(f"{path} is not the file that head.json was written with; train the head again")
        tensors = safetensors.torch.load(content)
        arrays = {name: tensors[name].numpy() for name in ("labels", "latitude", "longitude", "starts")}
        return cls(vectors=tensors["vectors"], **arrays)


def choose_references(labels: np.ndarray, most: int = REFERENCES_PER_CLASS, seed: int = 0) -> np.ndarray:
    """Rows of at most `most` photos of each class, drawn by `seed`, ascending; those with the label -1 are left out."""
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    grouped = labels[order]
    rank = np.arange(len(order)) - np.searchsorted(grouped, grouped)
    return np.sort(order[(rank < most) & (grouped >= 0)])


def unit_rows(blocks: Sequence[np.ndarray]) -> Tensor:
    """Rows float32 (n, sum D) of length 1, in which every block has the same length: no backbone outvotes another."""
    widths = [block.shape[1] for block in blocks]
    pieces = []
    for joined in joined_chunks(blocks):
        parts = [functional.normalize(part, dim=1) for part in joined.split(widths, dim=1)]
        pieces.append(torch.cat(parts, dim=1) / len(widths) ** 0.5)
    return torch.cat(pieces) if pieces else torch.zeros((0, sum(widths)))


def refine_points(
    blocks: Sequence[np.ndarray],
    posterior: np.ndarray,
    points: np.ndarray,
    references: References,
    how: Refinement | None = None,
) -> np.ndarray:
    """Points (n, 2), latitude and longitude, refined from `points` (n, 2), the answers so far.

    posterior (n, K) over the classes that the references are labelled with. For each of a photo's likeliest regions the
    nearest reference photos of that region speak; the region that is then likeliest wins, and its answer is the place of
    its one nearest photo.
    """
    how = how or Refinement()
    if posterior.shape[1] != len(references.starts) - 1:
        raise InputError(
            f"the posterior has {posterior.shape[1]} classes, the reference photos {len(references.starts) - 1}"
        )
    top = np.argsort(-posterior, axis=1, kind="stable")[:, : how.top_regions]
    return _refined(blocks, top, np.take_along_axis(posterior, top, axis=1), points, references, how)


def refine_within(
    blocks: Sequence[np.ndarray],
    regions: np.ndarray,
    points: np.ndarray,
    references: References,
    how: Refinement | None = None,
) -> np.ndarray:
    """Points (n, 2): each photo's nearest reference photo of the one region (n,) that was answered for it."""
    return _refined(blocks, regions[:, None], np.ones((len(regions), 1)), points, references, how or Refinement())


def _refined(
    blocks: Sequence[np.ndarray],
    top: np.ndarray,
    probability: np.ndarray,
    points: np.ndarray,
    references: References,
    how: Refinement,
) -> np.ndarray:
    """top, probability (n, T): the regions that may win, and how likely each is."""
    queries = unit_rows(blocks)
    score = np.full(top.shape, -1.0)
    winner = np.zeros(top.shape, dtype=np.int64)
    for region in np.unique(top):
        start, end = references.starts[region], references.starts[region + 1]
        photo, place = np.nonzero(top == region)
        if start == end:
            continue
        cosines, rows = nearest(queries[torch.from_numpy(photo)], references.vectors[start:end], how.neighbours)
        closeness = np.exp((cosines.mean(dim=1).numpy().astype(np.float64) - 1.0) / how.width)
        score[photo, place] = probability[photo, place] * closeness
        winner[photo, place] = rows[:, 0].numpy() + start
    best = score.argmax(axis=1)
    photos = np.arange(len(top))
    chosen = winner[photos, best]
    refined = np.stack([references.latitude[chosen], references.longitude[chosen]], axis=1)
    moved = haversine_km(points[:, 0], points[:, 1], refined[:, 0], refined[:, 1])
    keep = (score[photos, best] < 0) | (moved > how.max_move_km)
    refined[keep] = points[keep]
    return refined

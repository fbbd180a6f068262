"""From a region to a place in it: answer with where the most similar training photo of the region was taken.

After PIGEON's prototypes (Haas et al. 2024), with the nearest photo where its released code takes the farthest. A head keeps
some training photos of each class beside its weights (`references.safetensors`) for experiments with `answer: nearest_photo`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import safetensors.torch
import torch
from torch import Tensor
from torch.nn import functional

from geoloc_core import storage
from geoloc_core.errors import CheckpointError
from geoloc_core.geography.sphere import haversine_km
from geoloc_core.learning.neighbours import nearest
from geoloc_core.learning.posterior import joined_chunks

REFERENCES_FILE = "references.safetensors"
REFERENCES_PER_CLASS = 50
"""Of 4,000 sub-divisions and 1,536 numbers a photo that is 0.6 GB; more photos find a nearer one ever more slowly."""
MAX_MOVE_KM = 1000.0
"""A reference photo farther than this from the region's own point is not believed: the point stays."""


@dataclass(frozen=True)
class References:
    """Training photos ordered by class: unit vectors float16 (n, D), degrees (n,); starts: int64 (K + 1,), where the
    photos of each class begin.
    """

    vectors: Tensor
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
        labelled = np.flatnonzero(labels >= 0)
        order = labelled[np.argsort(labels[labelled], kind="stable")]
        vectors = unit_rows([block[order] for block in blocks]).half()
        starts = np.searchsorted(labels[order], np.arange(n_classes + 1))
        return cls(vectors, latitude[order], longitude[order], starts)

    def save(self, folder: str | os.PathLike[str]) -> str:
        """Write `references.safetensors` to `folder` (local or remote); the hash of its bytes."""
        arrays = {name: torch.from_numpy(getattr(self, name)) for name in ("latitude", "longitude", "starts")}
        content = safetensors.torch.save({"vectors": self.vectors.contiguous(), **arrays})
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
        return cls(tensors["vectors"], *(tensors[name].numpy() for name in ("latitude", "longitude", "starts")))


def choose_references(labels: np.ndarray, most: int = REFERENCES_PER_CLASS, seed: int = 0) -> np.ndarray:
    """Rows of at most `most` photos of each class, drawn by `seed`, ascending; those with the label -1 are left out."""
    drawn = pd.Series(labels).iloc[np.random.default_rng(seed).permutation(len(labels))]
    return np.sort(drawn[drawn >= 0].groupby(drawn).head(most).index.to_numpy())


def unit_rows(blocks: Sequence[np.ndarray]) -> Tensor:
    """Rows float32 (n, sum D) of length 1, in which every block has the same length: no backbone outvotes another."""
    widths = [block.shape[1] for block in blocks]
    pieces = []
    for joined in joined_chunks(blocks):
        parts = [functional.normalize(part, dim=1) for part in joined.split(widths, dim=1)]
        pieces.append(torch.cat(parts, dim=1) / len(widths) ** 0.5)
    return torch.cat(pieces) if pieces else torch.zeros((0, sum(widths)))


def refine_within(
    blocks: Sequence[np.ndarray], regions: np.ndarray, points: np.ndarray, references: References
) -> np.ndarray:
    """Points (n, 2), latitude and longitude: each photo's nearest reference photo of the region (n,) answered for it.

    points (n, 2): the answers so far, which stay where the region has no reference photo, or none within `MAX_MOVE_KM`.
    """
    queries = unit_rows(blocks)
    refined = points.copy()
    for region in np.unique(regions):
        start, end = references.starts[region], references.starts[region + 1]
        if start == end:
            continue
        photos = np.flatnonzero(regions == region)
        rows = start + nearest(queries[torch.from_numpy(photos)], references.vectors[start:end], 1)[1][:, 0].numpy()
        places = np.stack([references.latitude[rows], references.longitude[rows]], axis=1)
        move = haversine_km(points[photos, 0], points[photos, 1], places[:, 0], places[:, 1])
        refined[photos[move <= MAX_MOVE_KM]] = places[move <= MAX_MOVE_KM]
    return refined

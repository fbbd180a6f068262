"""Nearest training vectors where there are too many to look through: an inverted file of faiss (Johnson et al. 2017).

The references are put into lists around centroids; a query looks through the lists of its nearest centroids alone, so that
some true neighbours are missed. Vectors are kept as float16, as the exact search keeps them. faiss comes with the extra
`neighbours`; without it the exact search stays, over at most a million references.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geoloc_core.errors import CheckpointError

# About 4 sqrt(n) lists (faiss's own advice for a million vectors and more), and the share of them that a query looks through.
LISTS_PER_ROOT = 4
PROBED_SHARE = 1 / 16
LEAST_PROBED = 8
# faiss warns below 39 vectors for each centroid and takes no more than 256.
VECTORS_PER_LIST = 64


def available() -> bool:
    """Whether faiss is installed."""
    return importlib.util.find_spec("faiss") is not None


def number_of_lists(n_references: int) -> int:
    """How many lists so many references are put into."""
    return max(1, min(int(LISTS_PER_ROOT * n_references**0.5), n_references // VECTORS_PER_LIST))


def build_index(sample: Tensor, pieces: Iterable[Tensor], n_references: int) -> Tensor:
    """An index of the references in the order of `pieces` (m_i, D), of length 1 each, as the bytes that faiss writes.

    sample: (m, D), references drawn at random, which place the centroids; `VECTORS_PER_LIST` for each list are plenty.
    """
    import faiss

    dimension = sample.shape[1]
    quantizer = faiss.IndexFlatIP(dimension)
    index = faiss.IndexIVFScalarQuantizer(
        quantizer,
        dimension,
        number_of_lists(n_references),
        faiss.ScalarQuantizer.QT_fp16,
        faiss.METRIC_INNER_PRODUCT,
        False,  # the vectors themselves, not their differences from the centroid: inner products stay cosines
    )
    index.train(np.ascontiguousarray(sample.float().numpy()))
    for piece in pieces:
        index.add(np.ascontiguousarray(piece.float().numpy()))
    index.nprobe = max(LEAST_PROBED, round(PROBED_SHARE * index.nlist))
    return torch.from_numpy(faiss.serialize_index(index))


def open_index(content: Tensor) -> Any:
    """faiss's index from its bytes; CheckpointError where faiss is not installed or the bytes are no index."""
    if not available():
        raise CheckpointError(
            "this head looks its neighbours up in an index of faiss, which is not installed; install the extra: "
            "pip install 'geoloc[neighbours]'"
        )
    import faiss

    try:
        return faiss.deserialize_index(content.numpy())
    except RuntimeError as error:
        raise CheckpointError("the head's index of neighbours cannot be read; train the head again") from error


def nearest_in_index(index: Any, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """As `neighbours.nearest`, of those references that lie in the lists looked through.

    Products float32 (m, k) and row numbers int64 (m, k); a place that no reference was found for holds the best one again.
    """
    products, rows = index.search(np.ascontiguousarray(queries.float().cpu().numpy()), min(k, index.ntotal))
    missing = rows < 0
    rows = np.where(missing, rows[:, :1], rows)
    products = np.where(missing, products[:, :1], products)
    return torch.from_numpy(products).to(queries.device), torch.from_numpy(rows).to(queries.device)

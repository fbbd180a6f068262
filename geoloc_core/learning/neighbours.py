"""The nearest training vectors: as a head of their own, and for whoever wants to know which photos a photo is like.

The search is exact up to a million references. It walks through them a piece at a time, so it needs little memory beyond
them, and a million are within reach of two cores; its time grows with queries x references. Beyond that, see
`neighbour_index`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from geoloc_core.errors import InputError
from geoloc_core.learning.neighbour_index import nearest_in_index, open_index

QUERIES_AT_ONCE = 1024
REFERENCES_AT_ONCE = 16_384


def nearest(queries: Tensor, references: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k references of largest inner product with each query, best first.

    queries (m, D) and references (n, D), float16 or float32, rows of length 1 for cosines; equal products keep the order
    of the rows. Products float32 (m, k) and row numbers int64 (m, k), k no more than n.
    """
    if references.shape[0] == 0 or queries.shape[1] != references.shape[1]:
        raise InputError(
            f"queries of shape {tuple(queries.shape)} have no neighbours among {tuple(references.shape)} references"
        )
    found = [_nearest(some.float(), references, min(k, len(references))) for some in queries.split(QUERIES_AT_ONCE)]
    if not found:
        empty = queries.new_zeros((0, min(k, len(references))), dtype=torch.float32)
        return empty, empty.long()
    return torch.cat([products for products, _ in found]), torch.cat([rows for _, rows in found])


def _nearest(queries: Tensor, references: Tensor, k: int) -> tuple[Tensor, Tensor]:
    best = queries.new_full((len(queries), 0), 0.0)
    rows = torch.zeros_like(best, dtype=torch.int64)
    for start in range(0, len(references), REFERENCES_AT_ONCE):
        piece = references[start : start + REFERENCES_AT_ONCE].float()
        products, where = (queries @ piece.T).topk(min(k, len(piece)), dim=1)
        best, rows = torch.cat([best, products], dim=1), torch.cat([rows, where + start], dim=1)
        order = torch.sort(best, dim=1, descending=True, stable=True).indices[:, :k]
        best, rows = best.gather(1, order), rows.gather(1, order)
    return best, rows


class NeighbourVote(nn.Module):
    """Log of the share of the vote of the nearest training vectors, with one voice for the classes' own frequencies.

    A neighbour at cosine c votes for its class with weight exp((c - c_nearest) / width); a further voice of weight
    `PRIOR_VOICE` is divided over the classes by their training counts, so that no class is impossible.
    """

    PRIOR_VOICE = 0.5
    references: Tensor
    index: Tensor
    labels: Tensor
    prior: Tensor
    width: Tensor

    def __init__(self, n_inputs: int, n_outputs: int, n_references: int, neighbours: int, index_bytes: int = 0) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.n_outputs = n_outputs
        # With an index, which has the vectors in it, there are no others.
        kept = 0 if index_bytes else n_references
        self.register_buffer("references", torch.zeros((kept, n_inputs), dtype=torch.float16))
        self.register_buffer("index", torch.zeros(index_bytes, dtype=torch.uint8))
        self._opened: Any = None
        self.register_buffer("labels", torch.zeros(n_references, dtype=torch.int32))
        self.register_buffer("prior", torch.full((n_outputs,), 1.0 / n_outputs))
        self.register_buffer("width", torch.tensor(0.1))

    def forward(self, fused: Tensor) -> Tensor:
        """(B, D) -> log-probabilities (B, K)."""
        return self.vote(*self.look_up(fused))

    def look_up(self, fused: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines (B, k) and labels (B, k) of the neighbours."""
        unit = functional.normalize(fused, dim=1)
        if not len(self.index):
            cosines, rows = nearest(unit, self.references, self.neighbours)
            return cosines, self.labels[rows].long()
        if self._opened is None:
            self._opened = open_index(self.index.cpu())
        cosines, rows = nearest_in_index(self._opened, unit, self.neighbours)
        return cosines, self.labels[rows].long()

    def vote(self, cosines: Tensor, labels: Tensor) -> Tensor:
        """Log-probabilities (B, K) of what was looked up."""
        weights = torch.exp((cosines - cosines[:, :1]) / self.width)
        votes = self.PRIOR_VOICE * self.prior.repeat(len(weights), 1)
        votes.scatter_add_(1, labels, weights)
        return torch.log(votes / votes.sum(dim=1, keepdim=True))

"""The nearest training vectors: as a kind of head, and for finding the photos that a photo resembles.

The search is exact: matrix products a piece at a time, so it needs little memory beyond the references, and a million of
them are within reach of two cores; its time grows with queries x references.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from geoloc_core.learning.fusion import FusionHead
from geoloc_core.learning.problem import Fit, Problem
from geoloc_core.learning.recipes import HeadSpec

QUERIES_AT_ONCE = 1024
REFERENCES_AT_ONCE = 16_384
MAX_REFERENCES = 1_000_000
MEASURED_PHOTOS = 2_000
WIDTHS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
MIDDLE_WIDTH = 0.1


def nearest(queries: Tensor, references: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k references of largest inner product with each query, best first; equal products keep the order of the rows.

    queries (m, D) and references (n, D), float16 or float32, rows of length 1 for cosines. Products float32 (m, k) and
    row numbers int64 (m, k), k no more than n.
    """
    parts = [_nearest(batch.float(), references, min(k, len(references))) for batch in queries.split(QUERIES_AT_ONCE)]
    return torch.cat([products for products, _ in parts]), torch.cat([rows for _, rows in parts])


def _nearest(queries: Tensor, references: Tensor, k: int) -> tuple[Tensor, Tensor]:
    best = queries.new_zeros((len(queries), 0))
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
    labels: Tensor
    prior: Tensor
    width: Tensor

    def __init__(self, spec: HeadSpec, n_inputs: int, n_classes: int) -> None:
        super().__init__()
        self.neighbours = spec.neighbours
        self.register_buffer("references", torch.zeros((0, n_inputs), dtype=torch.float16))
        self.register_buffer("labels", torch.zeros(0, dtype=torch.int32))
        self.register_buffer("prior", torch.full((n_classes,), 1.0 / n_classes))
        self.register_buffer("width", torch.tensor(MIDDLE_WIDTH))

    def forward(self, fused: Tensor) -> Tensor:
        """(B, D) -> log-probabilities (B, K)."""
        return self.vote(*self.look_up(fused))

    def look_up(self, fused: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines (B, k) and labels (B, k) of the neighbours."""
        cosines, rows = nearest(functional.normalize(fused, dim=1), self.references, self.neighbours)
        return cosines, self.labels[rows].long()

    def vote(self, cosines: Tensor, labels: Tensor) -> Tensor:
        """Log-probabilities (B, K) from what was looked up."""
        weights = torch.exp((cosines - cosines[:, :1]) / self.width)
        votes = self.PRIOR_VOICE * self.prior.repeat(len(weights), 1)
        votes.scatter_add_(1, labels, weights)
        return torch.log(votes / votes.sum(dim=1, keepdim=True))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """As torch's, for as many references as training kept."""
        n_references = len(state_dict.get(f"{prefix}references", ()))
        self.references = self.references.new_empty((n_references, self.references.shape[1]))
        self.labels = self.labels.new_empty(n_references)
        super()._load_from_state_dict(state_dict, prefix, *rest)


def fit_neighbours(network: FusionHead, problem: Problem) -> Fit:
    """Keep the fitted photos' vectors, at most a million drawn at random, and choose how quickly a vote fades.

    history: one row for each width tried, with `width`, `stopping_loss` and `stopping_accuracy` on at most 2,000 of the
    photos that decide. Where these are the fitted photos themselves, each would find itself: then the middle width stays.
    """
    vote = network.bodies[0]
    assert isinstance(vote, NeighbourVote)
    rows = problem.sample(problem.split.fit, MAX_REFERENCES)
    measured = problem.sample(problem.split.stopping, MEASURED_PHOTOS)
    device = problem.labels.device
    with torch.no_grad():
        vote.references = torch.empty((len(rows), sum(network.block_dims)), dtype=torch.float16, device=device)
        start = 0
        for batch, joined in problem.reader.batches(rows):
            vote.references[start : start + len(batch)] = functional.normalize(network.fused(joined), dim=1)
            start += len(batch)
            problem.advance()
        vote.labels = problem.labels[rows.to(device)].int()
        counts = torch.bincount(problem.labels[problem.split.fit.to(device)], minlength=len(vote.prior))
        vote.prior.copy_(counts / counts.sum())
        cosines, voters = vote.look_up(network.fused(problem.reader.read(measured)))
        history: list[dict[str, float]] = []
        for width in WIDTHS if problem.split.stopping_source != "training" else (MIDDLE_WIDTH,):
            vote.width.fill_(width)
            judged = problem.judge([(measured, vote.vote(cosines, voters))])
            history.append({"epoch": len(history) + 1, "width": width, **judged})
        best = min(history, key=lambda row: row["stopping_loss"])
        vote.width.fill_(best["width"])
    return Fit(history, int(best["epoch"]))

"""Multinomial logistic regression to convergence: the literature's yardstick for frozen features, and the way for few photos.

Radford et al. (2021, CLIP) fit their linear probes so: L-BFGS on all photos at once, the penalty chosen on held-out
ones. The loss of one level is convex, so there is one answer and no learning rate to be lucky with.

Few photos for many regions are a region's own weights and what it shares with its neighbours. Its weights are drawn, a
priori, from a Gaussian whose covariance among regions falls with the distance between them ("everything is related to
everything else, but near things are more related", Tobler 1970); fitted is the most probable weight. With a share of 0 that is
the plain penalty |W|^2.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from geoloc_core.geography.sphere import unit_vectors
from geoloc_core.learning.data import ROWS_AT_ONCE
from geoloc_core.learning.fusion import FusionHead
from geoloc_core.learning.losses import class_anchors, great_circle_km
from geoloc_core.learning.problem import Fit, Problem

INVERSE_PENALTIES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 1.0)
"""C in sum(loss) + |W|^2 / (2 C), strongest penalty first; meant for standardised inputs, so that one grid fits all."""
SWEEP_PHOTOS = 20_000
"""The penalty is chosen on so many photos: it depends on the size of the weights, not on the number of photos."""
MAX_NUMBERS = 400_000_000
"""Float32 inputs and logits are held in memory: together at most so many numbers (1.6 GB). With 1,536 inputs and
221 countries that is 227,000 photos; where there are more, so many are drawn at random."""
MAX_STEPS = 300
Solution = tuple[Tensor, Tensor]


def fit_probe(network: FusionHead, problem: Problem) -> Fit:
    """Choose the penalty, then fit with it; history has a row for each penalty tried (the best is kept).

    The penalty is the one of least loss on photos that its fit has not seen: one part of them, or, where the recipe
    cross-validates, each of several in turn. The loss is the recipe's, with its weights and smoothing.
    """
    body, folds = network.bodies[0], problem.split.folds
    assert isinstance(body, nn.Linear)
    most = max(1, MAX_NUMBERS // (body.in_features + body.out_features))
    root = shared_root(problem, body.out_features)
    parts = [_fused(network, problem, problem.sample(fitted, min(most, SWEEP_PHOTOS))) for fitted, _ in folds]
    rows = [problem.sample(held_out, SWEEP_PHOTOS) for _, held_out in folds]
    history: list[dict[str, float]] = []
    least, best, held_out = math.inf, 0.0, torch.empty(0)
    solutions: list[Solution] = [(torch.zeros_like(body.weight), torch.zeros_like(body.bias))] * len(folds)
    for inverse_penalty in INVERSE_PENALTIES:
        logits = []
        for fold, (part, unseen) in enumerate(zip(parts, rows, strict=True)):
            solutions[fold] = _regress(body, problem, *part, inverse_penalty, root, solutions[fold])
            logits.append(problem.logits(network, unseen))
        measured = problem.judge(zip(rows, logits, strict=True))
        history.append({"epoch": len(history) + 1, "inverse_penalty": inverse_penalty, **measured})
        if measured["stopping_loss"] >= least:
            break  # along the path from a strong to a weak penalty the held-out loss falls, then rises
        least, best, held_out = measured["stopping_loss"], inverse_penalty, torch.cat(logits)
    everything = _fused(network, problem, problem.sample(problem.split.fit, most))
    _regress(body, problem, *everything, best, root, solutions[0])
    best_epoch = 1 + INVERSE_PENALTIES.index(best)
    return Fit(history, best_epoch, held_out=(torch.cat(rows), held_out) if len(folds) > 1 else None)


def shared_root(problem: Problem, n_classes: int) -> Tensor | None:
    """A matrix (K, K) whose product with independent weights (K, D) has the covariance of the prior; None where it is 1.

    The covariance of two regions is share * exp(-distance of their anchors / reach), and 1 of a region with itself.
    """
    share, reach_km = problem.recipe.shared, problem.recipe.shared_km
    if not share:
        return None
    rows = problem.split.fit.numpy()
    photos = unit_vectors(problem.data.latitude[rows], problem.data.longitude[rows]).astype(np.float32)
    anchors = class_anchors(torch.from_numpy(photos), torch.from_numpy(problem.data.labels[rows]), n_classes)
    covariance = share * torch.exp(-great_circle_km(anchors, anchors).double() / reach_km)
    return torch.linalg.cholesky(covariance.fill_diagonal_(1.0)).float().to(problem.labels.device)


def _regress(
    body: nn.Linear,
    problem: Problem,
    vectors: Tensor,
    basis: Tensor | None,
    rows: Tensor,
    inverse_penalty: float,
    root: Tensor | None,
    start: Solution,
) -> Solution:
    """Put the solution for what `_fused` gives for the photos `rows` into `body`.

    Returns the independent weights (K, D) and the bias (K,), from which the next penalty of the path may start.
    """
    independent = (start[0].clone() if basis is None else start[0] @ basis).requires_grad_()
    bias = start[1].clone().requires_grad_()
    labels = problem.labels[rows.to(problem.labels.device)]
    optimiser = torch.optim.LBFGS(
        [independent, bias],
        max_iter=MAX_STEPS,
        tolerance_grad=1e-4,
        tolerance_change=1e-6,
        line_search_fn="strong_wolfe",
    )

    def weight() -> Tensor:
        return independent if root is None else root @ independent

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = problem.objective(functional.linear(vectors, weight(), bias), labels, rows)
        value = value + independent.square().sum() / (2.0 * inverse_penalty * len(rows))
        value.backward()
        return value

    optimiser.step(loss)
    problem.advance()
    with torch.no_grad():
        independent = independent if basis is None else independent @ basis.T
        body.load_state_dict({"weight": weight(), "bias": bias})
    return independent.detach(), bias.detach()


def _fused(network: FusionHead, problem: Problem, rows: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
    """What the linear layer reads for `rows`, float32 (n, D), a basis, and the rows.

    The weights of the minimum lie in the span of the vectors (the representer theorem, Kimeldorf & Wahba 1971). So where
    there are fewer photos than dimensions the vectors are given in an orthonormal basis (D, n) of it: the same answer, sooner.
    """
    with torch.no_grad():
        vectors = torch.empty((len(rows), sum(network.block_dims)), device=problem.labels.device)
        for part, (_, joined) in zip(vectors.split(ROWS_AT_ONCE), problem.reader.batches(rows), strict=True):
            part.copy_(network.fused(joined))
        if len(rows) >= vectors.shape[1]:
            return vectors, None, rows
        basis, triangle = torch.linalg.qr(vectors.T)
    return triangle.T.contiguous(), basis, rows

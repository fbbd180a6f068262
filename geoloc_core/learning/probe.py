"""Multinomial logistic regression to convergence, by scikit-learn: the literature's yardstick for frozen features.

Radford et al. (2021, CLIP) fit their linear probes so: L-BFGS on all photos at once, the penalty chosen on held-out
ones. The loss is convex, so there is one answer and no learning rate to be lucky with.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor

from geoloc_core.learning.fusion import FusionHead
from geoloc_core.learning.problem import Fit, Problem

INVERSE_PENALTIES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 1.0)
"""C in sum(loss) + |W|^2 / (2 C), strongest penalty first; meant for standardised inputs, so that one grid fits all."""
SWEEP_PHOTOS = 20_000
"""The penalty is chosen on so many photos: it depends on the size of the weights, not on the number of photos."""
MAX_NUMBERS = 400_000_000
"""scikit-learn needs float32 inputs and logits in memory: together at most so many numbers (1.6 GB). With 1,536 inputs and
221 countries that is 227,000 photos; where there are more, so many are drawn at random."""


def fit_probe(network: FusionHead, problem: Problem) -> Fit:
    """Choose the penalty, then fit with it; history has a row for each fit, with its `inverse_penalty` (the last is kept).

    The recipe says whether inputs are standardised, how classes are weighted and which photos choose the penalty. At level
    "hierarchical" the loss is that of the classes alone.
    """
    n_classes = network.bodies[0].out_features
    most = max(1, MAX_NUMBERS // (sum(network.block_dims) + n_classes))
    fit = problem.sample(problem.split.fit, most)
    sweep = problem.sample(fit, SWEEP_PHOTOS)
    vectors, labels = _fused(network, problem, sweep)
    start = None
    history: list[dict[str, float]] = []
    for inverse_penalty in INVERSE_PENALTIES:
        start = _fit(network, problem, vectors, labels, inverse_penalty, start)
        history.append(_row(network, problem, inverse_penalty, len(history) + 1))
        if len(history) > 1 and history[-1]["stopping_loss"] >= history[-2]["stopping_loss"]:
            break  # along the path from a strong to a weak penalty the held-out loss falls, then rises
    best = min(history, key=lambda row: row["stopping_loss"])["inverse_penalty"]
    if len(fit) > len(sweep):
        vectors, labels = _fused(network, problem, fit)
    _fit(network, problem, vectors, labels, best, start)
    history.append(_row(network, problem, best, len(history) + 1))
    return Fit(history, len(history))


def _fit(
    network: FusionHead,
    problem: Problem,
    vectors: np.ndarray,
    labels: np.ndarray,
    inverse_penalty: float,
    start: tuple[np.ndarray, np.ndarray] | None,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Put the solution into the network; its weights and biases, for the next fit to start from."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    body = network.bodies[0]
    weight, bias = torch.zeros_like(body.weight), torch.full_like(body.bias, -20.0)
    classes = np.unique(labels)
    if len(classes) > 1:
        model = LogisticRegression(C=inverse_penalty, tol=1e-3, max_iter=300, warm_start=True)
        if start is not None:
            model.coef_, model.intercept_ = start
        class_weights = problem.objective.weights
        with warnings.catch_warnings():
            # After 300 iterations the answer is as good as any; the figures beside it say how good.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(vectors, labels, None if class_weights is None else class_weights.cpu().numpy()[labels])
        start = model.coef_.copy(), model.intercept_.copy()
        # Of two classes scikit-learn gives the weights of the second alone.
        answered = classes if len(classes) > 2 else classes[1:]
        bias[classes] = 0.0
        weight[answered] = torch.from_numpy(model.coef_).to(weight)
        bias[answered] = torch.from_numpy(model.intercept_).to(bias)
    else:
        bias[classes] = 0.0
    with torch.no_grad():
        body.weight.copy_(weight)
        body.bias.copy_(bias)
    problem.advance()
    return start


def _fused(network: FusionHead, problem: Problem, rows: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """What the linear layer reads for `rows`, float32 (n, D), and their labels (n,)."""
    vectors = np.empty((len(rows), sum(network.block_dims)), np.float32)
    start = 0
    with torch.no_grad():
        for batch, joined in problem.reader.batches(rows):
            vectors[start : start + len(batch)] = network.fused(joined).cpu().numpy()
            start += len(batch)
    return vectors, problem.labels.cpu().numpy()[rows.numpy()]


def _row(network: FusionHead, problem: Problem, inverse_penalty: float, number: int) -> dict[str, float]:
    return {"epoch": number, "inverse_penalty": inverse_penalty, **problem.measure(network)}

"""Multinomial logistic regression to convergence, by scikit-learn: the literature's yardstick for frozen features.

Radford et al. (2021, CLIP) fit their linear probes so: L-BFGS on all photos at once, the penalty chosen on held-out
ones. The loss is convex, so there is one answer and no learning rate to be lucky with.
"""

import warnings

import numpy as np
import torch
from torch import Tensor, nn

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
    body = network.bodies[0]
    assert isinstance(body, nn.Linear)
    rows = problem.sample(problem.split.fit, max(1, MAX_NUMBERS // (body.in_features + body.out_features)))
    sweep = _fused(network, problem, problem.sample(rows, SWEEP_PHOTOS))
    history: list[dict[str, float]] = []

    def fit(vectors: np.ndarray, labels: np.ndarray, inverse_penalty: float) -> None:
        _regress(body, vectors, labels, inverse_penalty, problem.objective.weights)
        problem.advance()
        history.append({"epoch": len(history) + 1, "inverse_penalty": inverse_penalty, **problem.measure(network)})

    for inverse_penalty in INVERSE_PENALTIES:
        fit(*sweep, inverse_penalty)
        if len(history) > 1 and history[-1]["stopping_loss"] >= history[-2]["stopping_loss"]:
            break  # along the path from a strong to a weak penalty the held-out loss falls, then rises
    best = min(history, key=lambda row: row["stopping_loss"])["inverse_penalty"]
    fit(*(_fused(network, problem, rows) if len(rows) > len(sweep[1]) else sweep), best)
    return Fit(history, len(history))


def _regress(
    body: nn.Linear, vectors: np.ndarray, labels: np.ndarray, inverse_penalty: float, class_weights: Tensor | None
) -> None:
    """Put the solution into `body`; a class without a photo here is never answered."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    weight, bias = torch.zeros_like(body.weight), torch.full_like(body.bias, -20.0)
    classes = np.unique(labels)
    bias[classes] = 0.0
    if len(classes) > 1:
        photo_weights = None if class_weights is None else class_weights.cpu().numpy()[labels]
        model = LogisticRegression(C=inverse_penalty, tol=1e-3, max_iter=300)
        with warnings.catch_warnings():
            # After 300 iterations the answer is as good as any; the figures in the history say how good.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(vectors, labels, photo_weights)
        # Of two classes scikit-learn gives the weights of the second alone.
        described = classes if len(classes) > 2 else classes[1:]
        weight[described] = torch.from_numpy(model.coef_).to(weight)
        bias[described] = torch.from_numpy(model.intercept_).to(bias)
    body.load_state_dict({"weight": weight, "bias": bias})


def _fused(network: FusionHead, problem: Problem, rows: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """What the linear layer reads for `rows`, float32 (n, D), and their labels (n,)."""
    vectors = np.empty((len(rows), sum(network.block_dims)), np.float32)
    start = 0
    with torch.no_grad():
        for batch, joined in problem.reader.batches(rows):
            vectors[start : start + len(batch)] = network.fused(joined).cpu().numpy()
            start += len(batch)
    return vectors, problem.labels.cpu().numpy()[rows.numpy()]

"""Whether a probability of 0.7 is right seven times in ten, and the one number that mends most of it when it is not.

Labels are positions in the class list; -1 is a truth that is no class: never hit, whatever is answered.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp, softmax

from geoloc_core.errors import InputError

ROWS_AT_ONCE = 4096


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The T that minimises the mean negative log-likelihood of softmax(logits / T) (Guo et al. 2017).

    logits (n, K), labels (n,); photos whose truth is no class are left out. The loss is convex in 1/T, and its
    derivative there is the mean over photos of (expected logit - logit of the truth): bisection on its sign, for 1/T
    from 0.01 to 100. Without any photo the answer is 1.
    """
    known = np.flatnonzero(labels >= 0)
    if not len(known):
        return 1.0
    parts = np.array_split(known, 1 + len(known) // ROWS_AT_ONCE)
    low, high = np.log(0.01), np.log(100.0)
    for _ in range(50):
        middle = 0.5 * (low + high)
        slope = sum(_slope(np.asarray(logits[rows], np.float64), labels[rows], np.exp(middle)) for rows in parts)
        low, high = (middle, high) if slope < 0 else (low, middle)
    return float(np.exp(-0.5 * (low + high)))


def _slope(scores: np.ndarray, truth: np.ndarray, inverse: float) -> float:
    """Sum over photos of (expected logit - logit of the truth) at 1/T = `inverse`."""
    probability = softmax(scores * inverse, axis=1)
    return float(np.einsum("ij,ij->", probability, scores) - scores[np.arange(len(scores)), truth].sum())


def fit_group_temperatures(logits: np.ndarray, labels: np.ndarray, group: np.ndarray) -> tuple[float, float]:
    """(among, within): the temperature of the groups' probabilities, and of the classes' shares within their group.

    logits (n, K), labels (n,), group (K,) from 0 to C - 1 (the country of each sub-division). Each minimises the mean
    negative log-likelihood of its own part: -log sum_{k in truth's group} softmax(logits / T)_k, and -log of the truth's
    softmax among its group's classes. Their sum is that of the class itself. 1 and 1 without any photo.
    """
    known = labels >= 0
    scores, truth = np.asarray(logits, np.float64)[known], labels[known]
    if not len(scores):
        return 1.0, 1.0
    rows = np.arange(len(scores))
    siblings = np.where(group[None, :] == group[truth][:, None], scores, -np.inf)

    def among(log_t: float) -> float:
        t = np.exp(log_t)
        return float((logsumexp(scores / t, axis=1) - logsumexp(siblings / t, axis=1)).mean())

    def within(log_t: float) -> float:
        t = np.exp(log_t)
        return float((logsumexp(siblings / t, axis=1) - scores[rows, truth] / t).mean())

    return _least(among), _least(within)


def _least(loss: Callable[[float], float]) -> float:
    """exp of where `loss` is least, between 0.05 and 20: the best of a grid, then around it (it need not be convex)."""
    grid = np.linspace(np.log(0.05), np.log(20.0), 25)
    best = int(np.argmin([loss(value) for value in grid]))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    return float(np.exp(minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-5}).x))


def negative_log_likelihood(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean of -log softmax(logits)[label] over photos whose truth is a class; NaN without any."""
    known = labels >= 0
    if not known.any():
        return float("nan")
    logs = log_softmax(np.asarray(logits, np.float64)[known], axis=1)
    return float(-logs[np.arange(len(logs)), labels[known]].mean())


def top_confidence(posterior: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probability of the answer, float64 (n,), and whether it is right, bool (n,)."""
    answer = posterior.argmax(axis=1)
    return np.asarray(posterior[np.arange(len(answer)), answer], np.float64), answer == labels


def reliability_table(confidence: np.ndarray, correct: np.ndarray, n_bins: int = 15) -> pd.DataFrame:
    """What was promised and what was kept, in bins of equal width over [0, 1].

    Columns: low, high, n, confidence (mean of the promised), accuracy (share right); bins without photos hold NaN.
    A confidence on an edge belongs to the bin below it.
    """
    if n_bins < 1:
        raise InputError(f"a reliability table needs at least one bin, not {n_bins}")
    bins = np.clip(np.ceil(confidence * n_bins).astype(int) - 1, 0, n_bins - 1)
    count = np.bincount(bins, minlength=n_bins)
    with np.errstate(invalid="ignore"):
        promised = np.bincount(bins, weights=confidence, minlength=n_bins) / count
        kept = np.bincount(bins, weights=correct, minlength=n_bins) / count
    edges = np.linspace(0.0, 1.0, n_bins + 1)
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "n": count, "confidence": promised, "accuracy": kept})


def expected_calibration_error(confidence: np.ndarray, correct: np.ndarray, n_bins: int = 15) -> float:
    """ECE (Naeini et al. 2015): |confidence - accuracy| of each bin, weighted by its share of the photos."""
    table = reliability_table(confidence, correct, n_bins)
    gap = (table["confidence"] - table["accuracy"]).abs().fillna(0.0)
    return float((gap * table["n"]).sum() / max(1, len(confidence)))


def brier_score(posterior: np.ndarray, labels: np.ndarray) -> float:
    """Mean over photos of sum_k (p_k - [k is the truth])^2 (Brier 1950): 0 is perfect, 2 is certain and wrong."""
    known = labels >= 0
    p = np.asarray(posterior, np.float64)
    at_truth = np.zeros(len(p))
    at_truth[known] = p[np.flatnonzero(known), labels[known]]
    return float((np.einsum("ij,ij->i", p, p) - 2.0 * at_truth + 1.0).mean())

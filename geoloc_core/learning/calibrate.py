"""How sure a head may be: temperatures, figures of calibration, sets that hold the truth as often as promised, "not sure".

Labels are positions in the class list; -1 is a truth that is no class: never right, whatever is answered.
"""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import betaincinv, log_softmax, logsumexp

COVERAGE = 0.9
MAX_RISK = 0.2
MIN_ANSWERED = 30
NEVER_SURE = 2.0


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The T that minimises the mean negative log-likelihood of softmax(logits / T) (Guo et al. 2017).

    logits (n, K), labels (n,); photos whose truth is no class are left out. Without any photo the answer is 1.
    """
    labelled = np.flatnonzero(labels >= 0)
    if not len(labelled):
        return 1.0
    logits, truth = logits[labelled], labels[labelled, None]
    return _least(
        lambda t: float(-np.take_along_axis(log_softmax((logits / t).astype(np.float64), axis=1), truth, axis=1).mean())
    )


def fit_group_temperatures(logits: np.ndarray, labels: np.ndarray, group: np.ndarray) -> tuple[float, float]:
    """(among, within): the temperature of the groups' probabilities, and of the classes' shares within their group.

    logits (n, K), labels (n,), group (K,) from 0 to C - 1 (the country of each sub-division). Each minimises the mean
    negative log-likelihood of its own part: -log sum_{k in truth's group} softmax(logits / T)_k, and -log of the truth's
    softmax among its group's classes. Their sum is that of the class itself. 1 and 1 without any photo.
    """
    labelled = labels >= 0
    scores, truth = np.asarray(logits, np.float64)[labelled], labels[labelled]
    if not len(scores):
        return 1.0, 1.0
    at_truth = scores[np.arange(len(scores)), truth]
    siblings = np.where(group[None, :] == group[truth][:, None], scores, -np.inf)

    def among(t: float) -> float:
        return float((logsumexp(scores / t, axis=1) - logsumexp(siblings / t, axis=1)).mean())

    def within(t: float) -> float:
        return float((logsumexp(siblings / t, axis=1) - at_truth / t).mean())

    return _least(among), _least(within)


def _least(loss: Callable[[float], float]) -> float:
    """Where `loss` is least between 0.02 and 50: the best of a grid, then around it (it need not be convex)."""
    grid = np.linspace(np.log(0.02), np.log(50.0), 17)
    best = int(np.argmin([loss(math.exp(value)) for value in grid]))
    bounds = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found = minimize_scalar(lambda value: loss(math.exp(value)), bounds=bounds, options={"xatol": 1e-5})
    return math.exp(found.x)


def top_confidence(posterior: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probability of the answer, float64 (n,), and whether it is right, bool (n,)."""
    answer = posterior.argmax(axis=1)
    return np.asarray(posterior[np.arange(len(answer)), answer], np.float64), answer == labels


def reliability_table(confidence: np.ndarray, correct: np.ndarray, n_bins: int = 15) -> pd.DataFrame:
    """Confidence beside accuracy, in bins of equal width over [0, 1].

    Columns: low, high, n, confidence (mean), accuracy (share right); bins without photos hold NaN. A confidence on an edge
    belongs to the bin below it.
    """
    bins = np.clip(np.ceil(confidence * n_bins).astype(int) - 1, 0, n_bins - 1)
    count = np.bincount(bins, minlength=n_bins)
    with np.errstate(invalid="ignore"):
        mean_confidence = np.bincount(bins, weights=confidence, minlength=n_bins) / count
        accuracy = np.bincount(bins, weights=correct, minlength=n_bins) / count
    edges = np.linspace(0.0, 1.0, n_bins + 1)
    columns = {"low": edges[:-1], "high": edges[1:], "n": count, "confidence": mean_confidence, "accuracy": accuracy}
    return pd.DataFrame(columns)


def expected_calibration_error(confidence: np.ndarray, correct: np.ndarray, n_bins: int = 15) -> float:
    """ECE (Naeini et al. 2015): |confidence - accuracy| of each bin, weighted by its share of the photos."""
    table = reliability_table(confidence, correct, n_bins)
    gap = (table["confidence"] - table["accuracy"]).abs().fillna(0.0)
    return float((gap * table["n"]).sum() / max(1, len(confidence)))


def brier_score(posterior: np.ndarray, labels: np.ndarray) -> float:
    """Mean over photos of sum_k (p_k - [k is the truth])^2 (Brier 1950): 0 is perfect, 2 is certain and wrong."""
    labelled = labels >= 0
    p = np.asarray(posterior, np.float64)
    at_truth = np.zeros(len(p))
    at_truth[labelled] = p[np.flatnonzero(labelled), labels[labelled]]
    return float((np.einsum("ij,ij->i", p, p) - 2.0 * at_truth + 1.0).mean())


def set_threshold(p_truth: np.ndarray, author: np.ndarray | None = None, coverage: float = COVERAGE) -> float:
    """The smallest probability with which a class belongs to the set, from photos that trained nothing.

    p_truth (n,): the probability that each calibration photo gave to its truth, 0 where the truth is no class.
    author (n,): who took them, or none where every photo is its author's only one.

    Split conformal prediction with the score 1 - p (Sadinle, Lei & Wasserman 2019: the smallest sets on average). Photos
    of one author resemble each other, so authors, not photos, are what is exchangeable: each author weighs the same and
    one unseen author counts as a miss (Lee, Barber & Willett 2023). Then the set for a photo of a new author holds the
    truth with probability `coverage` at least. 0, every class, when there are too few authors to promise that.
    """
    if not len(p_truth):
        return 0.0
    code = np.arange(len(p_truth)) if author is None else pd.factorize(author.astype(str))[0]
    photos_of = np.bincount(code)
    weight = 1.0 / ((len(photos_of) + 1) * photos_of[code])
    order = np.argsort(-p_truth, kind="stable")
    reached = np.cumsum(weight[order]) >= coverage - 1e-12
    return float(p_truth[order[reached.argmax()]]) if reached.any() else 0.0


def prediction_sets(posterior: np.ndarray, threshold: float) -> np.ndarray:
    """bool (n, K): the classes at or above the threshold, and always the likeliest one, so that no set is empty."""
    sets = posterior >= threshold
    sets[np.arange(len(sets)), posterior.argmax(axis=1)] = True
    return sets


def risk_coverage(confidence: np.ndarray, correct: np.ndarray) -> pd.DataFrame:
    """What answering only above a threshold costs and gains, one row for each distinct confidence, highest first.

    Columns: threshold, n (photos answered), coverage (their share), risk (share of them answered wrongly).
    """
    order = np.argsort(-confidence, kind="stable")
    threshold = confidence[order]
    last = np.flatnonzero(np.diff(threshold, append=-np.inf))  # equal confidences are answered together
    answered = last + 1
    wrong = np.cumsum(~correct[order].astype(bool))[last]
    return pd.DataFrame(
        {"threshold": threshold[last], "n": answered, "coverage": answered / len(order), "risk": wrong / answered}
    )


def area_under_risk(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Mean risk over all coverages (AURC, Geifman & El-Yaniv 2017): lower is better."""
    curve = risk_coverage(confidence, correct)
    share = np.diff(curve["coverage"], prepend=0.0)
    return float((curve["risk"] * share).sum())


def sure_threshold(confidence: np.ndarray, correct: np.ndarray, max_risk: float = MAX_RISK) -> float:
    """The confidence from which answers may be called sure: of those at or above it at most `max_risk` are wrong.

    The most photos for which the one-sided 95 % Clopper-Pearson bound on the risk stays within max_risk, and not fewer
    than 30 of them; infinity, never sure, where there is no such threshold.
    """
    curve = risk_coverage(confidence, correct)
    answered = curve["n"].to_numpy()
    wrong = np.rint(curve["risk"].to_numpy() * answered)
    with np.errstate(invalid="ignore"):
        bound = np.where(wrong < answered, betaincinv(wrong + 1, np.maximum(answered - wrong, 1e-9), 0.95), 1.0)
    fit = np.flatnonzero((bound <= max_risk) & (answered >= MIN_ANSWERED))
    return float(curve["threshold"].iloc[fit[-1]]) if len(fit) else math.inf

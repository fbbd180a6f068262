"""Answers that know their limits: sets that hold the truth as often as promised, and "not sure"."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy.special import betaincinv

from geoloc_core.errors import InputError

COVERAGE = 0.9
MAX_RISK = 0.2
MIN_ANSWERED = 30


def set_threshold(p_truth: np.ndarray, author: np.ndarray | None = None, coverage: float = COVERAGE) -> float:
    """The smallest probability with which a class belongs to the set, from photos that trained nothing.

    p_truth (n,): the probability that each calibration photo gave to its truth, 0 where the truth is no class.
    author (n,): who took them, or none where every photo is its author's only one.

    Split conformal prediction with the score 1 - p (Sadinle, Lei & Wasserman 2019: the smallest sets on average). Photos
    of one author resemble each other, so authors, not photos, are what is exchangeable: each author weighs the same and
    one unseen author counts as a miss (Lee, Barber & Willett 2023). Then the set for a photo of a new author holds the
    truth with probability `coverage` at least. 0, every class, when there are too few authors to promise that.
    """
    if not 0.0 < coverage < 1.0:
        raise InputError(f"a coverage lies between 0 and 1, not at {coverage}")
    if not len(p_truth):
        return 0.0
    code = np.arange(len(p_truth)) if author is None else np.unique(author.astype(str), return_inverse=True)[1]
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

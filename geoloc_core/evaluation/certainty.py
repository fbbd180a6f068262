"""How sure, and rightly so? Calibration, what answering "not sure" gains, and the promises of a head.

The formulas are those of `learning.calibrate`, applied to answers for photos that trained nothing. A photo in no country, or
in one that no training photo shows, was answered wrongly whatever its probability. Shares of a coverage curve are per cent
of all photos, so that one without a picture is never covered.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import pydantic

from geoloc_core.errors import InputError
from geoloc_core.evaluation.intervals import CONFIDENCE, RESAMPLES, Interval, author_weights
from geoloc_core.evaluation.predictions import ANSWERED
from geoloc_core.learning import calibrate
from geoloc_core.learning.calibrate import expected_calibration_error, reliability_table, top_confidence

if TYPE_CHECKING:
    from geoloc_core.learning.posterior import Head

BINS = 15
# A truth that got no probability at all has an infinite negative log-likelihood: floats of 32 bits end near here.
SMALLEST_PROBABILITY = 1e-38


@dataclass(frozen=True)
class Calibration:
    """How well the probabilities of n answered photos fit what happened; every figure is NaN where n is 0.

    accuracy, confidence: share right, and mean probability of the answers, 0 to 1; ece: expected calibration error, 0 to 1,
    over bins of equal width (Naeini et al., 2015); brier: mean squared error of the whole posterior, 0 to 2; log_loss: mean
    negative log-likelihood of the true country where it is a class; table: n, confidence and accuracy in each bin.
    """

    n: int
    accuracy: float
    confidence: float
    ece: float
    brier: float
    log_loss: float
    table: pd.DataFrame


def calibration(predictions: pd.DataFrame, n_bins: int = BINS) -> Calibration:
    """Calibration of the answered photos of a predictions frame."""
    confidence, correct = _answered(predictions)
    answered = predictions[predictions["status"] == ANSWERED]
    truth = answered["truth_probability"].to_numpy(dtype=np.float64)
    figures = (
        correct,
        confidence,
        answered["brier"].to_numpy(),
        -np.log(np.maximum(truth[truth > 0], SMALLEST_PROBABILITY)),
    )
    right, sureness, brier, loss = (
        float(np.mean(part, dtype=np.float64)) if len(part) else math.nan for part in figures
    )
    ece = expected_calibration_error(confidence, correct, n_bins) if len(confidence) else math.nan
    table = reliability_table(confidence, correct, n_bins)
    return Calibration(len(answered), right, sureness, ece, brier, loss, table)


class Threshold(NamedTuple):
    """Answer when the probability is at least `threshold`: then `coverage` % are answered, `accuracy` % of them right.

    The threshold is infinite where the target cannot be promised; then nothing is answered and the accuracy is NaN.
    """

    threshold: float
    coverage: float
    accuracy: float


def coverage_curve(predictions: pd.DataFrame) -> pd.DataFrame:
    """One row for each threshold that makes a difference, highest first: threshold, coverage and accuracy (per cent).

    Photos with the same probability are answered together (El-Yaniv and Wiener, 2010). Empty where nothing was answered.
    """
    confidence, correct = _answered(predictions)
    curve = calibrate.risk_coverage(confidence, correct)
    coverage, accuracy = 100.0 * curve["n"] / len(predictions), 100.0 * (1.0 - curve["risk"])
    return pd.DataFrame({"threshold": curve["threshold"], "coverage": coverage, "accuracy": accuracy})


def area_under_risk(predictions: pd.DataFrame) -> float:
    """Mean share of wrong answers (per cent) over all coverages; less is better; NaN where nothing was answered."""
    confidence, correct = _answered(predictions)
    return 100.0 * calibrate.area_under_risk(confidence, correct) if len(confidence) else math.nan


def threshold_for(predictions: pd.DataFrame, target_accuracy: float) -> Threshold:
    """The one that answers most photos while `target_accuracy` % of them are right by a 95 % bound (`calibrate`)."""
    confidence, correct = _answered(predictions)
    max_risk = 1.0 - target_accuracy / 100.0
    threshold = calibrate.sure_threshold(confidence, correct, max_risk) if len(confidence) else math.inf
    covered = confidence >= threshold
    if not covered.any():
        return Threshold(math.inf, 0.0, math.nan)
    return Threshold(threshold, 100.0 * float(covered.sum()) / len(predictions), 100.0 * float(correct[covered].mean()))


class Certainty(pydantic.BaseModel, frozen=True):
    """What a head promises, and what it keeps over n photos that were answered; shares lie between 0 and 1.

    fitted_on: which photos the promises were fitted on; where these are the validation photos (a recipe that spares no
    training authors, as the thesis's), only the shares kept on a benchmark test them.
    ece_before, ece: calibration error of the country's probability at temperature 1 and at the head's own.
    set_kept: share of the photos whose true country is in the set, with its interval over authors; set_size: the mean.
    sure_threshold: None where no answer may be called sure; then sure_wrong is None as well.
    """

    fitted_on: str
    fitted_photos: int
    photos: int
    temperature: float
    ece_before: float
    ece: float
    set_promised: float
    set_kept: Interval
    set_size: float
    sure_threshold: float | None
    sure_promised: float
    sure_share: float
    sure_wrong: float | None


def certainty(
    head: Head,
    posterior: np.ndarray,
    uncalibrated: tuple[np.ndarray, np.ndarray],
    truth: np.ndarray,
    authors: np.ndarray,
    answered: np.ndarray,
) -> Certainty:
    """Compare the promises of `head` (see `posterior.Promise`) with its answers.

    posterior: (n, C) over `head.countries`; uncalibrated: the likeliest country (a position) and its probability, (n,) each, at
    temperature 1; truth: (n,) country ids, of which one that is no class is never right and in no set; authors: (n,) who took
    each photo; answered: bool (n,), the photos that count.
    """
    if not answered.any():
        raise InputError("there is no answered photo to compare the head's promises with")
    labels = pd.Index(head.countries).get_indexer(truth[answered])
    confidence, correct = top_confidence(posterior[answered], labels)
    best_before, confidence_before = (values[answered] for values in uncalibrated)
    sets, sure = head.country_sets(posterior[answered]), head.sure(posterior[answered])
    inside = (labels >= 0) & sets[np.arange(len(labels)), labels]
    promise = head.promise
    return Certainty(
        fitted_on=promise.fitted_on,
        fitted_photos=promise.n_photos,
        photos=len(labels),
        temperature=head.temperature,
        ece_before=expected_calibration_error(confidence_before, best_before == labels),
        ece=expected_calibration_error(confidence, correct),
        set_promised=promise.set_coverage,
        set_kept=share_over_authors(inside, authors[answered]),
        set_size=float(sets.sum(axis=1).mean()),
        sure_threshold=promise.sure_threshold,
        sure_promised=promise.sure_max_risk,
        sure_share=float(sure.mean()),
        sure_wrong=float(1.0 - correct[sure].mean()) if sure.any() else None,
    )


def share_over_authors(holds: np.ndarray, authors: np.ndarray, seed: int = 0) -> Interval:
    """Share of the photos (n,) for which something holds, with its 95 % bootstrap interval over authors (n,)."""
    names, author = np.unique(authors.astype(str), return_inverse=True)
    photos_of, holds_of = np.bincount(author).astype(np.float64), np.bincount(author, weights=holds)
    weights = author_weights(len(names), RESAMPLES, seed, max(len(names), len(holds)))
    shares = np.concatenate([(block @ holds_of) / (block @ photos_of) for block in weights])
    low, high = np.quantile(shares, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    return Interval(float(np.mean(holds)), float(low), float(high))


def _answered(predictions: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Probability of the answer, float64, and whether it is right, bool, of the answered photos."""
    answered = predictions[predictions["status"] == ANSWERED]
    return answered["probability"].to_numpy(dtype=np.float64), (answered["rank"] == 1).to_numpy()

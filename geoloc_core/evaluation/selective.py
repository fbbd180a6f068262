"""What is gained by saying "not sure": accuracy over the photos that are answered, against how many are.

A photo is answered when the probability of its best country reaches a threshold (El-Yaniv and Wiener, 2010: risk and
coverage). The figures come from `learning.calibrate`; here they are taken from a predictions frame, in per cent, and
coverage is a share of all photos, so that one without a picture is never covered.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from geoloc_core.errors import InputError
from geoloc_core.evaluation.predictions import ANSWERED
from geoloc_core.learning import calibrate


@dataclass(frozen=True)
class Threshold:
    """Answer when the probability is at least `threshold`: then `coverage` % are answered, `accuracy` % of them right.

    The threshold is infinite where the target cannot be promised; then nothing is answered and the accuracy is NaN.
    """

    threshold: float
    coverage: float
    accuracy: float


def coverage_curve(predictions: pd.DataFrame) -> pd.DataFrame:
    """One row for each threshold that makes a difference, highest first: threshold, coverage and accuracy (per cent).

    Photos with the same probability are answered together. The frame is empty where nothing was answered.
    """
    confidence, correct = _answered(predictions)
    if not len(confidence):
        return pd.DataFrame({"threshold": [], "coverage": [], "accuracy": []}, dtype=np.float64)
    curve = calibrate.risk_coverage(confidence, correct)
    return pd.DataFrame(
        {
            "threshold": curve["threshold"],
            "coverage": 100.0 * curve["n"] / len(predictions),
            "accuracy": 100.0 * (1.0 - curve["risk"]),
        }
    )


def area_under_risk(predictions: pd.DataFrame) -> float:
    """Mean share of wrong answers (per cent) over all coverages; less is better; NaN where nothing was answered."""
    confidence, correct = _answered(predictions)
    return 100.0 * calibrate.area_under_risk(confidence, correct) if len(confidence) else float("nan")


def threshold_for(predictions: pd.DataFrame, target_accuracy: float) -> Threshold:
    """The threshold that answers most photos while `target_accuracy` per cent of the answered are right.

    The target is met by a 95 % bound, not by the figure alone (see `calibrate.sure_threshold`).
    """
    if not 0.0 < target_accuracy < 100.0:
        raise InputError(f"the target accuracy must lie between 0 and 100 per cent, not at {target_accuracy}")
    confidence, correct = _answered(predictions)
    threshold = math.inf
    if len(confidence):
        threshold = calibrate.sure_threshold(confidence, correct, 1.0 - target_accuracy / 100.0)
    taken = confidence >= threshold
    if not taken.any():
        return Threshold(math.inf, 0.0, float("nan"))
    return Threshold(threshold, 100.0 * float(taken.sum()) / len(predictions), 100.0 * float(correct[taken].mean()))


def _answered(predictions: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Probability of the answer, float64, and whether it is right, bool, of the answered photos."""
    answered = predictions[predictions["status"] == ANSWERED]
    return answered["probability"].to_numpy(dtype=np.float64), (answered["rank"] == 1).to_numpy()

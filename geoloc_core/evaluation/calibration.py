"""Whether a probability means what it says, over the photos that were answered.

A photo in no country, or in one that no training photo has, was answered wrongly, whatever its probability. The figures
come from `learning.calibrate`; here they are taken from a predictions frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from geoloc_core.evaluation.predictions import ANSWERED
from geoloc_core.learning.calibrate import expected_calibration_error, reliability_table

BINS = 15
# A truth that got no probability at all has an infinite negative log-likelihood: floats of 32 bits end near here.
SMALLEST_PROBABILITY = 1e-38


@dataclass(frozen=True)
class Calibration:
    """How well probabilities fit what happened.

    Attributes:
        n: photos answered.
        accuracy, confidence: share right, and mean probability of the answers, both 0 to 1.
        ece: expected calibration error, 0 (best) to 1, over `BINS` bins of equal width.
        brier: mean squared error of the whole posterior, 0 (best) to 2.
        log_loss: mean negative log-likelihood of the true country, over photos whose country is a class.
        table: n, confidence and accuracy in each bin of probability.
    """

    n: int
    accuracy: float
    confidence: float
    ece: float
    brier: float
    log_loss: float
    table: pd.DataFrame


def calibration(predictions: pd.DataFrame, n_bins: int = BINS) -> Calibration:
    """Calibration of the answered photos; every figure is NaN where none was answered."""
    answered = predictions[predictions["status"] == ANSWERED]
    confidence = answered["probability"].to_numpy(dtype=np.float64)
    correct = (answered["rank"] == 1).to_numpy()
    truth = answered["truth_probability"].to_numpy(dtype=np.float64)
    likelihood = np.maximum(truth[truth > 0], SMALLEST_PROBABILITY)
    if answered.empty:
        nothing = float("nan")
        return Calibration(
            0, nothing, nothing, nothing, nothing, nothing, reliability_table(confidence, correct, n_bins)
        )
    return Calibration(
        n=len(answered),
        accuracy=float(correct.mean()),
        confidence=float(confidence.mean()),
        ece=expected_calibration_error(confidence, correct, n_bins),
        brier=float(answered["brier"].to_numpy(dtype=np.float64).mean()),
        log_loss=float(-np.log(likelihood).mean()) if len(likelihood) else float("nan"),
        table=reliability_table(confidence, correct, n_bins),
    )

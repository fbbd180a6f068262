"""What is gained by saying "not sure": accuracy over the photos that are answered, against how many are.

A photo is answered when the probability of its best country reaches a threshold (El-Yaniv and Wiener, 2010: risk and
coverage). Coverage is a share of all photos, so one without a picture is never covered.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from geoloc_core.errors import InputError
from geoloc_core.evaluation.predictions import ANSWERED


@dataclass(frozen=True)
class Threshold:
    """Answer when the probability is at least `threshold`: then `coverage` per cent are answered, `accuracy` of them right.

    A threshold above 1 answers nothing: the target cannot be reached. Its accuracy is NaN.
    """

    threshold: float
    coverage: float
    accuracy: float


def risk_coverage(predictions: pd.DataFrame) -> pd.DataFrame:
    """One row for each threshold that makes a difference, highest first: threshold, coverage and accuracy (per cent).

    Photos with the same probability are answered together. The frame is empty where nothing was answered.
    """
    answered = predictions[predictions["status"] == ANSWERED]
    probability = answered["probability"].to_numpy(dtype=np.float64)
    order = np.argsort(-probability, kind="stable")
    right = np.cumsum((answered["rank"] == 1).to_numpy()[order])
    taken = np.arange(1, len(order) + 1)
    sorted_probability = probability[order]
    last_of_equals = np.append(sorted_probability[1:] != sorted_probability[:-1], True)[: len(order)]
    return pd.DataFrame(
        {
            "threshold": sorted_probability[last_of_equals],
            "coverage": 100.0 * taken[last_of_equals] / max(len(predictions), 1),
            "accuracy": 100.0 * right[last_of_equals] / taken[last_of_equals],
        }
    )


def area_under_risk(curve: pd.DataFrame) -> float:
    """Mean risk (100 - accuracy, per cent) over the coverage from 0 to all that was answered; less is better.

    The trapezium rule over the steps of `risk_coverage`, with the first step's risk from coverage 0; NaN when empty.
    """
    if curve.empty:
        return float("nan")
    coverage = np.concatenate([[0.0], curve["coverage"].to_numpy()])
    risk = 100.0 - curve["accuracy"].to_numpy()
    return float(np.trapezoid(np.concatenate([risk[:1], risk]), coverage) / coverage[-1])


def threshold_for(predictions: pd.DataFrame, target_accuracy: float) -> Threshold:
    """The threshold that answers most photos while at least `target_accuracy` per cent of the answered are right."""
    if not 0.0 < target_accuracy <= 100.0:
        raise InputError(f"the target accuracy must lie above 0 and at most at 100 per cent, not {target_accuracy}")
    curve = risk_coverage(predictions)
    good = curve[curve["accuracy"] >= target_accuracy]
    if good.empty:
        return Threshold(np.inf, 0.0, float("nan"))
    row = good.iloc[-1]
    return Threshold(float(row["threshold"]), float(row["coverage"]), float(row["accuracy"]))

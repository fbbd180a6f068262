"""How much a photo of a rare class counts in the loss.

Every scheme is scaled so that the average weight over the training *photos* is 1, sum(n_k w_k) / sum(n_k) = 1: schemes
can be swapped without touching the learning rate. A class without photos has weight 0.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from geoloc_core.errors import InputError
from geoloc_core.geography import cells

HIERARCHICAL = "hierarchical"
"""Classes of the finest level, trained with the loss of the coarser level added."""
LEVELS = (*cells.LEVELS, HIERARCHICAL)

EFFECTIVE_NUMBER_BETA = 0.9999
"""Cui et al. (2019), "Class-balanced loss based on effective number of samples": beta = (N - 1) / N for N = 10,000
prototypes of a class; a class with far more photos than that gains nothing from the next one."""

UNSCALED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "inverse": lambda counts: 1.0 / counts,
    "sqrt": lambda counts: 1.0 / np.sqrt(counts),
    # 1 - beta^n by way of expm1: at n = 1 the plain form has already lost twelve of its sixteen digits.
    "effective": lambda counts: (1.0 - EFFECTIVE_NUMBER_BETA) / -np.expm1(counts * np.log(EFFECTIVE_NUMBER_BETA)),
    "none": np.ones_like,
}
CLASS_WEIGHT_SCHEMES = tuple(UNSCALED)


def class_weights(n_photos: np.ndarray, scheme: str) -> np.ndarray:
    """Weight of each class, float64 (K,), from its number of training photos (K,).

    Before scaling, with n the count of a class: `inverse` 1/n (Okkerman 2024), `sqrt` 1/sqrt(n), `effective`
    (1 - beta) / (1 - beta^n) (Cui et al. 2019), `none` 1.
    """
    counts = np.asarray(n_photos, dtype=np.float64)
    if not counts.any():
        raise InputError("no class has a training photo, so there is nothing to weigh")
    weights = np.where(counts > 0, UNSCALED[scheme](np.maximum(counts, 1.0)), 0.0)
    return weights * counts.sum() / (weights @ counts)


def class_weight_table(training: pd.DataFrame, level: str) -> pd.DataFrame:
    """One row for each region of `level` that has photos of the training split, ordered by region_id.

    `training` has the columns split and `label_column(level)`. Columns: region_id, n_photos, and one for each scheme.
    """
    column = label_column(level)
    labels = training.loc[(training["split"] == "train") & (training[column] != ""), column]
    counts = labels.value_counts().sort_index()
    if counts.empty:
        raise InputError(f"no training photo has a {column.removesuffix('_id')}, so there are no classes to weigh")
    n_photos = counts.to_numpy(dtype=np.int64)
    schemes = {scheme: class_weights(n_photos, scheme) for scheme in CLASS_WEIGHT_SCHEMES}
    return pd.DataFrame({"region_id": counts.index.to_numpy(dtype=object), "n_photos": n_photos, **schemes})


def label_column(level: str) -> str:
    """The column of a table of photos that holds the labels of a head of `level`, one of `LEVELS`."""
    return cells.id_column(cells.FINEST if level == HIERARCHICAL else level)

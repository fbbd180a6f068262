"""What is measured, and over what.

The denominator is every photo of the set. A photo without an answer is wrong in every share, scores 0 points, and
enters the mean and the median distance as half the Earth's circumference, the worst answer there is; it is also
counted apart. A truth that no class stands for (never seen in training, or in no country) is wrong where countries are
compared. Shares are per cent, distances km along a great circle (R = 6371.0), and a photo at exactly r km is within r.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml

from geoloc_core.errors import InputError
from geoloc_core.evaluation.predictions import ANSWERED, NEVER
from geoloc_core.geography.cells import LEVELS, id_column
from geoloc_core.geography.sphere import EARTH_RADIUS_KM

RADII_KM = (1, 25, 200, 750, 2500)
TOP_RANKS = (5, 10)
# PIGEON (Haas et al., 2024): 5000 exp(-d / 1492.7), the points of the game GeoGuessr on a world map.
GEOSCORE_MAXIMUM = 5000.0
GEOSCORE_SCALE_KM = 1492.7
FARTHEST_KM = float(np.pi * EARTH_RADIUS_KM)


class Metric(NamedTuple):
    """How a metric is shown, its unit, its definition, and whether more is better."""

    title: str
    unit: str
    meaning: str
    more_is_better: bool = True

    @property
    def heading(self) -> str:
        """The title with the unit, as a column's heading."""
        return f"{self.title} ({self.unit})"


# In the order of the file, which is also that of the definitions in the report.
DEFINITIONS = {
    name: Metric(**entry)
    for name, entry in yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8")).items()
}
WITHIN = tuple(f"within_{radius}" for radius in RADII_KM)
CELL_METRICS = ("continent_accuracy", *(f"{level}_accuracy" for level in LEVELS[1:]))


def geoscore(distance_km: np.ndarray) -> np.ndarray:
    """Points of each answer, not rounded: 5000 exp(-d / 1492.7), d in km (Haas et al., 2024)."""
    return GEOSCORE_MAXIMUM * np.exp(-np.asarray(distance_km, dtype=np.float64) / GEOSCORE_SCALE_KM)


def photo_scores(predictions: pd.DataFrame) -> pd.DataFrame:
    """What each photo adds to each metric that is a mean over photos; shares are 0 or 100, so that the mean is per cent.

    A level of which no cell was predicted has no column: a head of countries is not asked for sub-divisions.
    """
    answered = (predictions["status"] == ANSWERED).to_numpy()
    distance = np.where(answered, predictions["distance_km"].to_numpy(dtype=np.float64), FARTHEST_KM)
    known = answered & (predictions["country_id"] != "").to_numpy()
    rank = predictions["rank"].to_numpy()
    cells = {}
    for name, column in zip(CELL_METRICS, ("continent", *map(id_column, LEVELS[1:])), strict=True):
        if f"predicted_{column}" in predictions and (predictions[f"predicted_{column}"] != "").any():
            truth, answer = predictions[column].to_numpy(), predictions[f"predicted_{column}"].to_numpy()
            cells[name] = 100.0 * (answered & (truth == answer) & (truth != ""))
    scores = {
        "accuracy": 100.0 * (known & (rank == 1)),
        **{f"top{top}": 100.0 * (known & (rank <= top)) for top in TOP_RANKS},
        **cells,
        "mean_km": distance,
        **{f"within_{radius}": 100.0 * (answered & (distance <= radius)) for radius in RADII_KM},
        "geoscore": np.where(answered, geoscore(distance), 0.0),
    }
    return pd.DataFrame(scores, index=predictions.index)


def score(predictions: pd.DataFrame) -> dict[str, float]:
    """All metrics of one predictions frame, and how many photos they are of.

    n, n_missing (no answer), n_no_country (the truth lies in no country), n_unseen_country (answered, but the true country is
    not a class), the keys of `DEFINITIONS` (see `photo_scores`), and mean_km_answered (NaN when nothing was answered).
    """
    if predictions.empty:
        raise InputError("there is no prediction to score; give at least one photo")
    photos = photo_scores(predictions)
    answered = (predictions["status"] == ANSWERED).to_numpy()
    truth = predictions["country_id"].to_numpy(dtype=object)
    # numpy's median of an even number of photos is the mean of the middle two, as in the literature.
    return {
        "n": len(predictions),
        "n_missing": int((~answered).sum()),
        "n_no_country": int((truth == "").sum()),
        "n_unseen_country": int((answered & (truth != "") & (predictions["rank"] == NEVER)).sum()),
        **{str(name): float(mean) for name, mean in photos.mean().items()},
        "median_km": float(np.median(photos["mean_km"])),
        # NaN when no photo lies in a country
        "macro_accuracy": float(photos["accuracy"][truth != ""].groupby(truth[truth != ""]).mean().mean()),
        "mean_km_answered": float(photos["mean_km"].to_numpy()[answered].mean()) if answered.any() else float("nan"),
    }


def distance_curve(predictions: pd.DataFrame, radii_km: Sequence[float] | np.ndarray) -> np.ndarray:
    """Per cent of the photos answered within each radius; the missing are beyond all of them."""
    answered = (predictions["status"] == ANSWERED).to_numpy()
    distances = np.sort(predictions["distance_km"].to_numpy(dtype=np.float64)[answered])
    return 100.0 * np.searchsorted(distances, np.asarray(radii_km, dtype=np.float64), side="right") / len(predictions)

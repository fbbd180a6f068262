"""For whom it works: recall of each country and continent, beside how many training photos each had."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import scipy.stats

from geoloc_core.evaluation.intervals import CONFIDENCE, Interval, bootstrap, intervals
from geoloc_core.evaluation.metrics import photo_scores
from geoloc_core.evaluation.predictions import ANSWERED, bootstrap_units

# Recall of a country of fewer photos than this says more of the photos than of the country.
MINIMUM_PHOTOS = 10
COLUMNS = ["continent", "n_train", "n", "n_missing", "n_authors", "recall", "recall_low", "recall_high"]


def recall_by_country(predictions: pd.DataFrame, training_counts: Mapping[str, int] | pd.Series) -> pd.DataFrame:
    """Recall of each true country, per cent, with an interval; `training_counts` are training photos by country.

    Countries often have few authors, where a bootstrap over them is blind (of one author it sees no spread at all). The
    interval is Wilson's (1927) with the effective number of authors n_eff = (sum m)^2 / sum m^2 (Kish, 1965) for m photos
    an author, which takes all photos of an author as one observation: wide, but never falsely certain.

    Returns:
        country_id, continent, n_train, n, n_missing, n_authors, recall, recall_low, recall_high; most photos first.
    """
    frame = _hits(predictions)
    frame = frame[frame["country_id"] != ""]
    per_author = frame.groupby(["country_id", "author"], sort=True).agg(photos=("hit", "size"))
    photos_squared = per_author["photos"].pow(2).groupby(level=0).sum()
    groups = frame.groupby("country_id", sort=True)
    result = groups.agg(
        continent=("continent", "first"), n=("hit", "size"), n_missing=("missing", "sum"), recall=("hit", "mean")
    )
    effective = result["n"] ** 2 / photos_squared
    low, high = wilson(result["recall"].to_numpy(), effective.to_numpy())
    result["n_authors"] = per_author.groupby(level=0).size()
    result["n_train"] = [int(training_counts.get(str(name), 0)) for name in result.index]
    result["recall"], result["recall_low"], result["recall_high"] = 100.0 * result["recall"], 100.0 * low, 100.0 * high
    ordered = result[COLUMNS].reset_index().sort_values(["n", "country_id"], ascending=[False, True], kind="stable")
    return ordered.reset_index(drop=True)


def recall_by_continent(predictions: pd.DataFrame, training_counts: Mapping[str, int] | pd.Series) -> pd.DataFrame:
    """Recall of countries over the photos of each true continent, per cent, with an author bootstrap of that continent.

    `training_counts` is by continent. Returns continent, n_train, n, n_missing, n_authors, recall, recall_low,
    recall_high, in order of name; photos in no country are left out.
    """
    rows = []
    for name, group in predictions[predictions["continent"] != ""].groupby("continent", sort=True):
        boot = bootstrap(group)
        span, n_missing = intervals(boot)["accuracy"], int((group["status"] != ANSWERED).sum())
        n_train = int(training_counts.get(str(name), 0))
        rows.append((name, n_train, len(group), n_missing, boot.n_authors, span.value, span.low, span.high))
    return pd.DataFrame(rows, columns=COLUMNS)


def worst_decile(predictions: pd.DataFrame, minimum_photos: int = MINIMUM_PHOTOS) -> tuple[Interval, list[str]]:
    """Mean recall (per cent) of the tenth of the countries that are recognised worst, and which these are.

    Countries with fewer than `minimum_photos` photos are left out; a tenth is rounded up. The countries are chosen once,
    and authors are drawn over them alone. All NaN where no country has enough photos.
    """
    frame = _hits(predictions)
    groups = frame[frame["country_id"] != ""].groupby("country_id", sort=True)["hit"]
    enough = groups.mean()[groups.size() >= minimum_photos]
    if enough.empty:
        return Interval(float("nan"), float("nan"), float("nan")), []
    chosen = enough.sort_values(kind="stable").index[: -(-len(enough) // 10)].tolist()
    boot = bootstrap(predictions[predictions["country_id"].isin(chosen)])
    return intervals(boot)["macro_accuracy"], chosen


def wilson(share: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of Wilson's score interval (1927) of shares (0 to 1) out of `n` observations; n need not be whole."""
    z = scipy.stats.norm.ppf(0.5 + CONFIDENCE / 2.0)
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return np.clip(middle - half, 0.0, 1.0), np.clip(middle + half, 0.0, 1.0)


def rank_correlation(recall: pd.DataFrame) -> float:
    """Spearman's correlation between training count and recall over the rows of `recall_by_country`; NaN below three."""
    if len(recall) < 3 or recall["n_train"].nunique() < 2 or recall["recall"].nunique() < 2:
        return float("nan")
    return float(scipy.stats.spearmanr(recall["n_train"], recall["recall"]).statistic)


def _hits(predictions: pd.DataFrame) -> pd.DataFrame:
    """country_id, continent, author, whether the country was recognised (0 or 1), whether there was no answer."""
    return predictions[["country_id", "continent"]].assign(
        author=bootstrap_units(predictions),
        hit=photo_scores(predictions)["accuracy"] / 100.0,
        missing=predictions["status"] != ANSWERED,
    )

"""For whom it works: recall of each country and continent, beside how many training photos each had; and what is confused."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import scipy.stats

from geoloc_core.evaluation.intervals import CONFIDENCE, Interval, bootstrap, intervals
from geoloc_core.evaluation.metrics import photo_scores
from geoloc_core.evaluation.predictions import ANSWERED, bootstrap_units

# Recall of a country of fewer photos than this says more of the photos than of the country.
MINIMUM_PHOTOS = 10
OTHER, MISSING = "other", "no answer"
COLUMNS = ["continent", "n_train", "n", "n_missing", "n_authors", "recall", "recall_low", "recall_high"]


def recall_by_country(predictions: pd.DataFrame, training_counts: Mapping[str, int] | pd.Series) -> pd.DataFrame:
    """country_id and `COLUMNS`, most photos first: recall of each true country, per cent, with an interval.

    Countries often have few authors, where a bootstrap over them is blind (of one author it sees no spread at all). The
    interval is Wilson's (1927) with the effective number of authors n_eff = (sum m)^2 / sum m^2 (Kish, 1965) for m photos
    an author, which takes all photos of an author as one observation: wide, but never falsely certain.
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
    """`COLUMNS`: recall of countries over the photos of each true continent, with an author bootstrap; counts by continent."""
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


def confusion(predictions: pd.DataFrame, most: int = 15) -> pd.DataFrame:
    """Per cent of the photos of each true country (rows) that were put in each country (columns); rows sum to 100.

    Rows are the `most` countries with most photos, largest first; columns the same, then "other" and "no answer".
    """
    known = predictions[predictions["country_id"] != ""]
    shown = known["country_id"].value_counts().sort_index().sort_values(ascending=False, kind="stable").index[:most]
    part = known[known["country_id"].isin(shown)]
    answer = part["predicted_country_id"].where(part["predicted_country_id"].isin(shown), OTHER)
    answer = answer.where(part["status"] == ANSWERED, MISSING)
    table = pd.crosstab(part["country_id"].to_numpy(dtype=object), answer.to_numpy(dtype=object))
    table = table.reindex(index=shown, columns=[*shown, OTHER, MISSING], fill_value=0)
    table.index.name, table.columns.name = "true country", "answer"
    return 100.0 * table.div(table.sum(axis=1), axis=0)


def most_confused(predictions: pd.DataFrame, most: int = 15) -> pd.DataFrame:
    """The pairs of countries that are mistaken most often: country_id, predicted_country_id, photos (most first), share (%)."""
    known = predictions[predictions["country_id"] != ""]
    total = known["country_id"].value_counts()
    wrong = known[(known["status"] == ANSWERED) & (known["country_id"] != known["predicted_country_id"])]
    pairs = wrong.groupby(["country_id", "predicted_country_id"], sort=True).size().reset_index(name="photos")
    pairs["share"] = 100.0 * pairs["photos"] / total.reindex(pairs["country_id"]).to_numpy()
    # `groupby` has put them in order of id, which a stable sort keeps among equals.
    return pairs.sort_values("photos", ascending=False, kind="stable").head(most).reset_index(drop=True)


def _hits(predictions: pd.DataFrame) -> pd.DataFrame:
    """country_id, continent, author, whether the country was recognised (0 or 1), whether there was no answer."""
    return predictions[["country_id", "continent"]].assign(
        author=bootstrap_units(predictions),
        hit=photo_scores(predictions)["accuracy"] / 100.0,
        missing=predictions["status"] != ANSWERED,
    )

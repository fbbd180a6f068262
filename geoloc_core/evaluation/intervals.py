"""How far a figure may be off: the bootstrap over authors.

Photos of one author are alike, so photos are not what is sampled: authors are. One set of resamples serves all metrics and
all experiments on the same photos, which makes their differences paired: what they have in common cancels.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pandas as pd
import pydantic
import scipy.sparse

from geoloc_core.errors import InputError
from geoloc_core.evaluation.metrics import DEFINITIONS, photo_scores
from geoloc_core.evaluation.predictions import bootstrap_units

RESAMPLES = 1_000
CONFIDENCE = 0.95
NUMBERS_AT_ONCE = 1_000_000
# A figure that does not exist is NaN here and null in JSON.
Figure = Annotated[float | int, pydantic.BeforeValidator(lambda value: math.nan if value is None else value)]


@dataclass(frozen=True)
class Interval:
    """A figure between two others that hold it with the stated confidence."""

    value: Figure
    low: Figure
    high: Figure

    @property
    def tie(self) -> bool:
        """For a difference: whether zero is inside, so that neither is known to be better."""
        return not (self.low > 0.0 or self.high < 0.0)


@dataclass(frozen=True)
class Bootstrap:
    """Metrics of one predictions frame (photos in order of id) on every resample of its authors, a row of `values` each."""

    photo_ids: np.ndarray
    estimate: pd.Series
    values: pd.DataFrame
    n_authors: int


def bootstrap(predictions: pd.DataFrame, resamples: int = RESAMPLES, seed: int = 0) -> Bootstrap:
    """Score the photos of as many authors as there are, drawn with replacement, `resamples` times.

    The draws depend on the authors (in order of id), the number of resamples and the seed, never on the order of the
    rows or on the predictions: two frames over the same photos meet the same draws. 800,000 photos take half a minute.
    """
    if predictions.empty:
        raise InputError("there is no prediction to score; give at least one photo")
    frame = predictions.iloc[np.argsort(predictions["photo_id"].to_numpy(dtype=str), kind="stable")]
    scores = photo_scores(frame)
    authors, author = np.unique(bootstrap_units(frame).astype(str), return_inverse=True)
    n_authors = len(authors)
    photos_of = np.bincount(author).astype(np.float64)  # (A,)
    sums = np.column_stack([np.bincount(author, scores[name]) for name in scores])  # (A, M)
    known = (frame["country_id"] != "").to_numpy()
    countries, country = np.unique(frame["country_id"].to_numpy(dtype=str)[known], return_inverse=True)
    # Photos, and per cent right, of each author in each true country: (A, C) each.
    photos_in, hits_in = (
        scipy.sparse.coo_array((values, (author[known], country)), shape=(n_authors, len(countries))).tocsr()
        for values in (np.ones(known.sum()), scores["accuracy"].to_numpy()[known])
    )
    distance = scores["mean_km"].to_numpy()
    by_distance = np.argsort(distance, kind="stable")
    parts = []
    for weights in author_weights(n_authors, resamples, seed, max(n_authors, len(frame))):  # (b, A)
        means = (weights @ sums) / (weights @ photos_of)[:, None]
        macro = _macro(weights, photos_in, hits_in)
        median = _weighted_median(distance[by_distance], author[by_distance], weights)
        parts.append(np.column_stack([means, macro, median]))
    values = pd.DataFrame(np.vstack(parts), columns=[*scores, "macro_accuracy", "median_km"])
    estimate = scores.mean()
    estimate["macro_accuracy"] = float(_macro(np.ones((1, n_authors)), photos_in, hits_in)[0])
    estimate["median_km"] = float(np.median(distance))
    return Bootstrap(frame["photo_id"].to_numpy(dtype=object), estimate, values, n_authors)


def author_weights(n_authors: int, resamples: int, seed: int, row_length: int) -> Iterator[np.ndarray]:
    """How often each author is drawn in each resample, in blocks of (b, A) as high as rows of `row_length` numbers allow."""
    generator = np.random.default_rng(seed)
    height = max(1, NUMBERS_AT_ONCE // row_length)
    for start in range(0, resamples, height):
        block = min(height, resamples - start)
        draws = generator.integers(n_authors, size=(block, n_authors))
        draws += np.arange(block)[:, None] * n_authors
        yield np.bincount(draws.ravel(), minlength=block * n_authors).reshape(block, n_authors).astype(np.float64)


def intervals(boot: Bootstrap) -> dict[str, Interval]:
    """The percentile interval (Efron, 1979) of every metric of `DEFINITIONS` that there is.

    A share of 0 or 100 % is the same on every resample, which would look like certainty. Its other end is the exact
    bound of Clopper and Pearson (1934) for none, or all, of the authors.
    """
    result = {name: _percentiles(boot.estimate[name], boot.values[name]) for name in DEFINITIONS if name in boot.values}
    possible = 100.0 * (1.0 - ((1.0 - CONFIDENCE) / 2.0) ** (1.0 / boot.n_authors))
    for name, span in result.items():
        if DEFINITIONS[name].unit == "%" and span in (Interval(0.0, 0.0, 0.0), Interval(100.0, 100.0, 100.0)):
            result[name] = Interval(span.value, max(0.0, span.low - possible), min(100.0, span.high + possible))
    return result


def difference(a: Bootstrap, b: Bootstrap, metric: str) -> Interval:
    """`metric` of `a` minus that of `b`, resample by resample; both must have been made on the same photos."""
    if not np.array_equal(a.photo_ids, b.photo_ids) or len(a.values) != len(b.values):
        raise InputError("two experiments can be compared only on the same photos and the same resamples")
    return _percentiles(a.estimate[metric] - b.estimate[metric], a.values[metric] - b.values[metric])


def _percentiles(value: float, values: pd.Series) -> Interval:
    tail = 100.0 * (1.0 - CONFIDENCE) / 2.0
    numbers = values.dropna()  # a resample without any photo in a country has no macro accuracy
    low, high = np.percentile(numbers, [tail, 100.0 - tail]) if len(numbers) else (np.nan, np.nan)
    return Interval(float(value), float(low), float(high))


def _macro(weights: np.ndarray, photos_in: scipy.sparse.csr_array, hits_in: scipy.sparse.csr_array) -> np.ndarray:
    """(b,) mean over the countries that occur in a resample of the share that is right there; NaN without countries."""
    photos, hits = weights @ photos_in, weights @ hits_in
    occurs = photos > 0
    recall = np.divide(hits, photos, out=np.zeros_like(hits), where=occurs)
    n_countries = occurs.sum(axis=1)
    return np.divide(recall.sum(axis=1), n_countries, out=np.full(len(weights), np.nan), where=n_countries > 0)


def _weighted_median(values: np.ndarray, author: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(b,) median of `values` (n,), sorted, each taken as often as its author (n,) is drawn in `weights` (b, A)."""
    # Whole numbers of 32 bits halve the traffic, which is all that this costs.
    below = np.cumsum(weights.astype(np.int32)[:, author], axis=1, dtype=np.int32)
    medians = np.empty(len(below))
    for row, counts in enumerate(below):
        total = int(counts[-1])
        # With N copies in all, the median is the mean of the copies number floor((N + 1) / 2) and ceil((N + 1) / 2).
        middle = np.searchsorted(counts, [(total + 1) // 2, (total + 2) // 2], side="left")
        medians[row] = values[middle].mean()
    return medians

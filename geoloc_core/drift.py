"""Whether new photos are of another kind than those that the heads learned from: where they were taken, how they look.

Each statistic is compared with what it comes to between the reference and samples *of the reference itself*, drawn by
author, as an author's photos are alike: whole authors, as many as the new photos come from. Drift is found when the
statistic lies beyond nearly all of those and beyond a floor that says from what size on anybody should care.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

RESAMPLES = 200
QUANTILE = 0.995
# Bits of divergence, and share of the reference's variance: smaller drift is real in large shards and means nothing.
COUNTRY_FLOOR = 0.05
EMBEDDING_FLOOR = 0.02
# Fewer photos, or fewer authors, tell nothing.
MINIMUM_PHOTOS, MINIMUM_AUTHORS = 20, 5
_MOST_AUTHORS = 20_000


@dataclass(frozen=True)
class Drift:
    """One comparison: `statistic` in `unit`, the `expected` median and the `limit` from samples of the reference."""

    what: str
    statistic: float
    expected: float
    limit: float
    unit: str
    n_reference: int
    n_new: int

    @property
    def found(self) -> bool:
        """Whether the new photos differ."""
        return self.statistic > self.limit

    @property
    def sentence(self) -> str:
        """The evidence in one line."""
        differs = "differs" if self.found else "is as expected"
        return (
            f"{self.what} {differs}: {self.statistic:.3f} {self.unit} where samples of the reference give "
            f"{self.expected:.3f} and at most {self.limit:.3f} ({self.n_new:,} new photos, {self.n_reference:,} known)"
        )


def country_drift(reference: pd.DataFrame, new: pd.DataFrame, *, seed: int = 0) -> Drift | None:
    """Jensen-Shannon divergence, in bits, between the country shares of two frames with country_id and author_id.

    Photos without a country count as a country of their own: that their share grows is news as well. None where one side
    has too few photos or authors. Source of the divergence: Lin (1991), IEEE Transactions on Information Theory 37.
    """
    authors, counts_by_author, countries = _counts(reference, new["country_id"])
    n_new_authors = _n_authors(new["author_id"])
    if not _enough(len(reference), authors, len(new), n_new_authors):
        return None
    known = counts_by_author.sum(axis=0)
    shares_new = new["country_id"].value_counts().reindex(countries, fill_value=0).to_numpy(dtype=np.float64)
    statistic = jensen_shannon_bits(known, shares_new)
    samples = _author_samples(counts_by_author, n_new_authors, seed)
    null = np.array([jensen_shannon_bits(known, sample) for sample in samples])
    return Drift(
        "the distribution over countries",
        statistic,
        float(np.median(null)),
        max(COUNTRY_FLOOR, float(np.quantile(null, QUANTILE))),
        "bits",
        len(reference),
        len(new),
    )


def embedding_drift(
    reference: np.ndarray,
    reference_authors: pd.Series,
    new: np.ndarray,
    new_authors: pd.Series,
    *,
    name: str,
    seed: int = 0,
) -> Drift | None:
    """How far the mean vector moved: |mean of new - mean of reference|^2 over the reference's total variance.

    Args:
        reference, new: (n, D) and (m, D) vectors of the backbone `name`, finite.
        reference_authors, new_authors: whose photo each row is, (n,) and (m,); "" stands for an author of its own.
    """
    n_authors, n_new_authors = _n_authors(reference_authors), _n_authors(new_authors)
    if not _enough(len(reference), n_authors, len(new), n_new_authors):
        return None
    known = np.asarray(reference, dtype=np.float32)
    mean = known.mean(axis=0, dtype=np.float64)
    variance = float(known.var(axis=0, dtype=np.float64).sum())
    if variance == 0.0:
        return None

    def moved(other: np.ndarray) -> np.ndarray:
        return np.asarray(((other - mean) ** 2).sum(axis=-1) / variance)

    codes = _author_codes(reference_authors)
    # Sum of vectors and number of photos of each author, (A, D + 1): a sample's mean is a quotient of their sums.
    sums = np.zeros((codes.max() + 1, known.shape[1] + 1))
    np.add.at(sums[:, :-1], codes, known)
    np.add.at(sums[:, -1], codes, 1.0)
    samples = _author_samples(sums, n_new_authors, seed)
    null = moved(samples[:, :-1] / samples[:, -1:])
    return Drift(
        f"the mean vector of {name}",
        float(moved(np.asarray(new, dtype=np.float32).mean(axis=0, dtype=np.float64))),
        float(np.median(null)),
        max(EMBEDDING_FLOOR, float(np.quantile(null, QUANTILE))),
        "of the variance",
        len(reference),
        len(new),
    )


def jensen_shannon_bits(first: np.ndarray, second: np.ndarray) -> float:
    """Divergence of two distributions given as counts (K,): 0 when they are the same, 1 when they share nothing."""
    p, q = first / first.sum(), second / second.sum()
    middle = (p + q) / 2.0

    def relative_entropy(of: np.ndarray) -> float:
        there = of > 0
        return float((of[there] * np.log2(of[there] / middle[there])).sum())

    return (relative_entropy(p) + relative_entropy(q)) / 2.0


def _enough(n_reference: int, authors: int, n_new: int, new_authors: int) -> bool:
    return min(n_reference, n_new) >= MINIMUM_PHOTOS and min(authors, new_authors) >= MINIMUM_AUTHORS


def _author_codes(authors: pd.Series) -> np.ndarray:
    """A number for each author, (n,); photos without an author stand for authors of their own."""
    names = authors.to_numpy(dtype=object).copy()
    alone = names == ""
    names[alone] = [f"\0{row}" for row in np.flatnonzero(alone)]
    return pd.factorize(names)[0]


def _n_authors(authors: pd.Series) -> int:
    return int((authors == "").sum() + authors[authors != ""].nunique())


def _counts(reference: pd.DataFrame, also: pd.Series) -> tuple[int, np.ndarray, list[str]]:
    """Number of authors, photos of each author in each country (A, K), and the countries of both frames."""
    countries = sorted({*reference["country_id"], *also})
    codes = _author_codes(reference["author_id"])
    n_authors = int(codes.max()) + 1 if len(codes) else 0
    counts = np.zeros((n_authors, len(countries)))
    np.add.at(counts, (codes, pd.Index(countries).get_indexer(pd.Index(reference["country_id"]))), 1.0)
    return n_authors, counts, countries


def _author_samples(by_author: np.ndarray, n_authors: int, seed: int) -> np.ndarray:
    """Sums over `n_authors` authors drawn with replacement, (RESAMPLES, columns of `by_author`)."""
    generator = np.random.default_rng(seed)
    if len(by_author) > _MOST_AUTHORS:
        by_author = by_author[generator.choice(len(by_author), _MOST_AUTHORS, replace=False)]
    drawn = generator.multinomial(n_authors, np.full(len(by_author), 1.0 / len(by_author)), size=RESAMPLES)
    return drawn @ by_author

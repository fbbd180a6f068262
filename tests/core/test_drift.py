"""Drift: found where it is, and not where authors merely differ."""

import numpy as np
import pandas as pd
import pytest

from geoloc_core.drift import country_drift, embedding_drift, jensen_shannon_bits


def photos(seed: int, authors: int, shares: dict[str, float], stay: float = 0.9) -> pd.DataFrame:
    """Five photos of each author, nearly all in the author's own country."""
    generator = np.random.default_rng(seed)
    countries = list(shares)
    rows = []
    for author in range(authors):
        home = generator.choice(countries, p=list(shares.values()))
        for _ in range(5):
            away = generator.random() > stay
            rows.append((f"{seed}-{author}", generator.choice(countries, p=list(shares.values())) if away else home))
    return pd.DataFrame(rows, columns=["author_id", "country_id"])


WORLD = {"USA": 0.4, "FRA": 0.3, "NLD": 0.2, "JPN": 0.1}


def test_divergence_is_nothing_for_equal_shares_and_one_bit_for_disjoint_ones() -> None:
    assert jensen_shannon_bits(np.array([2.0, 6.0]), np.array([1.0, 3.0])) == pytest.approx(0.0, abs=1e-12)
    assert jensen_shannon_bits(np.array([1.0, 0.0]), np.array([0.0, 5.0])) == pytest.approx(1.0)
    # By hand: p = (1/2, 1/2), q = (1, 0), middle = (3/4, 1/4).
    by_hand = 0.5 * (0.5 * np.log2(0.5 / 0.75) + 0.5 * np.log2(0.5 / 0.25)) + 0.5 * np.log2(1 / 0.75)
    assert jensen_shannon_bits(np.array([1.0, 1.0]), np.array([1.0, 0.0])) == pytest.approx(by_hand)


def test_photos_of_the_same_world_by_other_authors_are_no_drift() -> None:
    """By photo these samples would differ beyond chance: whole authors are what is drawn."""
    reference = photos(0, 400, WORLD)
    false_alarms = sum(
        bool((drift := country_drift(reference, photos(seed, 20, WORLD))) and drift.found) for seed in range(1, 41)
    )
    assert false_alarms <= 2


def test_photos_of_another_part_of_the_world_are_drift() -> None:
    drift = country_drift(photos(0, 400, WORLD), photos(1, 20, {"USA": 0.05, "FRA": 0.05, "NLD": 0.1, "JPN": 0.8}))
    assert drift is not None
    assert drift.found
    assert drift.statistic > 0.2
    assert "the distribution over countries differs" in drift.sentence


def test_a_country_never_seen_counts() -> None:
    drift = country_drift(photos(0, 400, WORLD), photos(1, 20, {"KEN": 1.0}))
    assert drift is not None
    assert drift.statistic == pytest.approx(1.0)


def test_too_few_photos_or_authors_tell_nothing() -> None:
    reference = photos(0, 400, WORLD)
    assert country_drift(reference, photos(1, 3, WORLD)) is None
    assert country_drift(reference, photos(1, 4, WORLD)) is None


def vectors(seed: int, authors: int, shift: float) -> tuple[np.ndarray, pd.Series]:
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(authors, 8))
    rows = np.repeat(centres, 5, axis=0) + 0.3 * generator.normal(size=(authors * 5, 8)) + shift
    return rows.astype(np.float16), pd.Series(np.repeat([f"{seed}-{i}" for i in range(authors)], 5), dtype=object)


def test_a_moved_mean_vector_is_drift_and_other_authors_are_not() -> None:
    reference, authors = vectors(0, 300, 0.0)
    same = [embedding_drift(reference, authors, *vectors(seed, 25, 0.0), name="vit") for seed in range(1, 31)]
    assert sum(drift is not None and drift.found for drift in same) <= 2
    moved = embedding_drift(reference, authors, *vectors(50, 25, 0.8), name="vit")
    assert moved is not None
    assert moved.found
    # The shift is 0.8 in each of 8 dimensions, the variance 1.09 in each: 0.64 / 1.09, give or take the authors' own.
    assert moved.statistic == pytest.approx(0.64 / 1.09, abs=0.25)
    assert "the mean vector of vit differs" in moved.sentence


def test_photos_without_an_author_stand_alone() -> None:
    reference, _ = vectors(0, 300, 0.0)
    nobody = pd.Series([""] * len(reference), dtype=object)
    new, _ = vectors(1, 25, 0.0)
    alone = embedding_drift(reference, nobody, new, pd.Series([""] * len(new), dtype=object), name="vit")
    grouped = embedding_drift(reference, vectors(0, 300, 0.0)[1], *vectors(1, 25, 0.0), name="vit")
    assert alone is not None
    assert grouped is not None
    assert alone.statistic == grouped.statistic
    assert alone.expected < grouped.expected

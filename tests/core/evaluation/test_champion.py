"""The rule that moves the alias: what it must let pass, and what it must stop."""

import numpy as np
import pandas as pd
import pytest

from geoloc_core.errors import InputError
from geoloc_core.evaluation.champion import challenge


def validation(right: np.ndarray, continents: np.ndarray, authors_per_continent: int = 40) -> pd.DataFrame:
    """One row a photo: whether it is right, and where it was taken; authors take turns within a continent."""
    n = len(right)
    turn = pd.Series(continents).groupby(continents).cumcount().to_numpy() % authors_per_continent
    return pd.DataFrame(
        {
            "photo_id": [f"{number:05d}" for number in range(n)],
            "author_id": [f"{name}-{number}" for name, number in zip(continents, turn, strict=True)],
            "country_id": "FRA",
            "continent": continents,
            "rank": np.where(right, 1, 2),
            "distance_km": np.where(right, 50.0, 3000.0),
            "status": "ok",
        }
    )


CONTINENTS = np.repeat(np.array(["Africa", "Europe"]), [200, 800])
CHANCE = np.random.default_rng(0).uniform(size=1000)


def with_recall(africa: float, europe: float) -> pd.DataFrame:
    return validation(np.where(CONTINENTS == "Africa", africa, europe) > CHANCE, CONTINENTS)


def test_the_first_is_champion():
    made = challenge(with_recall(0.1, 0.1), None)
    assert made.moves
    assert made.gain is None
    assert "none before" in made.reasons[0]


def test_better_everywhere_moves():
    made = challenge(with_recall(0.5, 0.6), with_recall(0.4, 0.4), resamples=300)
    assert made.moves
    assert made.reasons[0] == "The challenger becomes champion."
    assert "better beyond its interval" in made.reasons[1]
    assert made.gain.value == pytest.approx(100 * (0.2 * 0.1 + 0.8 * 0.2), abs=3)
    assert made.continents["judged"].tolist() == ["kept", "kept"]


def test_a_tie_stays():
    made = challenge(with_recall(0.4, 0.405), with_recall(0.4, 0.4), resamples=300)
    assert not made.moves
    assert made.reasons[0] == "The champion stays."
    assert "a tie" in made.reasons[1]
    same = challenge(with_recall(0.4, 0.4), with_recall(0.4, 0.4), resamples=50)
    assert (same.moves, same.gain.value) == (False, 0.0)


def test_worse_stays():
    made = challenge(with_recall(0.4, 0.2), with_recall(0.4, 0.4), resamples=100)
    assert not made.moves
    assert "is worse" in made.reasons[1]


def test_better_at_the_cost_of_a_continent_stays():
    made = challenge(with_recall(0.2, 0.7), with_recall(0.4, 0.4), resamples=100)
    assert made.gain.low > 0
    assert not made.moves
    assert any(reason.startswith("Africa would lose") for reason in made.reasons)
    africa = made.continents.set_index("continent").loc["Africa"]
    assert africa["judged"] == "lost"
    assert africa["gain"] == pytest.approx(-20, abs=6)
    # The margin is what decides, on either side of the loss.
    loss = -africa["gain"]
    assert challenge(with_recall(0.2, 0.7), with_recall(0.4, 0.4), continent_margin=loss + 0.1, resamples=50).moves
    assert not challenge(with_recall(0.2, 0.7), with_recall(0.4, 0.4), continent_margin=loss - 0.1, resamples=50).moves


def test_a_continent_of_few_authors_is_reported_and_not_judged():
    def few(frame):
        return frame.assign(author_id=np.where(frame["continent"] == "Africa", "one", frame["author_id"]))

    made = challenge(few(with_recall(0.2, 0.7)), few(with_recall(0.4, 0.4)), resamples=100)
    assert made.moves
    assert any("Africa is not judged" in reason for reason in made.reasons)


def test_for_a_distance_less_is_better():
    made = challenge(
        with_recall(0.5, 0.6), with_recall(0.4, 0.4), metric="mean_km", continent_margin=100, resamples=100
    )
    assert made.moves
    assert made.gain.value > 0
    worse = challenge(with_recall(0.4, 0.4), with_recall(0.5, 0.6), metric="mean_km", resamples=100)
    assert not worse.moves
    assert worse.gain.high < 0


def test_only_the_same_photos_are_a_contest():
    with pytest.raises(InputError, match="same photos"):
        challenge(with_recall(0.4, 0.4), with_recall(0.4, 0.4).iloc[1:], resamples=10)

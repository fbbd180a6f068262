"""The rule that moves the alias: what it must let pass, and what it must stop."""

import numpy as np
import pandas as pd
import pytest

from geoloc_core.errors import InputError
from geoloc_core.evaluation.champion import challenge

CONTINENTS = np.repeat(np.array(["Africa", "Europe"]), [200, 800])
CHANCE = np.random.default_rng(0).uniform(size=1000)


def with_recall(africa: float, europe: float) -> pd.DataFrame:
    """One row a photo, right for these shares; forty authors take turns within each continent."""
    right = np.where(CONTINENTS == "Africa", africa, europe) > CHANCE
    turn = pd.Series(CONTINENTS).groupby(CONTINENTS).cumcount() % 40
    return pd.DataFrame(
        {
            "photo_id": [f"{number:05d}" for number in range(1000)],
            "author_id": [f"{name}-{number}" for name, number in zip(CONTINENTS, turn, strict=True)],
            "country_id": "FRA",
            "continent": CONTINENTS,
            "rank": np.where(right, 1, 2),
            "distance_km": np.where(right, 50.0, 3000.0),
            "status": "ok",
        }
    )


BEFORE = with_recall(0.4, 0.4)


def test_better_everywhere_moves():
    decision = challenge(with_recall(0.5, 0.6), BEFORE, resamples=300)
    assert decision.moves
    assert decision.reasons[0] == "The challenger becomes champion."
    assert "better beyond its interval" in decision.reasons[1]
    assert decision.gain.value == pytest.approx(100 * (0.2 * 0.1 + 0.8 * 0.2), abs=3)
    assert decision.continents["judged"].tolist() == ["kept", "kept"]


@pytest.mark.parametrize(("europe", "words"), [(0.405, "a tie"), (0.4, "a tie"), (0.2, "is worse")])
def test_a_tie_and_a_loss_stay(europe, words):
    decision = challenge(with_recall(0.4, europe), BEFORE, resamples=300)
    assert not decision.moves
    assert decision.reasons[0] == "The champion stays."
    assert words in decision.reasons[1]


def test_better_at_the_cost_of_a_continent_stays():
    challenger = with_recall(0.2, 0.7)
    decision = challenge(challenger, BEFORE, resamples=100)
    assert decision.gain.low > 0
    assert not decision.moves
    assert any(reason.startswith("Africa would lose") for reason in decision.reasons)
    africa = decision.continents.set_index("continent").loc["Africa"]
    assert africa["judged"] == "lost"
    assert africa["gain"] == pytest.approx(-20, abs=6)
    # The margin is what decides, on either side of the loss.
    assert challenge(challenger, BEFORE, margin=-africa["gain"] + 0.1, resamples=50).moves
    assert not challenge(challenger, BEFORE, margin=-africa["gain"] - 0.1, resamples=50).moves
    # A continent of few authors is reported and not judged.
    one = [
        frame.assign(author_id=np.where(CONTINENTS == "Africa", "one", BEFORE["author_id"]))
        for frame in (challenger, BEFORE)
    ]
    decision = challenge(*one, resamples=100)
    assert decision.moves
    assert any("Africa is not judged" in reason for reason in decision.reasons)


def test_only_the_same_photos_are_a_contest():
    with pytest.raises(InputError, match="same photos"):
        challenge(BEFORE, BEFORE.iloc[1:], resamples=10)

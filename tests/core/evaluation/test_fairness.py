"""Recall of regions, with intervals that are honest about few authors; which country is taken for which."""

import numpy as np
import pandas as pd
import pytest

from geoloc_core.evaluation import fairness
from geoloc_core.evaluation.fairness import MISSING, OTHER, confusion, most_confused
from geoloc_core.evaluation.metrics import photo_scores


def test_wilson_by_hand():
    # 15 of 20 at 95 %: 0.531 to 0.888 (the textbook example of the score interval).
    low, high = fairness.wilson(np.array([0.75]), np.array([20.0]))
    assert (low[0], high[0]) == pytest.approx((0.531, 0.888), abs=5e-4)
    # 0 of 10: 0 to z^2 / (n + z^2).
    low, high = fairness.wilson(np.array([0.0]), np.array([10.0]))
    assert (low[0], high[0]) == pytest.approx((0.0, 3.8415 / 13.8415), abs=1e-4)


def frame(rows) -> pd.DataFrame:
    """photo_id, author_id, country_id, continent, rank, status."""
    made = pd.DataFrame(rows, columns=["photo_id", "author_id", "country_id", "continent", "rank", "status"])
    return made.assign(distance_km=10.0)


def test_recall_beside_training_counts_and_effective_authors():
    rows = [(f"f{i}", "one", "FRA", "Europe", 1, "ok") for i in range(8)]  # eight photos of one author
    rows += [(f"d{i}", f"a{i}", "DEU", "Europe", 1 if i < 6 else 2, "ok") for i in range(7)]
    rows += [("d7", "a7", "DEU", "Europe", 1, "undecodable"), ("x", "", "", "", 1, "ok")]
    made = fairness.recall_by_country(frame(rows), {"DEU": 500}).set_index("country_id")
    assert made.index.tolist() == ["DEU", "FRA"]
    assert made.loc["DEU", ["n", "n_missing", "n_train", "n_authors"]].tolist() == [8, 1, 500, 8]
    assert made.loc["DEU", "recall"] == pytest.approx(75.0)
    low, high = fairness.wilson(np.array([0.75]), np.array([8.0]))
    assert made.loc["DEU", ["recall_low", "recall_high"]].tolist() == pytest.approx([100 * low[0], 100 * high[0]])
    # Eight photos of one author weigh as one observation: 100 %, but anything from 20.7 % would not surprise.
    assert made.loc["FRA", ["recall", "n_authors", "n_train"]].tolist() == [100.0, 1, 0]
    assert made.loc["FRA", "recall_low"] == pytest.approx(20.65, abs=0.01)


def test_unequal_authors_weigh_less_than_their_number():
    rows = [(f"p{i}", "big" if i < 9 else "small", "FRA", "Europe", 1 + i % 2, "ok") for i in range(10)]
    made = fairness.recall_by_country(frame(rows), {})
    low, high = fairness.wilson(np.array([0.5]), np.array([100 / 82]))  # (9 + 1)^2 / (81 + 1)
    assert made.loc[0, ["recall_low", "recall_high"]].tolist() == pytest.approx([100 * low[0], 100 * high[0]])


def test_recall_is_that_of_the_metrics(random_predictions):
    made = random_predictions(n=400)
    accuracy = photo_scores(made)["accuracy"]
    expected = accuracy.groupby(made["country_id"]).mean().drop("")
    recall = fairness.recall_by_country(made, {}).set_index("country_id")["recall"]
    assert recall.reindex(expected.index).to_numpy() == pytest.approx(expected.to_numpy())
    continents = fairness.recall_by_continent(made, {"Europe": 7}).set_index("continent")
    assert continents["recall"].to_numpy() == pytest.approx(
        accuracy.groupby(made["continent"]).mean().drop("").to_numpy()
    )
    assert continents.loc["Europe", "n_train"] == 7
    assert (continents["recall_low"] <= continents["recall"]).all()
    assert (continents["recall"] <= continents["recall_high"]).all()


def test_the_worst_decile_is_of_countries_with_enough_photos():
    rows = []
    for country in range(11):  # recall 0/20, 1/20, ... 10/20
        rows += [
            (f"{country}-{i}", f"{country}-{i}", f"C{country:02d}", "Asia", 1 if i < country else 2, "ok")
            for i in range(20)
        ]
    rows += [(f"t{i}", f"t{i}", "TINY", "Asia", 2, "ok") for i in range(9)]
    span, chosen = fairness.worst_decile(frame(rows), minimum_photos=10)
    assert chosen == ["C00", "C01"]  # a tenth of 11, rounded up
    assert span.value == pytest.approx(2.5)
    assert span.low <= span.value <= span.high
    nothing, none = fairness.worst_decile(frame(rows), minimum_photos=21)
    assert none == []
    assert np.isnan(nothing.value)


def test_rank_correlation_sees_an_order():
    table = pd.DataFrame({"n_train": [1, 10, 100, 1000], "recall": [0.0, 5.0, 40.0, 41.0]})
    assert fairness.rank_correlation(table) == pytest.approx(1.0)
    assert fairness.rank_correlation(table.assign(recall=[4, 3, 2, 1])) == pytest.approx(-1.0)
    assert np.isnan(fairness.rank_correlation(table.assign(recall=0.0)))


def predictions() -> pd.DataFrame:
    rows = [("FRA", "FRA")] * 3 + [("FRA", "DEU")] * 2 + [("DEU", "FRA")] * 2 + [("DEU", "JPN")] * 1
    rows += [("USA", "USA"), ("", "FRA"), ("FRA", "")]
    made = pd.DataFrame(rows, columns=["country_id", "predicted_country_id"])
    made["status"] = ["ok"] * (len(rows) - 1) + ["undecodable"]
    return made


def test_rows_are_per_cent_and_pairs_are_in_order():
    made = confusion(predictions(), most=2)
    assert made.index.tolist() == ["FRA", "DEU"]
    assert made.columns.tolist() == ["FRA", "DEU", OTHER, MISSING]
    assert made.loc["FRA"].tolist() == pytest.approx([50.0, 100 / 3, 0.0, 100 / 6])
    assert made.loc["DEU"].tolist() == pytest.approx([200 / 3, 0.0, 100 / 3, 0.0])
    made = most_confused(predictions())
    pairs = list(zip(made["country_id"], made["predicted_country_id"], made["photos"], strict=True))
    assert pairs == [("DEU", "FRA", 2), ("FRA", "DEU", 2), ("DEU", "JPN", 1)]
    assert made["share"].tolist() == pytest.approx([200 / 3, 100 / 3, 100 / 3])
    assert len(most_confused(predictions(), most=1)) == 1

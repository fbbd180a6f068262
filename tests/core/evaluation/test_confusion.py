"""Which country is taken for which, counted by hand."""

import pandas as pd
import pytest

from geoloc_core.evaluation.fairness import MISSING, OTHER, confusion, most_confused


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

"""The three tables from figures worked out by hand."""

import io
import json

import numpy as np
import pandas as pd
import pytest

from geoloc_core.evaluation import result_tables
from geoloc_core.evaluation.evaluate import Evaluation, evaluate
from geoloc_core.evaluation.intervals import Interval

DISTRIBUTION = pd.DataFrame(
    {
        "level": ["country"] * 6 + ["subdivision"] * 2,
        "region_id": ["USA", "FRA", "DEU", "NAM", "JPN", "TUV", "US-PA", "US-NY"],
        "name": ["United States", "France", "Germany", "Namibia", "Japan", "Tuvalu", "Pennsylvania", "New York"],
        "n_photos": [600, 200, 100, 1, 99, 0, 30, 40],
    }
)


def made_up(name: str, kind: str, photos: str, accuracy: float, within: float = 10.0) -> Evaluation:
    scores = {"n": 100, "n_missing": 3, "accuracy": accuracy, "mean_km": 4890.25, "top5": 41.5, "top10": 47.0}
    scores |= {f"within_{radius}": within for radius in (1, 25, 200, 750, 2500)}
    spans = {"accuracy": Interval(accuracy, accuracy - 2.0, accuracy + 2.0)}
    spans["mean_km"] = Interval(4890.25, 4500.4, 5200.0)
    return Evaluation(name, kind, photos, scores, spans, 40)


def test_table1_head_tail_mean_and_median():
    made = result_tables.table1(DISTRIBUTION, head=2, tail=2)
    assert made["part"].tolist() == ["head", "head", "tail", "tail", "mean", "median"]
    assert made["region_id"].tolist()[:4] == ["USA", "FRA", "JPN", "NAM"]
    assert made["rank"].tolist()[:4] == [1, 2, 4, 5]
    # Tuvalu has no photo and is no class: five regions with 1,000 photos.
    assert made["n_photos"].tolist() == [600, 200, 99, 1, 200, 100]
    assert made["share"].tolist() == pytest.approx([60.0, 20.0, 9.9, 0.1, 20.0, 10.0])

    made = result_tables.table1(DISTRIBUTION, head=4, tail=4)  # no region twice
    assert made["region_id"].tolist()[:5] == ["USA", "FRA", "DEU", "JPN", "NAM"]
    assert made["part"].tolist() == ["head"] * 4 + ["tail", "mean", "median"]
    assert result_tables.table1(DISTRIBUTION, "subdivision")["region_id"].tolist()[:2] == ["US-NY", "US-PA"]


def test_table2_has_experiments_before_baselines_and_intervals_beside_figures():
    made = result_tables.scores_table(
        [made_up("class prior", "baseline", "validation", 30.1), made_up("clip.mlp", "experiment", "validation", 26.4)],
        result_tables.TABLE2_METRICS,
    )
    assert made["experiment"].tolist() == ["clip.mlp", "class prior"]
    assert made.loc[0, ["accuracy", "accuracy_low", "accuracy_high"]].tolist() == pytest.approx([26.4, 24.4, 28.4])
    assert np.isnan(made.loc[0, "top5_low"])
    assert made["missing"].tolist() == [3, 3]


def test_table3_keeps_benchmarks_together_in_their_order():
    rows = [made_up(name, "experiment", photos, 20.0) for name in "ab" for photos in ("im2gps", "im2gps3k")]
    made = result_tables.scores_table(rows, result_tables.TABLE3_METRICS)
    assert made["benchmark"].tolist() == ["im2gps", "im2gps", "im2gps3k", "im2gps3k"]
    assert made["experiment"].tolist() == ["a", "b", "a", "b"]
    assert [name for name in made.columns if name.startswith("within") and name.count("_") == 1] == [
        "within_1", "within_25", "within_200", "within_750", "within_2500",
    ]  # fmt: skip


def test_as_text_for_people():
    row = made_up("a|b", "experiment", "validation", 26.44)
    table = result_tables.scores_table([row], result_tables.TABLE2_METRICS)
    shown = result_tables.displayed(table)
    assert shown["Accuracy (%)"].tolist() == ["26.4 [24.4, 28.4]"]
    assert shown["Mean distance (km)"].tolist() == ["4,890 [4,500, 5,200]"]
    assert shown["Top-5 (%)"].tolist() == ["41.5"]
    head, rule, row = result_tables.to_markdown(table).strip().split("\n")
    assert head.startswith("| Benchmark | Experiment | Kind | Photos | Missing | Accuracy (%) |")
    assert rule == "|---|---|---|" + "---:|" * 8
    assert head.endswith("| Continent (%) | Sub-division (%) |")
    assert row.startswith("| validation | a\\|b | experiment | 100 | 3 | 26.4 [24.4, 28.4] |")


def test_csv_and_json_keep_all_digits():
    made = result_tables.scores_table([made_up("a", "experiment", "validation", 26.44)], result_tables.TABLE2_METRICS)
    again = pd.read_csv(io.StringIO(made.to_csv(index=False)))
    words = [name for name in made.columns if name.endswith("_verdict")]
    again[words] = again[words].fillna("")
    pd.testing.assert_frame_equal(again, made, check_dtype=False)
    rows = json.loads(result_tables.to_json(made))
    assert rows[0]["mean_km"] == 4890.25
    assert rows[0]["top10_low"] is None


def test_an_evaluation_survives_json(random_predictions):
    made = evaluate("clip.mlp", random_predictions(), photos="im2gps")
    again = Evaluation.from_json(json.loads(json.dumps(made.to_json(), allow_nan=False)))
    assert again == made
    empty = Evaluation("x", "baseline", "p", {"macro_accuracy": float("nan")}, {}, 0)
    assert empty.to_json()["scores"] == {"macro_accuracy": None}
    assert np.isnan(Evaluation.from_json(empty.to_json()).scores["macro_accuracy"])

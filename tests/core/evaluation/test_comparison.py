"""Ties are printed as ties, and the bar may win."""

import json

import numpy as np
import pytest

from geoloc_core.errors import InputError
from geoloc_core.evaluation.comparison import differences, verdicts
from geoloc_core.evaluation.evaluate import Evaluation, evaluate, evaluate_set
from geoloc_core.evaluation.intervals import bootstrap, difference
from geoloc_core.evaluation.result_tables import TABLE2_METRICS, displayed, scores_table


@pytest.fixture
def boots(random_predictions):
    good, same, bad = random_predictions(skill=3.0), random_predictions(skill=3.02), random_predictions(skill=0.0)
    return {name: bootstrap(frame, 300) for name, frame in (("bad", bad), ("good", good), ("same", same))}


def test_the_best_its_ties_and_those_behind(random_predictions, boots):
    words = verdicts(boots)
    assert words["bad"]["accuracy"] == ""
    assert {words["good"]["accuracy"], words["same"]["accuracy"]} <= {"best", "tie"}
    # Less is better for a distance.
    farthest = max(boots, key=lambda name: boots[name].estimate["mean_km"])
    assert words[farthest]["mean_km"] != "best"
    assert verdicts({name: boots[name] for name in ("bad", "good")})["good"]["mean_km"] == "best"
    boot = bootstrap(random_predictions(), 50)
    assert [row["accuracy"] for row in verdicts({"a": boot, "b": boot}).values()] == ["tie", "tie"]
    assert verdicts({"a": boot})["a"]["accuracy"] == "best"


def test_differences_say_better_worse_or_tie(boots):
    made = differences(boots, "bad", ["accuracy", "mean_km"]).set_index(["experiment", "metric"])
    gap = difference(boots["good"], boots["bad"], "accuracy")
    row = made.loc[("good", "accuracy")]
    assert (row["difference"], row["low"], row["high"]) == (gap.value, gap.low, gap.high)
    assert row["verdict"] == "better"
    back = differences(boots, "good", ["accuracy"]).set_index("experiment")
    assert back.loc["bad", "verdict"] == "worse"
    assert back.loc["same", "verdict"] == "tie"
    for (_, metric), row in made.iterrows():
        if metric == "mean_km" and row["verdict"] != "tie":
            assert (row["verdict"] == "better") == (row["difference"] < 0)
    with pytest.raises(InputError, match="'none'"):
        differences(boots, "none", ["accuracy"])


def test_sub_divisions_are_compared_among_those_who_name_them(random_predictions):
    cells = np.where(np.arange(200) % 2, "X-1", "X-2")
    photos = random_predictions().assign(subdivision_id="X-1")
    rows = evaluate_set("im2gps", {"finer": photos.assign(predicted_subdivision_id=cells), "countries": photos})
    answered = (photos["status"] == "ok").to_numpy()
    finer = rows[0].intervals["subdivision_accuracy"]
    assert finer.value == pytest.approx(100 * (answered & (cells == "X-1")).mean())
    assert finer.low < finer.value < finer.high
    assert [row.verdicts["subdivision_accuracy"] for row in rows] == ["best", ""]
    assert [row.verdicts["continent_accuracy"] for row in rows] == ["tie", "tie"]
    shown = displayed(scores_table(rows, TABLE2_METRICS))["Sub-division (%)"]
    assert shown.iloc[0].endswith("] best")
    assert shown.iloc[1] == ""


def test_a_set_is_scored_together_and_the_ceiling_does_not_compete(random_predictions):
    good, bad = random_predictions(skill=4.0), random_predictions(skill=0.0)
    rows = evaluate_set("im2gps", {"clip.mlp": bad}, {"class prior": good}, {"perfect": good})
    assert [(row.name, row.kind, row.photos) for row in rows] == [
        ("clip.mlp", "experiment", "im2gps"),
        ("class prior", "baseline", "im2gps"),
        ("perfect", "ceiling", "im2gps"),
    ]
    assert rows[0].verdicts["accuracy"] == ""
    assert rows[1].verdicts["accuracy"] == "best"  # a table says so where the prior wins
    assert rows[2].verdicts == {}
    alone = evaluate("clip.mlp", bad, photos="im2gps")
    assert (rows[0].scores, rows[0].intervals) == (alone.scores, alone.intervals)
    assert Evaluation.from_json(json.loads(json.dumps(rows[1].to_json()))) == rows[1]
    shown = displayed(scores_table(rows, TABLE2_METRICS))["Accuracy (%)"]
    assert shown.iloc[1].endswith("] best")
    assert shown.iloc[0].endswith("]")
    with pytest.raises(InputError, match="no answer for the photos"):
        evaluate_set("im2gps", {})

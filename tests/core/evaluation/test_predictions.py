"""Ranks, ties, photos without answer, and the file."""

import numpy as np
import pandas as pd
import pytest

from geoloc_core.errors import InputError
from geoloc_core.evaluation import predictions
from geoloc_core.evaluation.prediction_table import Predictions, parquet_schema
from geoloc_core.geography.cells import LEVELS
from tests.core.evaluation.conftest import make_photos

PHOTOS = make_photos(
    [("p1", "x", 48, 2, "FRA"), ("p2", "", 52, 13, "DEU"), ("p3", "x", -22, 17, "NAM"), ("p4", "y", 0, 0, "")]
)
CONTINENTS = {"FRA": "Europe", "DEU": "Europe", "NAM": "Africa"}
POSTERIOR = np.array([[0.5, 0.3, 0.2], [0.4, 0.2, 0.4], [0.3, 0.3, 0.4], [1.0, 0.0, 0.0]])
CLASSES = ["FRA", "DEU", "JPN"]
POINTS = np.array([[46.5, 2.5], [46.5, 2.5], [36.0, 138.0], [46.5, 2.5]])


def frame(**changes):
    arguments = {"continents": CONTINENTS, **changes}
    return predictions.predictions_frame(PHOTOS, POSTERIOR, CLASSES, POINTS, **arguments)


def test_rank_answer_and_top_k():
    made = frame(top_k=2)
    assert list(made.columns) == parquet_schema().names
    # p2: FRA and JPN share the first place, so DEU is third; the tie goes to the id that comes first.
    assert made["rank"].tolist() == [1, 3, predictions.NEVER, predictions.NEVER]
    assert made["predicted_country_id"].tolist() == ["FRA", "FRA", "JPN", "FRA"]
    assert made["topk_ids"].tolist()[1:3] == [["FRA", "JPN"], ["JPN", "DEU"]]
    assert made["topk_probabilities"].tolist()[0] == pytest.approx([0.5, 0.3])
    assert made["probability"].to_numpy() == pytest.approx([0.5, 0.4, 0.4, 1.0])
    assert made["continent"].tolist() == ["Europe", "Europe", "Africa", ""]


def test_ranks_agree_with_sorting_each_row():
    chance = np.random.default_rng(3)
    classes = [f"C{number:02d}" for number in chance.permutation(40)]
    posterior = chance.integers(0, 6, size=(300, 40)) / 10.0  # few values, so many ties
    photos = PHOTOS.iloc[np.zeros(300, dtype=int)].assign(
        photo_id=[str(n) for n in range(300)], country_id=chance.choice(classes, 300)
    )
    made = predictions.predictions_frame(photos, posterior, classes, np.zeros((300, 2)), continents={})
    for row, (truth, rank, best) in enumerate(zip(made["country_id"], made["rank"], made["topk_ids"], strict=True)):
        expected = sorted(classes, key=lambda name: (-posterior[row][classes.index(name)], name))
        assert rank == expected.index(truth) + 1
        assert best == expected[:10]


def test_a_photo_without_answer_keeps_its_row_and_its_reason():
    posterior = POSTERIOR.copy()
    posterior[1] = np.nan
    statuses = ["ok", "undecodable", "ok", "ok"]
    made = predictions.predictions_frame(PHOTOS, posterior, CLASSES, POINTS, continents=CONTINENTS, status=statuses)
    row = made.iloc[1]
    assert row["status"] == "undecodable"
    assert (row["predicted_country_id"], row["rank"], row["topk_ids"]) == ("", predictions.NEVER, [])
    assert np.isnan([row["probability"], row["distance_km"], row["predicted_latitude"]]).all()
    assert len(made) == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"posterior": POSTERIOR[:, :2]}, "3 classes"),
        ({"posterior": np.where(POSTERIOR == 0.2, np.nan, POSTERIOR)}, "no finite probability"),
        ({"points": POINTS[:2]}, "points have shape"),
        ({"photos": PHOTOS.iloc[:0]}, "no photo"),
        ({"status": ["ok"]}, "1 values of status for 4 photos"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change, words):
    given = {"photos": PHOTOS, "posterior": POSTERIOR, "classes": CLASSES, "points": POINTS, "continents": {}} | change
    with pytest.raises(InputError, match=words):
        predictions.predictions_frame(**given)


def test_kept_as_parquet_and_read_back(tmp_path):
    made = frame()
    assert predictions.bootstrap_units(made).tolist() == ["x", "photo:p2", "x", "y"]  # without author: its own author
    predictions.write_predictions(tmp_path / "one.parquet", made)
    predictions.write_predictions(tmp_path / "two.parquet", made)
    pd.testing.assert_frame_equal(predictions.read_predictions(tmp_path / "one.parquet"), made)
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    PHOTOS.to_parquet(tmp_path / "photos.parquet")
    with pytest.raises(InputError, match="not a predictions file"):
        predictions.read_predictions(tmp_path / "photos.parquet")


def test_every_column_is_described_and_every_level_has_its_own():
    columns = Predictions.columns
    for name, column in columns.items():
        assert column.description, name
        assert all("." in origin for origin in column.metadata["made_from"]), name
    assert all({f"{level}_id", f"predicted_{level}_id"} <= set(columns) for level in LEVELS)
    types = {field.name: str(field.type) for field in parquet_schema()}
    assert (types["rank"], types["brier"], types["distance_km"]) == ("int32", "float", "double")
    assert (types["topk_ids"], types["topk_probabilities"]) == ("list<item: string>", "list<item: float>")


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("probability", 1.5, "probability"),
        ("distance_km", np.nan, "exactly when its status is 'ok'"),
        ("distance_km", 20_016.0, "distance_km"),
        ("status", "undecodable", "exactly when its status is 'ok'"),
        ("predicted_country_id", "JPN", "begin with the answer"),
        ("country_id", "", "has no rank"),
        ("rank", 0, "rank"),
        ("brier", 2.5, "brier"),
    ],
)
def test_a_frame_that_breaks_its_contract_is_not_written(tmp_path, column, value, words):
    broken = frame()
    broken.loc[0, column] = value
    with pytest.raises(InputError, match=words):
        predictions.write_predictions(tmp_path / "one.parquet", broken)
    assert list(tmp_path.iterdir()) == []

"""Who becomes champion, on a real small project: the rule, the record, and who is asked."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from geoloc_core.answers.package import read_description
from geoloc_core.evaluation.evaluate import evaluate
from geoloc_core.evaluation.predictions import predictions_frame, read_predictions, write_predictions
from geoloc_core.line.layout import Layout
from geoloc_core.line.project import Project
from geoloc_core.line.promotion import Promotion, choose_champion
from geoloc_core.storage import read_json, write_json

LINEAR, FINER = "clip.linear.country.thesis", "clip+vit.linear.hierarchical.default"


@pytest.fixture
def layout(made_project: Project, tmp_path: Path) -> Layout:
    """A copy of the project in which nobody has been chosen yet."""
    home = tmp_path / "home"
    shutil.copytree(made_project.layout.home, home, ignore=shutil.ignore_patterns("dagster", "mlflow", "model"))
    copied = Layout(home)
    copied.champion_decision.unlink()
    return copied


def choose(project: Project, layout: Layout) -> Promotion:
    return choose_champion(project.profile, layout, dataclasses.replace(project, layout=layout).warehouse())


def answer_rightly(layout: Layout, key: str, share: float) -> None:
    """Let an experiment's validation answers be right for about this share of the photos of every author."""
    folder = layout.validation_report(key)
    old = read_predictions(folder / "predictions.parquet")
    classes = sorted(set(old["country_id"]) - {""})
    right = np.random.default_rng(0).random(len(old)) < share
    column = np.array([classes.index(name) if name else 0 for name in old["country_id"]])
    posterior = np.full((len(old), len(classes)), 0.01)
    posterior[np.arange(len(old)), np.where(right, column, (column + 1) % len(classes))] = 0.9
    points = old[["latitude", "longitude"]].to_numpy()
    continents = dict(zip(old["country_id"], old["continent"], strict=True))
    new = predictions_frame(old, posterior, classes, points, continents=continents)
    write_predictions(folder / "predictions.parquet", new)
    write_json(folder / "evaluation.json", evaluate(key, new).to_json())


def test_the_first_champion_must_beat_the_class_prior(made_project: Project, layout: Layout) -> None:
    answer_rightly(layout, LINEAR, 0.95)
    answer_rightly(layout, FINER, 0.02)
    first = choose(made_project, layout)
    assert (first.accepted, first.packed.experiment, first.packed.companion) == (True, LINEAR, FINER)
    assert first.decision["opponent"] == "class prior"
    assert first.decision["gain"]["low"] > 0
    assert first.decision["reasons"][0] == f"`{LINEAR}` beats the class prior and becomes champion."
    assert all(row["judged"] == "not asked" for row in first.decision["continents"])
    assert read_json(layout.champion_decision) == [first.decision]


def test_without_one_better_than_the_prior_the_best_is_provisional(made_project: Project, layout: Layout) -> None:
    for key in (LINEAR, FINER):
        answer_rightly(layout, key, 0.02)
    first = choose(made_project, layout)
    assert not first.accepted
    assert "does not beat the class prior" in first.decision["reasons"][0]
    assert read_description(layout.model).experiment == first.packed.experiment
    # Provisional is no champion: the next one is again measured against the prior, and becomes champion.
    answer_rightly(layout, FINER, 0.95)
    second = choose(made_project, layout)
    assert (second.accepted, second.packed.experiment, second.decision["opponent"]) == (True, FINER, "class prior")


def test_a_tie_leaves_the_champion_and_a_clear_gain_moves_it(made_project: Project, layout: Layout) -> None:
    answer_rightly(layout, LINEAR, 0.8)
    answer_rightly(layout, FINER, 0.02)
    choose(made_project, layout)
    before = (layout.model / "model.json").read_bytes()
    answer_rightly(layout, FINER, 0.82)
    tied = choose(made_project, layout)
    assert (tied.packed.experiment, tied.decision["moved"]) == (LINEAR, False)
    assert tied.decision["reasons"][0] == "The champion stays."
    assert tied.decision["continent_margin"] == 5.0
    # Its companion is the best of the present heads with sub-divisions: the same one here.
    assert (layout.model / "model.json").read_bytes() == before
    answer_rightly(layout, LINEAR, 0.3)
    answer_rightly(layout, FINER, 1.0)
    moved = choose(made_project, layout)
    assert (moved.packed.experiment, moved.packed.companion, moved.decision["moved"]) == (FINER, "", True)
    assert not (layout.model / "companion" / "head.json").exists()
    assert [entry["experiment"] for entry in read_json(layout.champion_decision)] == [FINER, LINEAR, LINEAR]
    # Nobody challenges: nothing is added to the record.
    assert choose(made_project, layout).decision == moved.decision
    assert len(read_json(layout.champion_decision)) == 3


def test_a_champion_trained_anew_is_asked_from_its_package(made_project: Project, layout: Layout) -> None:
    """The head on disk is another than the packed one: the packed one answers for today's photos itself."""
    answer_rightly(layout, LINEAR, 0.95)
    answer_rightly(layout, FINER, 0.02)
    choose(made_project, layout)
    head = layout.head(LINEAR) / "head.json"
    described = read_json(head)
    described["calibration"]["nll"] = 9.0
    write_json(head, described)
    later = choose(made_project, layout)
    assert later.decision["opponent"] == LINEAR
    # The package's own answers, not the improved ones of the report, are what is compared with.
    real = read_predictions(made_project.layout.validation_report(LINEAR) / "predictions.parquet")
    mine = read_predictions(layout.validation_report(LINEAR) / "predictions.parquet")
    expected = 100 * ((mine["rank"] == 1).mean() - (real["rank"] == 1).mean())
    assert later.decision["gain"]["value"] == pytest.approx(expected)


def test_a_new_split_makes_old_champions_incomparable(made_project: Project, layout: Layout) -> None:
    answer_rightly(layout, LINEAR, 0.95)
    answer_rightly(layout, FINER, 0.02)
    choose(made_project, layout)
    answer_rightly(layout, FINER, 1.0)
    split = made_project.profile.split.model_copy(update={"validation_share": 0.25})
    profile = made_project.profile.model_copy(update={"split": split})
    chosen = choose_champion(profile, layout, dataclasses.replace(made_project, layout=layout).warehouse())
    assert chosen.decision["opponent"] == "class prior"
    assert "the split has changed" in chosen.decision["reasons"][0]

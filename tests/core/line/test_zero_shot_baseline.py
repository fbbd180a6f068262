"""The row that was asked for names alone."""

import pandas as pd

from geoloc_core.errors import CheckpointError
from geoloc_core.geography.boundaries import read_boundaries
from geoloc_core.line import zero_shot_baseline
from geoloc_core.line.project import Project
from geoloc_core.line.zero_shot_baseline import zero_shot_heads
from geoloc_core.storage import read_json

ROW = "zero-shot tiny-clip, random weights"


def test_the_tables_hold_a_row_for_each_backbone_with_a_text_tower_and_say_that_it_is_random(made_project):
    for name in ("table2", "table3"):
        rows = read_json(made_project.layout.results / f"{name}.json")
        named = [row for row in rows if str(row.get("experiment", row.get("Experiment"))).startswith("zero-shot")]
        assert [row.get("experiment", row.get("Experiment")) for row in named] == [ROW]
    page = (made_project.layout.results / "report.html").read_text()
    assert ROW in page
    assert "zero-shot tiny-vit" not in page


def test_its_classes_are_all_countries_and_its_weights_the_names_vectors(made_project: Project) -> None:
    boundaries = read_boundaries(made_project.layout.regions)
    made = zero_shot_heads(made_project.profile, made_project.checkpoints, boundaries)
    assert made.left_out == {}
    ((name, head),) = made.heads.values()
    assert name == "tiny-clip"
    assert head.countries == sorted(boundaries.countries["region_id"])
    assert head.block_dims == (192,)


def test_a_backbone_whose_tokenizer_is_not_at_hand_has_no_row_and_the_report_says_why(made_project, monkeypatch):
    def missing(*arguments: object) -> None:
        raise CheckpointError("the text tower lacks its tokenizer")

    monkeypatch.setattr(zero_shot_baseline, "encode_text", missing)
    boundaries = read_boundaries(made_project.layout.regions)
    made = zero_shot_heads(made_project.profile, made_project.checkpoints, boundaries)
    assert made.heads == {}
    assert made.left_out == {"tiny-clip": "the text tower lacks its tokenizer"}


def test_the_paired_differences_are_told_in_a_table_and_in_words(made_project: Project) -> None:
    table = pd.read_csv(made_project.layout.results / "comparison.csv")
    assert set(table["Compared with"]) == {"class prior", "clip.linear.country.thesis"}
    assert table.iloc[:, 2].str.contains(r"\[.*\] (?:better|worse|tie)$").all()
    words = (made_project.layout.results / "comparison.md").read_text()
    assert "by the 95 % interval of the accuracy" in words

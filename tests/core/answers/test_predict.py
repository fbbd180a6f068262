"""`geoloc predict` and `geoloc evaluate` with a packed model: what is written, when, and what is refused."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from geoloc_core.answers.predict import Predictor
from geoloc_core.photos.settings import ImageLimits
from geoloc_dagster.cli import main

PROFILE = """
features: {clip: [tiny-clip]}
experiments: [clip.linear.country.default]
drawn: {}
"""


@pytest.fixture
def arguments(small: Path, tmp_path: Path) -> list[str]:
    """The options that make a command answer with the small model."""
    (tmp_path / "small.yaml").write_text(f"{PROFILE}checkpoints: {small.parent / 'checkpoints'}\n")
    return ["--profile", str(tmp_path / "small.yaml"), "--home", str(tmp_path / "home"), "--model", str(small)]


def test_names_that_are_no_utf8_cost_no_answer(
    arguments: list[str], photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = [tmp_path / os.fsdecode(name) for name in (b"caf\xe9.png", b"\xff\xfe.png", b"esc\x1b[2J\r.png")]
    for path in odd:
        path.write_bytes(photo.read_bytes())
    missing = tmp_path / os.fsdecode(b"gone\xff\x1b.png")
    for shape in ("--json", "--jsonl", "--csv", "--table"):
        options = [] if shape == "--table" else [shape]
        assert main(["predict", *arguments, *options, str(photo), *map(str, odd), str(missing)]) == 1
        output = capsys.readouterr()
        assert all(letter.isprintable() or letter == "\n" for letter in output.out + output.err)
        assert "caf\\xe9.png" in output.out.replace("\\\\", "\\")
        assert "there is no file" in output.err
        if shape == "--json":
            answers = json.loads(output.out)
            assert [answer["status"] for answer in answers] == ["ok"] * 4 + ["missing_file"]
            assert answers[3]["file"] == str(odd[2])


def test_predict_writes_nothing_to_the_home_nor_beside_the_model(
    arguments: list[str], small: Path, photo: Path, tmp_path: Path
) -> None:
    def state() -> list[tuple[str, int]]:
        folders = (small.parent, tmp_path)
        return sorted((str(path), path.lstat().st_mtime_ns) for folder in folders for path in folder.rglob("*"))

    before = state()
    assert main(["predict", *arguments, str(photo)]) == 0
    assert state() == before


def test_answers_come_batch_by_batch_and_are_those_of_all_at_once(small: Path, photo: Path) -> None:
    predictor = Predictor.load(small, small.parent / "checkpoints", "cpu")
    photos = [photo, Path("absent.png"), photo.read_bytes()] * 40
    batches = list(predictor.stream(photos))
    assert len(batches) > 1
    together = [prediction for batch in batches for prediction in batch]
    assert [prediction.status for prediction in together] == ["ok", "missing_file", "ok"] * 40
    assert [prediction.file for prediction in together[:3]] == [str(photo), "absent.png", ""]
    assert together == predictor.predict(photos)
    assert predictor.predict([]) == []


@pytest.mark.slow
def test_an_interrupt_keeps_what_was_answered(arguments: list[str], photo: Path, tmp_path: Path) -> None:
    """SIGINT while thousands wait: the list is closed, the sentence speaks of photos, and the status is 130."""
    large = tmp_path / "large.png"
    Image.effect_noise((600, 600), 60).convert("RGB").save(large)
    command = [sys.executable, "-m", "geoloc_dagster.cli", "predict", *arguments, "--json", *[str(large)] * 5000]
    written = tmp_path / "answers.json"

    def heed() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # what a shell starts in the background ignores it

    with (
        written.open("w") as out,
        subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE, text=True, preexec_fn=heed) as process,
    ):
        while written.read_text().count("\n") < 3:
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    answers = json.loads(written.read_text())
    assert process.returncode == 130
    assert 2 <= len(answers) < 5000
    assert {answer["status"] for answer in answers} == {"ok"}
    assert f"stopped; the answers for {len(answers):,} of 5,000 photos are written" in said
    assert "refresh" not in said


def test_the_profile_says_how_large_a_picture_may_be(
    arguments: list[str], photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = Path(arguments[1])
    for limits, reason in (("max_pixels: 4799", "too_many_pixels"), ("max_bytes: 20", "too_many_bytes")):
        profile.write_text(f"{profile.read_text().partition('images')[0]}images: {{{limits}}}\n")
        assert main(["predict", *arguments, str(photo)]) == 2
        assert reason in capsys.readouterr().out
        (tmp_path / "photos").mkdir(exist_ok=True)
        (tmp_path / "photos" / "photo.png").write_bytes(photo.read_bytes())
        assert main(["evaluate", *arguments, str(tmp_path / "photos")]) == 2
        assert reason in capsys.readouterr().out
    predictor = Predictor.load(Path(arguments[-1]), Path(arguments[-1]).parent / "checkpoints", "cpu")
    assert predictor.limits == ImageLimits()


def test_a_folder_that_cannot_be_evaluated_is_one_sentence(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty, taken = tmp_path / "empty", tmp_path / "taken"
    empty.mkdir()
    taken.write_text("a file")
    assert main(["evaluate", *arguments, str(empty)]) == 2
    assert "empty has no file in it" in (error := capsys.readouterr().err)
    assert error.count("\n") == 1
    for out in (taken, taken / "below", Path("/proc/none")):
        assert main(["evaluate", *arguments, str(empty), "--out", str(out)]) == 2
        assert f"nothing can be written to {out} (" in (error := capsys.readouterr().err)
        assert error.count("\n") == 1

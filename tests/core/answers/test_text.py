"""Answers as people read them."""

import csv
import io
import json

import pytest

from geoloc_core.answers.predict import Prediction, RegionProbability, in_words, written
from geoloc_core.learning.posterior import Promise
from geoloc_core.photos.file_names import visible

FRANCE = RegionProbability(region_id="FRA", name="France", probability=0.81234)
SPAIN = RegionProbability(region_id="ESP", name="Spain", probability=0.1)
ANSWER = Prediction(
    file="a/b.jpg", status="ok", country_id="FRA", country="France", probability=0.81234, subdivision_id="FR-IDF",
    subdivision="Île-de-France", subdivision_probability=0.5, latitude=48.85, longitude=2.35, next_best=[SPAIN], sure=True,
    sure_threshold=0.8, sure_max_risk=0.2, country_set=[FRANCE, SPAIN], set_coverage=0.9,
)  # fmt: skip
REFUSED = Prediction(file="c.txt", status="not_an_image", detail="c.txt is not a JPEG")


PROMISE = Promise(0.9, 0.01, 0.2, 0.65, 1234, "held-out training authors")


def text_of(shape: str, *batches: list[Prediction]) -> str:
    return "".join(written(batches, shape, PROMISE))


def test_the_table_says_sure_or_not_and_shows_the_set() -> None:
    shown = text_of("table", [ANSWER], [REFUSED])
    line = shown.splitlines()[2]
    for words in ("France (FRA)", "81.2%", "  sure  ", "FR-IDF", "FRA ESP", "ESP 10%"):
        assert words in line
    assert "refused: not_an_image" in shown
    assert shown.endswith(f"{in_words(PROMISE)}\n")
    many = [RegionProbability(region_id=f"X{i:02d}", name="", probability=0.01) for i in range(20)]
    unsure = Prediction(file="d", status="ok", country_id="FRA", latitude=0.0, longitude=0.0, country_set=many)
    assert "not sure" in text_of("table", [unsure])
    assert "X05 ... (20 in all)" in text_of("table", [unsure])


def test_csv_has_a_line_for_each_photo_and_reads_back() -> None:
    rows = list(csv.DictReader(io.StringIO(text_of("csv", [ANSWER], [REFUSED]))))
    assert list(rows[0]) == list(Prediction.model_fields)
    assert rows[0]["country_set"] == "FRA 0.8123; ESP 0.1000"
    assert (rows[0]["sure"], rows[0]["sure_threshold"], rows[0]["set_coverage"]) == ("True", "0.8", "0.9")
    assert (rows[1]["status"], rows[1]["country_id"], rows[1]["latitude"]) == ("not_an_image", "", "")


def test_json_is_one_list_or_a_line_each_however_the_answers_come() -> None:
    expected = [ANSWER.model_dump(), REFUSED.model_dump()]
    for batches in ([[ANSWER, REFUSED]], [[ANSWER], [REFUSED]]):
        assert json.loads(text_of("json", *batches)) == expected
        assert [json.loads(line) for line in text_of("jsonl", *batches).splitlines()] == expected
    assert json.loads(text_of("json")) == []


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_name_that_a_spreadsheet_would_compute_is_text(name: str) -> None:
    (row,) = csv.DictReader(io.StringIO(text_of("csv", [ANSWER.model_copy(update={"file": name, "longitude": -2.5})])))
    assert row["file"] == f"'{visible(name)}"
    assert row["longitude"] == "-2.5"  # a number stays one


@pytest.mark.parametrize("mark", ["\x1b[2J", "\r", "\n", "\x9b31m", "\u202e", "\u2028", "\x00"])
def test_nothing_in_a_name_speaks_to_the_terminal(mark: str) -> None:
    sly = ANSWER.model_copy(update={"file": f"a{mark}b.jpg"})
    for shape in ("json", "jsonl", "csv", "table"):
        shown = text_of(shape, [sly])
        assert shown.count("\n") == text_of(shape, [ANSWER]).count("\n")
        assert all(letter.isprintable() or letter == "\n" for letter in shown)
    assert json.loads(text_of("jsonl", [sly]))["file"] == sly.file


def test_the_promise_is_said_in_words() -> None:
    words = in_words(Promise(0.9, 0.01, 0.2, 0.65, 1234, "held-out training authors"))
    for part in ("at least 65.0%", "at most 20% are wrong", "90% of the photos"):
        assert part in words
    assert "1,234 photos (held-out training authors)" in words
    none = in_words(Promise(0.9, 0.0, 0.2, None, 12, "validation"))
    assert "no answer is called sure" in none
    assert "too few" in none

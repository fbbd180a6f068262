"""Pages are whole in themselves, hold every figure, and trust no input."""

import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from geoloc_core.evaluation.page import Picture, Section, Table, Text, render

from geoloc_core.evaluation.baselines import CLASS_PRIOR
from geoloc_core.evaluation.evaluate import evaluate
from geoloc_core.evaluation.report import folder_report, results_report
from geoloc_core.geography.boundaries import load_boundaries

NOTICE = "The pictures are drawn & the backbones are <untrained>."
DISTRIBUTION = pd.DataFrame(
    {
        "level": ["country", "country"],
        "region_id": ["USA", "FRA"],
        "name": ["United States", "France"],
        "n_photos": [70, 30],
    }
)
REFUSED = pd.DataFrame({"name": ["a<script>.jpg", "b.png"], "reason": ["no GPS", "undecodable"]})
VOID = {"meta", "img", "link", "br", "hr"}


class Reader(HTMLParser):
    """Keeps what is open and what is addressed; fails on a tag closed out of order."""

    def __init__(self) -> None:
        """Nothing read yet."""
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag, attrs):
        """An opened tag and its addresses."""
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        """A closed tag."""
        assert self.open.pop() == tag

    def handle_data(self, data):
        """Text between tags."""
        self.words.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    # Nothing is loaded from elsewhere, and nothing runs.
    assert all(address.startswith(("data:image/", "#")) for address in reader.addresses)
    assert "script" not in reader.tags
    assert not re.search(r"url\(|@import|https?://", page)
    return reader


@pytest.fixture(scope="module")
def boundaries():
    return load_boundaries()


def test_results_hold_tables_notice_definitions_and_pictures(random_predictions):
    made = random_predictions()
    rows = [
        evaluate("clip.mlp.country.thesis", made, resamples=40),
        evaluate(CLASS_PRIOR, random_predictions(skill=0.0), kind="baseline", resamples=40),
        evaluate("clip.mlp.country.thesis", made, photos="im2gps", resamples=40),
    ]
    picture = Picture("Where photos are", b"\x89PNG", "A map")
    page = results_report(
        notice=NOTICE,
        distribution=DISTRIBUTION,
        evaluations=rows,
        pictures=[picture],
        facts={"Boundary set": "embedded"},
    )
    words = " ".join(read(page).words)
    assert NOTICE in words
    assert f"{rows[0].scores['accuracy']:.1f}" in words
    for expected in ("Table 1", "Table 2", "Table 3", "Definitions", "im2gps", "class prior", "6371.0 km", "embedded"):
        assert expected in words, expected
    assert f"40 resamples of {rows[0].n_authors} " in words
    assert 'src="data:image/png;base64,iVBORw=="' in page
    assert '<tr class="baseline">' in page
    assert page == results_report(
        notice=NOTICE,
        distribution=DISTRIBUTION,
        evaluations=rows,
        pictures=[picture],
        facts={"Boundary set": "embedded"},
    )


def test_a_folder_shows_each_answer_and_each_refusal(random_predictions, boundaries):
    made = random_predictions(n=30)
    made["photo_id"] = ["<b>" + name for name in made["photo_id"]]
    page = folder_report(made, REFUSED, boundaries, notice="", folder="holiday & co", resamples=40)
    words = " ".join(read(page).words)
    assert "30 photos evaluated, 2 files refused." in words
    assert "a<script>.jpg" in words
    assert "undecodable" in words
    assert "holiday & co" in words
    assert "<script>" not in page
    assert page.count("&lt;b&gt;") == 30
    assert '<aside class="notice"' not in page


def test_a_folder_without_any_usable_photo_still_gives_a_page(random_predictions, boundaries):
    page = folder_report(random_predictions(n=5).iloc[:0], REFUSED, boundaries, notice=NOTICE, folder="x")
    words = " ".join(read(page).words)
    assert "No file of this folder could be evaluated" in words
    assert "no GPS" in words


def test_an_empty_table_says_so():
    page = render("t", "", [Section("s", (Table("c", pd.DataFrame({"File": []})), Text(("a", "b"))))])
    assert ">none</td>" in page
    read(page)

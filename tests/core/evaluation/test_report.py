"""Pages are whole in themselves, hold every figure, and trust no input; plots and maps follow their figures."""

import io
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from geoloc_core.evaluation import plots
from geoloc_core.evaluation.baselines import CLASS_PRIOR
from geoloc_core.evaluation.certainty import Certainty, calibration, coverage_curve
from geoloc_core.evaluation.comparison import comparison_table
from geoloc_core.evaluation.evaluate import VALIDATION, PhotoSet, evaluate_set
from geoloc_core.evaluation.fairness import confusion, recall_by_country
from geoloc_core.evaluation.intervals import Interval
from geoloc_core.evaluation.report import (
    certainty_section,
    confusion_section,
    fairness_section,
    folder_report,
    render,
    results_report,
    thumbnail,
    worst_mistakes,
)
from geoloc_core.geography.boundaries import load_boundaries

NOTICE = "The pictures are drawn & the backbones are <untrained>."
KEY = "clip.mlp.country.thesis"
REFUSED = pd.DataFrame({"name": ["a<script>.jpg", "b.png"], "reason": ["no GPS", "undecodable"]})
PROMISES = Certainty(
    fitted_on="validation", fitted_photos=50, photos=60, temperature=1.0, ece_before=0.2, ece=0.1, set_promised=0.9,
    set_kept=Interval(0.88, 0.8, 0.95), set_size=3.0, sure_threshold=None, sure_promised=0.2, sure_share=0.0, sure_wrong=None,
)  # fmt: skip
VOID = {"meta", "img", "link", "br", "hr"}


class Reader(HTMLParser):
    """Keeps what is open and what is addressed; fails on a tag closed out of order."""

    def __init__(self) -> None:
        """Nothing read yet."""
        super().__init__()
        self.open, self.addresses, self.words, self.tags = [], [], [], []

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


def words_of(page: str) -> str:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    # Nothing is loaded from elsewhere, and nothing runs.
    assert all(address.startswith(("data:image/", "#")) for address in reader.addresses)
    assert "script" not in reader.tags
    assert not re.search(r"url\(|@import|https?://", page)
    return " ".join(" ".join(reader.words).split())


@pytest.fixture(scope="module")
def boundaries():
    return load_boundaries()


def test_results_hold_every_section_and_the_same_content_gives_the_same_bytes(random_predictions, boundaries, tmp_path):
    good, prior = random_predictions(n=400, skill=3.0), random_predictions(n=400, skill=0.0)
    photos = PhotoSet({KEY: good}, {CLASS_PRIOR: prior}, {})
    evaluations = [
        row for name in (VALIDATION, "im2gps") for row in evaluate_set(name, photos.experiments, photos.baselines)
    ]
    farthest = good[good["status"] == "ok"].sort_values(["distance_km", "photo_id"], ascending=[False, True])
    Image.new("RGB", (50, 50)).save(tmp_path / "one.png")
    given = {
        "title": "t",
        "notice": NOTICE,
        "facts": {"Boundary set": "embedded"},
        "distribution": pd.DataFrame(
            {"level": "country", "region_id": ["USA", "FRA"], "name": ["USA", "France"], "n_photos": [70, 30]}
        ),
        "evaluations": evaluations,
        "photo_sets": {VALIDATION: photos, "im2gps": photos},
        "comparisons": {CLASS_PRIOR: comparison_table({KEY: good, CLASS_PRIOR: prior}, CLASS_PRIOR)},
        "certainties": {VALIDATION: {KEY: PROMISES}, "im2gps": {}},
        "best": KEY,
        "training": pd.DataFrame({"country_id": ["USA"] * 30 + ["FRA"] * 20 + [""], "split": "train"}),
        "boundaries": boundaries,
        "maps": {
            "coverage": b"\x89PNG",
            "country_id": "FRA",
            "country": b"a",
            "recall": b"b",
            "errors": {"im2gps": b"c"},
        },
        "files": {farthest["photo_id"].iloc[0]: tmp_path / "one.png"},
    }
    page = results_report(**given)
    words, result = words_of(page), calibration(good)
    for expected in (
        NOTICE, "Table 1", "Table 2", "Table 3, im2gps", "Maps", f"Compared with {CLASS_PRIOR}", "Better than class prior",
        f"{evaluations[0].scores['accuracy']:.1f}", f"1,000 resamples of {evaluations[0].n_authors} ", f"{result.ece:.3f}",
        f"{result.brier:.3f}", "88.0 [80.0, 95.0], promised 90", "never", "none is sure, promised at most 20", "Worst decile",
        "France", "Which country for which?", "The 20 of clip", f"{farthest['distance_km'].iloc[0]:,.0f} km away",
        "Definitions", "6371.0 km", "embedded",
    ):  # fmt: skip
        assert expected in words, expected
    assert 'src="data:image/png;base64,iVBORw=="' in page
    assert page.count('src="data:image/jpeg') == 1  # of twenty mistakes one has a picture
    assert '<tr class="baseline">' in page
    assert "<strong>" in page
    assert page == results_report(**given)


def test_a_folder_shows_each_answer_and_each_refusal(random_predictions, boundaries):
    frame = random_predictions(n=30)
    frame["photo_id"] = ["<b>" + name for name in frame["photo_id"]]
    page = folder_report(frame, REFUSED, boundaries, notice="", folder="holiday & co")
    words = words_of(page)
    for expected in ("30 photos evaluated, 2 files refused.", "a<script>.jpg", "undecodable", "holiday & co"):
        assert expected in words
    assert "<script>" not in page
    assert page.count("&lt;b&gt;") == 30
    assert '<aside class="notice"' not in page
    nothing = words_of(folder_report(frame.iloc[:0], REFUSED, boundaries, notice=NOTICE, folder="x"))
    assert "No file of this folder could be evaluated" in nothing
    assert "no GPS" in nothing
    assert ">none</td>" in folder_report(frame.iloc[:0], REFUSED.iloc[:0], boundaries, notice="", folder="x")


def test_few_photos_and_no_answers_give_sections_that_say_so(random_predictions, boundaries):
    few = random_predictions(n=6)
    training = pd.DataFrame({"country_id": ["USA"], "split": "train"})
    assert "so none is given" in words_of(render("t", fairness=fairness_section("a", few, training, boundaries)))
    nobody = few.assign(status="undecodable", probability=np.nan)
    assert worst_mistakes(nobody, {}, {}) == []
    sections = {"certainty": certainty_section("a", {"a": nobody}, {}), "confusion": confusion_section("a", nobody, {})}
    assert "cannot be reached" in words_of(render("t", **sections))


def test_thumbnails_are_small_and_without_metadata(tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "a secret description"
    Image.new("RGB", (900, 600), "red").save(tmp_path / "good.jpg", exif=exif)
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 not a picture")
    content = thumbnail(tmp_path / "good.jpg")
    assert Image.open(io.BytesIO(content)).size == (180, 120)
    assert b"secret" not in content
    assert thumbnail(tmp_path / "broken.jpg") == thumbnail(tmp_path / "absent.jpg") == thumbnail(None) == b""


def test_every_plot_is_a_small_png_that_depends_on_its_figures(random_predictions):
    drawn = []
    for skill in (0.5, 4.0):
        frame = random_predictions(n=300, skill=skill)
        drawn.append(
            [
                plots.reliability_plot(calibration(frame), "t"),
                plots.risk_coverage_plot({"a": coverage_curve(frame), "b": coverage_curve(frame)}, "t"),
                plots.distance_curves_plot({"a": frame}, "t"),
                plots.confusion_plot(confusion(frame), {}, "t"),
                plots.fairness_plot(recall_by_country(frame, {"USA": 100, "FRA": 10}), {}, "t"),
            ]
        )
    for one, other in zip(*drawn, strict=True):
        assert one != other
        for content in (one, other):
            assert len(content) <= 100_000
            assert Image.open(io.BytesIO(content)).format == "PNG"

"""Plots stay small and follow their figures; sections hold what they promise; thumbnails trust no file."""

import io

import numpy as np
import pandas as pd
import pytest
from geoloc_core.evaluation.calibration import calibration
from geoloc_core.evaluation.mistakes import mistakes_gallery, thumbnail, worst_mistakes
from geoloc_core.evaluation.page import render
from geoloc_core.evaluation.selective import coverage_curve
from PIL import Image

from geoloc_core.evaluation import details
from geoloc_core.evaluation.confusion import confusion
from geoloc_core.evaluation.fairness import recall_by_country
from geoloc_core.evaluation.plots import (
    confusion_plot,
    distance_curves_plot,
    fairness_plot,
    reliability_plot,
    risk_coverage_plot,
)
from geoloc_core.geography.boundaries import load_boundaries


@pytest.fixture(scope="module")
def boundaries():
    return load_boundaries()


def test_every_plot_is_a_small_png_that_depends_on_its_figures(random_predictions):
    drawn = []
    for skill in (0.5, 4.0):
        made = random_predictions(n=300, skill=skill)
        drawn.append(
            [
                reliability_plot(calibration(made), "t"),
                risk_coverage_plot({"a": coverage_curve(made), "b": coverage_curve(made)}, "t"),
                distance_curves_plot({"a": made}, "t"),
                confusion_plot(confusion(made), {}, "t"),
                fairness_plot(recall_by_country(made, {"USA": 100, "FRA": 10}), {}, "t"),
            ]
        )
    for one, other in zip(*drawn, strict=True):
        assert one != other
        for content in (one, other):
            assert len(content) <= 100_000
            assert Image.open(io.BytesIO(content)).format == "PNG"


def test_worst_mistakes_are_the_farthest(random_predictions):
    made = random_predictions(n=200)
    worst = worst_mistakes(made)
    assert len(worst) == 20
    assert worst["distance_km"].is_monotonic_decreasing
    rest = made.loc[~made["photo_id"].isin(worst["photo_id"]), "distance_km"]
    assert worst["distance_km"].min() >= rest.max()


def test_thumbnails_are_small_and_without_metadata(tmp_path):
    picture = Image.new("RGB", (900, 600), "red")
    exif = Image.Exif()
    exif[0x010E] = "a secret description"
    picture.save(tmp_path / "good.jpg", exif=exif)
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 not a picture")
    content = thumbnail(tmp_path / "good.jpg")
    small = Image.open(io.BytesIO(content))
    assert small.size == (180, 120)
    assert b"secret" not in content
    assert thumbnail(tmp_path / "broken.jpg") == b""
    assert thumbnail(tmp_path / "absent.jpg") == b""


def test_a_mistake_without_photo_is_shown_in_words(random_predictions, tmp_path):
    worst = worst_mistakes(random_predictions(n=50), most=2)
    Image.new("RGB", (50, 50)).save(tmp_path / "one.png")
    gallery = mistakes_gallery(worst, {"USA": "United States"}, {worst["photo_id"][0]: tmp_path / "one.png"})
    assert gallery.pictures[0].content[:2] == b"\xff\xd8"
    assert gallery.pictures[1].content == b""
    assert f"{worst['distance_km'][1]:,.0f} km away" in gallery.pictures[1].caption
    page = render("t", "", [details.Section("s", (gallery,))])
    assert page.count("<img") == 1
    assert page.count("<figcaption") == 2


def test_sections_hold_their_figures(random_predictions, boundaries):
    good, prior = random_predictions(n=500, skill=3.0), random_predictions(n=500, skill=0.0)
    frames = {"clip.mlp": good, "class prior": prior}
    training = pd.DataFrame({"country_id": ["USA"] * 30 + ["FRA"] * 20 + [""], "split": "train"})
    sections = [
        details.comparison_section(frames, resamples=60),
        details.certainty_section("clip.mlp", frames),
        details.fairness_section("clip.mlp", good, training, boundaries, resamples=60),
        details.confusion_section("clip.mlp", good, boundaries),
        details.distance_section({"im2gps": frames}),
        details.mistakes_section("clip.mlp", "im2gps", good, boundaries, {}),
    ]
    page = render("t", "", sections)
    result = calibration(good)
    for words in (
        "Compared with class prior",
        f"{result.ece:.3f}",
        f"{result.brier:.3f}",
        "Worst decile",
        "France",
        "The 20 worst mistakes",
        "better",
    ):
        assert words in page, words
    # Reliability, risk and coverage, fairness, confusion, distances: five pictures, all inside.
    assert page.count('src="data:image/png') == 5
    assert "://" not in page


def test_few_photos_give_sections_that_say_so(random_predictions, boundaries):
    few = random_predictions(n=6)
    training = pd.DataFrame({"country_id": ["USA"], "split": "train"})
    page = render("t", "", [details.fairness_section("a", few, training, boundaries, resamples=10)])
    assert "so none is given" in page
    nobody = few.assign(status="undecodable", probability=np.nan)
    details.certainty_section("a", {"a": nobody})
    details.mistakes_section("a", "x", nobody, boundaries, {})
    details.confusion_section("a", nobody, boundaries)

"""The thesis's figures stand beside ours only where they mean the same, and each of its faults is answered."""

import dataclasses
import re
from pathlib import Path

import pytest

from geoloc_core.evaluation.published import THESIS, thesis_rows
from geoloc_core.evaluation.result_tables import table2, table3
from geoloc_core.features.backbones import backbone

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reproduction.md"
CLIP, VIT, SEGVIT = (backbone(name) for name in ("clip-l-14", "vit-l-16-in21k", "seg-vit"))
FEATURES = {"clip": (CLIP,), "clip+vit": (CLIP, VIT), "vit+segvit": (VIT, SEGVIT)}


def test_the_thesis_stands_beside_ours_on_its_own_ground():
    rows = thesis_rows("validation", {"mp16"}, FEATURES)
    assert {row.kind for row in rows} == {"published"}
    table = table2(rows).set_index("experiment")
    best = table.loc["thesis: clip+vit.mlp"]
    assert best[["accuracy", "top5", "top10", "mean_km"]].tolist() == [26.4, 41.5, 47.0, 4890]
    assert best["accuracy_low":"accuracy_high"].isna().all()
    on_3k = table3(thesis_rows("im2gps3k", ["mp16"], FEATURES)).set_index("experiment")
    assert on_3k.loc["thesis: clip+vit.mlp", ["within_200", "within_750", "within_2500"]].tolist() == [4.4, 20.3, 52.2]
    assert on_3k.loc["thesis: vit+segvit", "within_2500"] == 30.9
    assert on_3k["within_1"].isna().all()  # the thesis leaves 1 and 25 km out
    assert len(THESIS) == 7


@pytest.mark.parametrize(
    ("photos", "training", "features"),
    [
        ("validation", {"sample"}, FEATURES),
        ("validation", {"mp16", "osv5m"}, FEATURES),
        ("sample-im2gps", {"mp16"}, FEATURES),
        ("validation", {"mp16"}, {"clip": (dataclasses.replace(CLIP, model_id="ViT-B-32"),)}),
        ("validation", {"mp16"}, {"clip": (dataclasses.replace(CLIP, pretrained="laion2b"),)}),
        ("validation", {"mp16"}, {"clip+vit": (CLIP, dataclasses.replace(VIT, weights="seeded:1"))}),
        ("validation", {"mp16"}, {"clip+vit": (CLIP,)}),
        ("validation", {"mp16"}, {"vit+segvit": (VIT, dataclasses.replace(SEGVIT, embedder=None))}),
    ],
)
def test_elsewhere_nothing_is_claimed(photos, training, features):
    assert thesis_rows(photos, training, features) == []


def test_the_page_names_all_sixteen_faults_with_what_is_done_about_each():
    faults = re.split(r"\n\*\*(\d+)\. ", PAGE.read_text(encoding="utf-8").partition("\n## What is measured")[0])[1:]
    assert [int(number) for number in faults[::2]] == list(range(1, 17))
    assert all("Mend:" in text for text in faults[1::2])

"""Labels of the real benchmarks: every photo ends somewhere, and the split is fair to the large countries."""

import pytest

from geoloc_core.geography.boundaries import load_boundaries
from geoloc_core.geography.locate import RegionLocator
from geoloc_core.photos.labels import label_photos
from geoloc_core.photos.splits import split_by_author
from tests.core.photos.conftest import read


@pytest.mark.parametrize(("name", "rows"), [("im2gps_places365.csv", 237), ("yfcc26k_half_places365.csv", 12_800)])
def test_every_photo_is_labelled_near_or_none(shared_data, name, rows):
    photos = read(shared_data / "benchmarks" / name).accepted
    labeled = label_photos(photos, "bench", RegionLocator(load_boundaries("embedded"), near_cap_km=25.0))
    counts = labeled["label_quality"].value_counts()
    assert counts.sum() == rows
    assert counts["inside"] > 0.85 * rows
    assert 1 <= counts["none"] < 0.005 * rows
    assert labeled["photo_id"].tolist() == photos["photo_id"].tolist()
    assert ((labeled["country_id"] != "") == (labeled["label_quality"] != "none")).all()

    sides = split_by_author(labeled["author_id"], labeled["photo_id"], "geoloc", 0.2)
    by_country = labeled.assign(validation=sides == "validation").groupby("country_id")["validation"]
    large = by_country.agg(["size", "mean"]).query("size >= 300")
    assert len(large) == (8 if rows == 12_800 else 0)
    assert large["mean"].between(0.15, 0.25).all()

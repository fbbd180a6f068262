"""Labels and the split by author, also of the real benchmarks, and what is left out of training."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoloc_core.errors import InputError
from geoloc_core.geography.boundaries import load_boundaries
from geoloc_core.geography.locate import RegionLocator
from geoloc_core.photos.labels import label_photos
from geoloc_core.photos.settings import Split
from geoloc_core.photos.splits import split_by_author
from geoloc_core.photos.training import assemble_training, low_support
from tests.core.photos.conftest import read


def labeled(rows, shard="s0", dataset="d"):
    """Rows of (photo_id, author_id, country_id)."""
    frame = pd.DataFrame(rows, columns=["photo_id", "author_id", "country_id"])
    known = frame["country_id"] != ""
    labels = {"label_quality": np.where(known, "inside", "none")}
    labels["label_distance_km"] = np.where(known, 0.0, np.nan).astype(np.float32)
    return frame.assign(dataset=dataset, shard=shard, latitude=1.0, longitude=2.0, subdivision_id="", **labels)


def images(ids, shard="s0", status="ok", phash=None):
    hashes = phash or [hashlib.sha256(photo.encode()).hexdigest()[:16] for photo in ids]
    return pd.DataFrame({"photo_id": ids, "shard": shard, "status": status, "phash": hashes})


@settings(max_examples=50, deadline=None)
@given(
    authors=st.lists(st.sampled_from(["", "a", "b", "c", "22489773@N02"]), min_size=1, max_size=30),
    more=st.lists(st.sampled_from(["a", "c", "new"]), max_size=10),
    key=st.text(max_size=100),
)
def test_adding_photos_moves_nobody(authors, more, key):
    photos = [f"p{n}" for n in range(len(authors) + len(more))]
    before = split_by_author(np.array(authors, dtype=object), np.array(photos[: len(authors)], dtype=object), key, 0.5)
    both = np.array(authors + more, dtype=object)
    after = split_by_author(both, np.array(photos, dtype=object), key, 0.5)
    assert np.array_equal(after[: len(authors)], before)
    for author in set(both) - {""}:
        assert len(set(after[both == author])) == 1


def test_the_share_and_the_key():
    authors = pd.Series([f"author-{n}" for n in range(20_000)])
    photos = pd.Series([f"{n}" for n in range(20_000)])
    sides = split_by_author(authors, photos, "key", 0.2)
    assert abs((sides == "validation").mean() - 0.2) < 0.01
    assert abs((split_by_author(authors, photos, "key", 0.35) == "validation").mean() - 0.35) < 0.015
    other = split_by_author(authors, photos, "another key", 0.2)
    both = ((sides == "validation") & (other == "validation")).mean()
    assert abs(both - 0.04) < 0.01  # independent
    assert (split_by_author(authors, photos, "key", 0.0) == "train").all()


def test_the_split_of_today_is_the_split_of_tomorrow():
    """Frozen: a change of the hash would move authors of every existing project across."""
    sides = split_by_author(
        np.array(["22489773@N02", "48881044@N00", "19111040@N00", "", "", ""], dtype=object),
        np.array(["1", "2", "3", "4", "5", "6"], dtype=object),
        "geoloc",
        0.5,
    )
    assert sides.tolist() == ["train", "validation", "validation", "validation", "validation", "train"]


def test_each_reason_in_its_order():
    near, far = "00000000ffffffff", "ffffffff00000000"
    ids = ["good", "sea", "bench", "by-bench-author", "broken", "copy", "flat", "almost"]
    photos = labeled(
        [(name, author, "" if name == "sea" else "NLD") for name, author in zip(ids, "aabzaaaa", strict=True)]
    )
    manifest = images(ids, phash=[far, far, far, far, "", "00000000fffffff0", "0" * 16, "00000000ffffffe0"])
    manifest.loc[4, "status"] = "truncated_image"
    benchmark = labeled([("bench", "y", "NLD"), ("other", "z", "NLD"), ("nobody", "", "NLD")], shard="im2gps")
    benchmark_images = images(["bench", "other", "nobody"], "im2gps", phash=[near, "0" * 16, near])
    training, excluded = assemble_training(photos, manifest, benchmark, benchmark_images, Split(key="k"))
    assert sorted(training["photo_id"]) == ["almost", "flat", "good"]
    assert excluded.set_index("photo_id")["reason"].to_dict() == {
        "sea": "no_label",
        "bench": "benchmark_photo",
        "by-bench-author": "benchmark_author",
        "broken": "image_not_usable",
        "copy": "near_duplicate_of_benchmark",
    }
    assert set(training["split"]) <= {"train", "validation"}


def test_a_benchmarks_photo_is_known_by_flickrs_id_or_within_its_dataset():
    photos = labeled([("31", "a", "NLD"), ("own.jpg", "a", "NLD")], shard="s0", dataset="mp16")
    same = labeled([("own.jpg", "b", "NLD")], shard="s1", dataset="im2gps")
    benchmark = labeled([("31", "x", "NLD"), ("own.jpg", "y", "NLD")], shard="bench", dataset="im2gps")
    manifest = pd.concat([images(["31", "own.jpg"]), images(["own.jpg"], "s1")])
    nothing = images([], "bench")
    _, excluded = assemble_training(pd.concat([photos, same]), manifest, benchmark, nothing, Split(key="k"))
    left_out = dict(zip(zip(excluded["shard"], excluded["photo_id"], strict=True), excluded["reason"], strict=True))
    assert left_out == {("s0", "31"): "benchmark_photo", ("s1", "own.jpg"): "benchmark_photo"}


def test_the_same_photo_counts_once():
    first = labeled([("11", "a", "NLD"), ("own.jpg", "a", "NLD"), ("12", "a", "")], shard="s0", dataset="mp16")
    second = labeled([("11", "a", "NLD"), ("own.jpg", "a", "NLD"), ("12", "a", "NLD")], shard="s1", dataset="yfcc100m")
    third = labeled([("own.jpg", "a", "NLD")], shard="s2", dataset="mp16")
    photos = pd.concat([third, second, first])
    manifest = pd.concat(
        [images(frame["photo_id"].tolist(), frame["shard"].iloc[0]) for frame in (first, second, third)]
    )
    training, excluded = assemble_training(photos, manifest, photos.iloc[:0], manifest.iloc[:0], Split(key="k"))
    kept = list(zip(training["shard"], training["photo_id"], strict=True))
    assert kept == [("s0", "11"), ("s0", "own.jpg"), ("s1", "12"), ("s1", "own.jpg")]
    left = list(zip(excluded["shard"], excluded["photo_id"], excluded["reason"], strict=True))
    assert left == [("s0", "12", "no_label"), ("s1", "11", "duplicate_photo"), ("s2", "own.jpg", "duplicate_photo")]


def test_a_photo_without_manifest_row_is_named():
    photos = labeled([("1", "a", "NLD")])
    with pytest.raises(InputError, match="photo 1 of shard s0"):
        assemble_training(photos, images([]), photos.iloc[:0], images([]), Split(key="k"))


def test_min_support():
    rows = [(f"n{n}", f"a{n}", "NLD") for n in range(40)] + [(f"m{n}", f"b{n}", "NAM") for n in range(6)]
    photos = labeled(rows)
    photos["subdivision_id"] = ["NL-NH"] * 34 + ["NL-ZE"] * 6 + ["NA-KH"] * 6
    manifest = images(photos["photo_id"].tolist())
    nothing = photos.iloc[:0], manifest.iloc[:0]
    everything, excluded = assemble_training(photos, manifest, *nothing, Split(key="k", validation_share=0.3))
    assert excluded.empty
    n_train = everything[everything["split"] == "train"].groupby("country_id").size()
    assert 3 <= n_train["NAM"] <= 5
    assert low_support(everything, 10)[["level", "region_id"]].values.tolist() == [
        ["country", "NAM"],
        ["subdivision", "NA-KH"],
        ["subdivision", "NL-ZE"],
    ]
    assert low_support(everything, int(n_train["NAM"]))["region_id"].tolist().count("NAM") == 0

    training, excluded = assemble_training(
        photos, manifest, *nothing, Split(key="k", validation_share=0.3, min_support=10)
    )
    assert len(training) + len(excluded) == len(photos)
    assert set(excluded["reason"]) == {"below_min_support"}
    assert sorted(excluded["photo_id"]) == sorted(
        everything.loc[(everything["country_id"] == "NAM") & (everything["split"] == "train"), "photo_id"]
    )
    is_train = training["split"] == "train"
    # Validation photos keep their truth; training photos of the rare sub-division keep their country.
    assert set(training.loc[is_train, "subdivision_id"]) == {"NL-NH", ""}
    assert {"NL-ZE", "NA-KH"} <= set(training.loc[~is_train, "subdivision_id"])
    assert (training.loc[is_train, "country_id"] == "NLD").all()


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

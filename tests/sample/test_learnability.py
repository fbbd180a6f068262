"""What can be learned from the sample: something from pixels, nothing from all else."""

import csv

import numpy as np
import pytest

from geoloc_core.errors import InputError
from geoloc_core.geography.boundaries import load_boundaries
from geoloc_core.geography.locate import RegionLocator
from geoloc_core.photos.images import load_image
from geoloc_sample.draw import SampleSpec, draw_delivery

SPEC = SampleSpec(photos_per_shard=1100, image_size=96, authors=200)
RIDGE = 0.1


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Of every labelled and readable photo: country, sub-division and author (n,), colours (n, 216), file facts (n, 9)."""
    folder = tmp_path_factory.mktemp("learn") / "sample-00"
    draw_delivery(SPEC, "sample-00", folder, load_boundaries())
    points, authors, colours, facts = [], [], [], []
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            path = folder / "images" / row["IMG_ID"]
            if row["LAT"] in ("", "0.0") or abs(float(row["LAT"])) > 90:
                continue
            try:
                picture = load_image(path)
            except InputError:
                continue
            points.append((float(row["LON"]), float(row["LAT"])))
            authors.append(row["AUTHOR"])
            # Square roots of a histogram with 6 steps of each channel.
            steps = np.asarray(picture.resize((48, 48))).astype(np.int64) * 6 // 256
            colours.append(np.sqrt(np.bincount((steps @ (36, 6, 1)).ravel(), minlength=216)))
            facts.append([path.stat().st_size, picture.width, picture.height, *map(int, path.stem[:6])])
    longitude, latitude = np.array(points).T
    found = RegionLocator(load_boundaries()).locate(longitude=longitude, latitude=latitude)
    labelled = found.country_index >= 0
    columns = (
        found.country_index,
        found.subdivision_index,
        np.array(authors),
        np.array(colours),
        np.array(facts, float),
    )
    return [column[labelled] for column in columns]


def accuracy(features: np.ndarray, label: np.ndarray, author: np.ndarray) -> tuple[float, float]:
    """Accuracy on photos of other authors of a linear classifier (ridge regression on one-hot labels), and of always
    answering with the commonest class.
    """
    names = np.unique(author)
    held_out = np.isin(author, np.random.default_rng(0).permutation(names)[: len(names) // 4])
    classes, label = np.unique(label, return_inverse=True)
    scaled = (features - features[~held_out].mean(axis=0)) / (features[~held_out].std(axis=0) + 1e-9)
    target = np.eye(len(classes))[label[~held_out]]
    share = target.mean(axis=0)
    gram = scaled[~held_out].T @ scaled[~held_out] + RIDGE * (~held_out).sum() * np.eye(scaled.shape[1])
    weight = np.linalg.solve(gram, scaled[~held_out].T @ (target - share))
    answer = (scaled @ weight + share).argmax(axis=1)
    return float((answer == label)[held_out].mean()), float((label[held_out] == share.argmax()).mean())


def test_colours_show_the_country_often_and_the_subdivision_sometimes(photos):
    country, subdivision, author, colours, _ = photos
    reached, prior = accuracy(colours, country, author)
    assert 0.2 < prior < 0.4
    assert prior + 0.12 < reached < 0.85
    reached, prior = accuracy(colours, subdivision, author)
    assert prior + 0.06 < reached < 0.5


def test_files_and_shuffled_pictures_show_nothing(photos):
    country, _, author, colours, facts = photos
    reached, prior = accuracy(facts, country, author)
    assert reached <= prior + 0.01
    reached, _ = accuracy(np.random.default_rng(1).permutation(colours), country, author)
    assert reached < prior + 0.04
    # The size of files varies no more between countries than between random groups.
    size, counts = facts[:, 0] - facts[:, 0].mean(), np.bincount(country) + 1e-9
    between = [
        (np.bincount(labels, weights=size) ** 2 / counts).sum()
        for labels in [country, *(np.random.default_rng(seed).permutation(country) for seed in range(400))]
    ]
    assert np.mean(np.array(between[1:]) >= between[0]) > 0.02

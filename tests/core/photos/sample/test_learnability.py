"""What can be learnt from the sample: from pixels something, from everything else nothing."""

import csv
from pathlib import Path

import numpy as np
import pytest

from geoloc_core.errors import InputError
from geoloc_core.geography.locate import RegionLocator
from geoloc_core.photos.images import load_image
from geoloc_core.photos.sample.delivery import draw_delivery
from geoloc_core.photos.sample.spec import SampleSpec

SPEC = SampleSpec(photos_per_shard=1100, image_size=96, authors=200)
RIDGE = 0.1


@pytest.fixture(scope="module")
def photos(embedded, tmp_path_factory):
    """Of every labelled and readable photo: country (n,), author (n,), picture (n, 48, 48, 3), file facts (n, 12)."""
    folder = tmp_path_factory.mktemp("learn") / "sample-00"
    draw_delivery(SPEC, "sample-00", folder, embedded)
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    kept, pictures, facts = [], [], []
    for row in rows:
        path = folder / "images" / row["IMG_ID"]
        if row["LAT"] in ("", "0.0") or abs(float(row["LAT"])) > 90:
            continue
        try:
            picture = load_image(path)
        except InputError:
            continue
        kept.append(row)
        pictures.append(np.asarray(picture.resize((48, 48)), dtype=np.float64) / 255)
        facts.append(_file_facts(path, picture.width, picture.height))
    found = RegionLocator(embedded).locate(
        longitude=np.array([float(row["LON"]) for row in kept]), latitude=np.array([float(row["LAT"]) for row in kept])
    )
    labelled = found.country_index >= 0
    author = np.array([row["AUTHOR"] for row in kept])
    return found.country_index[labelled], author[labelled], np.array(pictures)[labelled], np.array(facts)[labelled]


def _file_facts(path: Path, width: int, height: int) -> list[float]:
    digits = [float(digit) for digit in path.stem[:6]]
    return [path.stat().st_size, width, height, *digits, len(path.stem), *(int(part, 16) for part in path.parts[-3:-1])]


def _held_out(author: np.ndarray) -> np.ndarray:
    names = np.unique(author)
    chosen = np.random.default_rng(0).permutation(names)[: len(names) // 4]
    return np.isin(author, chosen)


def _accuracy(features: np.ndarray, country: np.ndarray, held_out: np.ndarray) -> tuple[float, float]:
    """Top-1 accuracy of a linear classifier (ridge regression on one-hot labels) on photos of other authors, and of
    always naming the commonest country.
    """
    classes, label = np.unique(country, return_inverse=True)
    train = ~held_out
    scaled = (features - features[train].mean(axis=0)) / (features[train].std(axis=0) + 1e-9)
    wanted = np.eye(len(classes))[label[train]]
    share = wanted.mean(axis=0)
    gram = scaled[train].T @ scaled[train] + RIDGE * train.sum() * np.eye(scaled.shape[1])
    weight = np.linalg.solve(gram, scaled[train].T @ (wanted - share))
    answer = (scaled @ weight + share).argmax(axis=1)
    return float((answer == label)[held_out].mean()), float((label[held_out] == share.argmax()).mean())


def _colours(pictures: np.ndarray) -> np.ndarray:
    """Square roots of colour histograms with 6 steps a channel, (n, 216)."""
    steps = (pictures * 5.999).astype(np.int64)
    codes = steps[..., 0] * 36 + steps[..., 1] * 6 + steps[..., 2]
    return np.sqrt(np.stack([np.bincount(code.ravel(), minlength=216) for code in codes]))


def test_colours_tell_the_country_often_but_not_always(photos):
    country, author, pictures, _ = photos
    accuracy, prior = _accuracy(_colours(pictures), country, _held_out(author))
    assert 0.2 < prior < 0.4
    assert prior + 0.12 < accuracy < 0.9


def test_files_tell_nothing(photos):
    country, author, _, facts = photos
    accuracy, prior = _accuracy(facts, country, _held_out(author))
    assert accuracy <= prior + 0.01


def test_file_sizes_are_the_same_in_every_country(photos):
    country, _, _, facts = photos
    size = facts[:, 0]

    def between(labels: np.ndarray) -> float:
        # Sum of squares between countries.
        counts = np.bincount(labels)
        sums = np.bincount(labels, weights=size - size.mean())
        return float((sums[counts > 0] ** 2 / counts[counts > 0]).sum())

    rng = np.random.default_rng(0)
    shuffled = [between(rng.permutation(country)) for _ in range(400)]
    assert np.mean(np.array(shuffled) >= between(country)) > 0.02


def test_what_is_told_by_colours_is_not_told_by_shuffled_pictures(photos):
    """The same classifier on pictures that belong to other photos: it finds nothing, so it cheats nowhere."""
    country, author, pictures, _ = photos
    order = np.random.default_rng(1).permutation(len(pictures))
    accuracy, prior = _accuracy(_colours(pictures)[order], country, _held_out(author))
    assert accuracy < prior + 0.04

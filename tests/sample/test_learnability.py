"""What can be learned from the sample: something from pixels, nothing from all else."""

from contextlib import suppress

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from geoloc_core.errors import InputError
from geoloc_core.geography.boundaries import load_boundaries
from geoloc_core.geography.locate import RegionLocator
from geoloc_core.photos.images import load_image
from geoloc_sample.draw import SampleSpec, draw_delivery

SPEC = SampleSpec(photos_per_shard=1100, image_size=96, authors=200)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Of every labelled and readable photo: country, sub-division and author (n,), colours (n, 216), file facts (n, 9)."""
    folder = tmp_path_factory.mktemp("learn") / "sample-00"
    draw_delivery(SPEC, "sample-00", folder, load_boundaries())
    rows, pictures = [], []
    for row in pd.read_csv(folder / "metadata.csv").fillna(0.0).itertuples(index=False):
        with suppress(InputError):
            pictures.append(load_image(folder / "images" / row.IMG_ID))
            rows.append(row)
    image_id, author, latitude, longitude = map(np.array, zip(*rows, strict=True))
    found = RegionLocator(load_boundaries()).locate(longitude=longitude, latitude=latitude.clip(-90, 90))
    # Square roots of a histogram with 6 steps of each channel.
    steps = np.stack([np.asarray(picture.resize((48, 48)), np.int64) for picture in pictures]) * 6 // 256 @ (36, 6, 1)
    colours = np.sqrt([np.bincount(codes.ravel(), minlength=216) for codes in steps])
    sizes = [(folder / "images" / name).stat().st_size for name in image_id]
    digits = [[*picture.size, *map(int, name[-15:-9])] for name, picture in zip(image_id, pictures, strict=True)]
    facts = np.column_stack([sizes, digits]).astype(float)
    labelled = (found.index["country"] >= 0) & (latitude != 0) & (np.abs(latitude) <= 90)
    return [column[labelled] for column in (found.index["country"], found.index["subdivision"], author, colours, facts)]


def accuracy(features: np.ndarray, label: np.ndarray, author: np.ndarray) -> tuple[float, float]:
    """Accuracy on photos of other authors of a linear classifier, and of the commonest class."""
    names = np.unique(author)
    held_out = np.isin(author, np.random.default_rng(0).permutation(names)[: len(names) // 4])
    scores = []
    for model in (RidgeClassifier(alpha=0.1 * (~held_out).sum()), DummyClassifier()):
        pipeline = make_pipeline(StandardScaler(), model).fit(features[~held_out], label[~held_out])
        scores.append(pipeline.score(features[held_out], label[held_out]))
    return scores[0], scores[1]


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

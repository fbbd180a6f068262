"""Predictions small enough to check by hand, and random ones to check against brute force."""

import numpy as np
import pandas as pd
import pytest

from geoloc_core.evaluation.predictions import predictions_frame
from geoloc_core.geography.boundaries import load_boundaries

CONTINENTS = {"FRA": "Europe", "DEU": "Europe", "JPN": "Asia", "USA": "North America", "NAM": "Africa"}
CLASSES = ["USA", "FRA", "DEU", "JPN"]
ANCHORS = pd.DataFrame(
    {
        "region_id": ["DEU", "FRA", "JPN", "NAM", "USA"],
        "latitude": [51.0, 46.5, 36.0, -22.0, 39.5],
        "longitude": [10.0, 2.5, 138.0, 17.0, -98.5],
    }
)


def make_photos(rows: list[tuple[str, str, float, float, str]]) -> pd.DataFrame:
    """photo_id, author_id, latitude, longitude, country_id."""
    return pd.DataFrame(rows, columns=["photo_id", "author_id", "latitude", "longitude", "country_id"])


@pytest.fixture(scope="session")
def boundaries():
    """The embedded boundary set."""
    return load_boundaries()


@pytest.fixture
def random_predictions():
    """A maker of predictions of n photos by some authors in five countries, one of them never seen in training."""

    def make(n: int = 200, n_authors: int = 30, seed: int = 0, skill: float = 2.0) -> pd.DataFrame:
        chance = np.random.default_rng(seed)
        truth = chance.choice(["USA", "FRA", "DEU", "JPN", "NAM", ""], size=n, p=[0.4, 0.2, 0.2, 0.1, 0.05, 0.05])
        logits = np.random.default_rng(seed + 1000).normal(size=(n, len(CLASSES)))
        logits += skill * (truth[:, None] == np.array(CLASSES)[None, :])
        posterior = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        place = ANCHORS.set_index("region_id").loc[CLASSES].to_numpy()
        photos = pd.DataFrame(
            {
                "photo_id": [f"p{number:05d}" for number in chance.permutation(n)],
                "author_id": [f"a{number}" if number else "" for number in chance.integers(n_authors, size=n)],
                "latitude": np.degrees(np.arcsin(chance.uniform(-0.95, 0.95, n))),
                "longitude": chance.uniform(-180, 180, n),
                "country_id": truth.astype(object),
            }
        )
        status = np.where(chance.uniform(size=n) < 0.05, "undecodable", "ok")
        points = place[posterior.argmax(axis=1)]
        return predictions_frame(photos, posterior, CLASSES, points, continents=CONTINENTS, status=list(status))

    return make

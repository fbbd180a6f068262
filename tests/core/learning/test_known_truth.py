"""Gaussian mixtures whose Bayes posterior is known, with the class balance of MP-16: how much of what can be learnt is.

One Gaussian of unit covariance for each country; a country is as frequent as among the coordinates of
mp16_like_coordinates_100k.csv. The Bayes posterior is softmax(x . mu - |mu|^2 / 2 + log prior).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from scipy.special import log_softmax

from geoloc_core.geography.boundaries import load_boundaries
from geoloc_core.geography.locate import RegionLocator
from geoloc_core.learning.data import TrainingData, encode_labels
from geoloc_core.learning.recipes import head_spec, recipe
from geoloc_core.learning.train import train_head

N_TEST = 10_000


@dataclass(frozen=True)
class Balance:
    """Country of each of the located coordinates, as a number, and where they lie."""

    country: np.ndarray
    latitude: np.ndarray
    longitude: np.ndarray


@pytest.fixture(scope="module")
def balance(shared_data):
    frame = pd.read_csv(shared_data / "benchmarks" / "mp16_like_coordinates_100k.csv")
    latitude, longitude = frame["LAT"].to_numpy(), frame["LON"].to_numpy()
    index = RegionLocator(load_boundaries()).locate(longitude=longitude, latitude=latitude).index["country"]
    known = index >= 0
    country = np.unique(index[known], return_inverse=True)[1]
    return Balance(country, latitude[known], longitude[known])


@dataclass(frozen=True)
class Mixture:
    """Training data, the test photos, and what Bayes would answer to them."""

    data: TrainingData
    classes: list[str]
    test_vectors: np.ndarray
    test_labels: np.ndarray
    bayes_accuracy: float
    bayes_nll: float
    prior_accuracy: float


def draw(balance, n, dimension, separation=2.5, seed=0):
    """n training photos and 10,000 test photos; the centres lie about `separation` from the origin."""
    rng = np.random.default_rng(seed)
    n_countries = balance.country.max() + 1
    centres = (rng.normal(size=(n_countries, dimension)) * separation / dimension**0.5).astype(np.float32)
    pick = rng.integers(0, len(balance.country), n + N_TEST)
    country = balance.country[pick]
    vectors = np.empty((n + N_TEST, dimension), np.float16)
    for start in range(0, len(pick), 20_000):
        some = country[start : start + 20_000]
        vectors[start : start + 20_000] = centres[some] + rng.standard_normal((len(some), dimension), dtype=np.float32)
    is_train = np.arange(n + N_TEST) < n
    prior = np.bincount(balance.country) / len(balance.country)
    bayes = vectors[n:].astype(np.float32) @ centres.T - 0.5 * (centres**2).sum(axis=1) + np.log(prior)
    classes, labels = encode_labels(
        np.array([f"C{k:03d}" for k in range(n_countries)], dtype=object)[country], is_train
    )
    truth = country[n:]
    return Mixture(
        data=TrainingData(
            [vectors[:n]],
            labels[:n],
            is_train[:n],
            balance.latitude[pick[:n]],
            balance.longitude[pick[:n]],
            np.arange(n),
        ),
        classes=classes,
        test_vectors=vectors[n:],
        test_labels=labels[n:],
        bayes_accuracy=float((bayes.argmax(axis=1) == truth).mean()),
        bayes_nll=float(-log_softmax(bayes, axis=1)[np.arange(N_TEST), truth].mean()),
        prior_accuracy=float((truth == prior.argmax()).mean()),
    )


def accuracy(mixture, recipe_name, head="linear"):
    data, classes = mixture.data, mixture.classes
    trained = train_head(data, head_spec(head), recipe(recipe_name), classes, device="cpu", progress=False)
    return float((trained.head.posterior([mixture.test_vectors]).argmax(axis=1) == mixture.test_labels).mean())


def test_the_bayes_answer_is_what_the_draws_say(balance):
    """The yardstick itself: a little below the accuracy that its own confidence promises would be a wrong formula."""
    mixture = draw(balance, n=500, dimension=64)
    assert mixture.prior_accuracy == pytest.approx(0.305, abs=0.02)
    assert 0.6 < mixture.bayes_accuracy < 0.8
    assert 0.8 < mixture.bayes_nll < 1.4


@pytest.mark.slow
def test_probe_and_default_reach_97_percent_of_bayes(balance, record_property):
    """200,000 photos in 512 dimensions. (The thesis beside them: benchmarks and the small test.)"""
    mixture = draw(balance, n=200_000, dimension=512)
    for head in ("linear", "probe"):
        share = accuracy(mixture, "default", head) / mixture.bayes_accuracy
        record_property(f"{head}_share_of_bayes", share)
        assert share >= 0.97, head


def test_the_order_of_the_recipes_on_few_photos(balance):
    mixture = draw(balance, n=8_000, dimension=64)
    trained = {"probe": ("default", "probe"), "default": ("default", "linear"), "thesis": ("thesis", "linear")}
    reached = {name: accuracy(mixture, *how) / mixture.bayes_accuracy for name, how in trained.items()}
    assert reached["probe"] > 0.85
    assert reached["default"] > 0.85
    assert reached["thesis"] < reached["default"]
    assert max(reached.values()) < 1.01


def test_the_mlp_gains_nothing_where_the_truth_is_linear_and_loses_little(balance, record_property):
    """The Bayes posterior of this mixture is a linear head's: an MLP of the default recipe can at best equal it."""
    mixture = draw(balance, n=8_000, dimension=64)
    share = accuracy(mixture, "default", "mlp") / mixture.bayes_accuracy
    record_property("mlp_default_share_of_bayes", share)
    assert 0.82 < share < 1.0
    assert share * mixture.bayes_accuracy > 1.5 * mixture.prior_accuracy

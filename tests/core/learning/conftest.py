"""Vectors with a truth to learn, for the tests of this room."""

import numpy as np
import pytest

from geoloc_core.learning.data import TrainingData


@pytest.fixture(scope="session")
def names():
    """A function that gives the region ids of so many classes."""
    return lambda n_classes: [f"R{index:02d}" for index in range(n_classes)]


@pytest.fixture(scope="session")
def clusters():
    """A function that makes training data: photos around one centre for each class."""

    def make(n=400, n_classes=5, dims=(6, 4), spread=0.6, seed=0, photos_per_author=1, validation_share=0.25):
        """Photos around one centre for each class, in `len(dims)` blocks; classes lie 10 degrees of longitude apart."""
        rng = np.random.default_rng(seed)
        labels = np.concatenate([np.arange(n_classes), rng.integers(0, n_classes, n - n_classes)])
        centres = rng.normal(size=(n_classes, sum(dims)))
        vectors = (centres[labels] + spread * rng.normal(size=(n, sum(dims)))).astype(np.float16)
        is_train = rng.random(n) >= validation_share
        is_train[:n_classes] = True
        return TrainingData(
            blocks=np.split(vectors, np.cumsum(dims)[:-1], axis=1),
            labels=labels.astype(np.int64),
            is_train=is_train,
            latitude=rng.uniform(-5, 5, n),
            longitude=labels * 10.0 + rng.uniform(-2, 2, n),
            author_id=np.array([f"a{i // photos_per_author}" for i in range(n)], dtype=object),
        )

    return make

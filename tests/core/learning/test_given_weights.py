"""The class weights that the line made are the ones that the loss uses."""

import numpy as np
import torch

from geoloc_core.learning.data import TrainingData
from geoloc_core.learning.objective import build_objective
from geoloc_core.learning.recipes import recipe


def test_weights_of_the_data_are_used_by_scheme_and_computed_where_none_are_given() -> None:
    labels = np.array([0, 0, 0, 1])
    plain = {
        "blocks": [np.zeros((4, 2), np.float16)],
        "labels": labels,
        "is_train": np.ones(4, dtype=bool),
        "latitude": np.zeros(4),
        "longitude": np.zeros(4),
    }
    given = {"inverse": np.array([0.25, 7.0])}
    asked = (recipe("thesis"), ["AAA", "BBB"], "country", np.arange(4), 0, torch.device("cpu"))
    used = build_objective(TrainingData(**plain, class_weights=given), *asked).weights
    assert used is not None
    assert used.tolist() == [0.25, 7.0]
    computed = build_objective(TrainingData(**plain), *asked).weights
    assert computed is not None
    assert computed[1] / computed[0] == 3.0

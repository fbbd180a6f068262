"""Class weights: exact values, their scale, and the refusals."""

import numpy as np
import pandas as pd
import pytest

from geoloc_core.errors import InputError
from geoloc_core.learning.weights import CLASS_WEIGHT_SCHEMES, class_weight_table, class_weights

COUNTS = np.array([1, 10, 1_000, 1_000_000])


@pytest.mark.parametrize("scheme", CLASS_WEIGHT_SCHEMES)
def test_the_average_photo_weighs_one(scheme):
    weights = class_weights(COUNTS, scheme)
    assert weights @ COUNTS / COUNTS.sum() == pytest.approx(1.0, rel=1e-12)


def test_inverse_gives_every_class_the_same_total():
    np.testing.assert_allclose(class_weights(COUNTS, "inverse") * COUNTS, np.full(4, COUNTS.sum() / 4), rtol=1e-12)
    assert class_weights(COUNTS, "none")[-1] * COUNTS[-1] / COUNTS.sum() == pytest.approx(1e6 / 1_001_011)


def test_square_root_ratios():
    weights = class_weights(COUNTS, "sqrt")
    np.testing.assert_allclose(weights / weights[-1], [1000.0, 1e3 / 10**0.5, 1e3 / 1e3**0.5, 1.0], rtol=1e-12)


def test_effective_number_by_the_plain_formula():
    plain = np.array([(1 - 0.9999) / (1 - 0.9999 ** float(n)) for n in COUNTS])
    weights = class_weights(COUNTS, "effective")
    np.testing.assert_allclose(weights / weights[0], plain / plain[0], rtol=1e-9)
    # 10,000 prototypes: beyond them a class loses no more weight.
    assert weights[-1] / weights[0] == pytest.approx(1e-4, rel=1e-6)


def test_none_is_one_and_a_class_without_photos_weighs_zero():
    np.testing.assert_array_equal(class_weights(np.array([3, 0, 7]), "none"), [1.0, 0.0, 1.0])
    assert class_weights(np.array([3, 0, 7]), "inverse")[1] == 0.0


def test_table_counts_training_photos_only():
    regions = [("NLD", "NL-NH"), ("NLD", "NL-UT"), ("NAM", "NA-KH"), ("BEL", "BE-VLG"), ("", ""), ("NLD", "NL-NH")]
    photos = pd.DataFrame(regions, columns=["country_id", "subdivision_id"]).assign(split="train")
    photos.loc[3, "split"] = "validation"
    table = class_weight_table(photos, "country")
    assert list(table.columns) == ["region_id", "n_photos", *CLASS_WEIGHT_SCHEMES]
    assert list(zip(table["region_id"], table["n_photos"], strict=True)) == [("NAM", 1), ("NLD", 3)]
    np.testing.assert_allclose(table["inverse"], [2.0, 2 / 3])
    assert list(class_weight_table(photos, "hierarchical")["region_id"]) == ["NA-KH", "NL-NH", "NL-UT"]


def test_refusals():
    with pytest.raises(InputError, match="no class has a training photo"):
        class_weights(np.zeros(3), "sqrt")

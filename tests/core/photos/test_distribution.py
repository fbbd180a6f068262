"""Table 1."""

import numpy as np
import pandas as pd
import pytest

from geoloc_core.photos.distribution import class_distribution, distribution_summary
from geoloc_core.photos.warehouse import Warehouse

REGIONS = pd.DataFrame(
    {
        "level": ["country"] * 3 + ["subdivision"] * 2,
        "region_id": ["BEL", "NAM", "NLD", "NL-NH", "NL-ZH"],
        "name": ["Belgium", "Namibia", "Netherlands", "Noord-Holland", "Zuid-Holland"],
    }
)


def training():
    countries, units = ["NLD"] * 6 + ["NAM"] * 3 + ["BEL"], ["NL-NH"] * 4 + ["NL-ZH"] + [""] * 5
    split = ["train"] * 5 + ["validation"] + ["train"] * 2 + ["validation"] * 2
    return pd.DataFrame({"country_id": countries, "subdivision_id": units, "split": split})


def test_counts_and_shares():
    table = class_distribution(training(), REGIONS)
    assert table.values.tolist() == [
        ["country", "NLD", "Netherlands", 6, 5, 1, 0.6],
        ["country", "NAM", "Namibia", 3, 2, 1, 0.3],
        ["country", "BEL", "Belgium", 1, 0, 1, 0.1],
        ["subdivision", "NL-NH", "Noord-Holland", 4, 4, 0, 0.8],
        ["subdivision", "NL-ZH", "Zuid-Holland", 1, 1, 0, 0.2],
    ]


def test_counts_give_the_same_as_rows(tmp_path):
    warehouse = Warehouse(tmp_path / "w.duckdb")
    warehouse.replace_table("training_photos", training())
    counts = warehouse.count_by("training_photos", "country_id", "subdivision_id", "split")
    assert counts["n"].sum() == 10
    assert len(counts) < 10
    assert class_distribution(counts, REGIONS).equals(class_distribution(training(), REGIONS))


def test_summary():
    table = class_distribution(training(), REGIONS)
    summary = distribution_summary(table, "country")
    shares = np.array([0.6, 0.3, 0.1])
    assert summary["n_photos"] == 10
    assert summary["n_classes"] == 3
    assert summary["mean"] == pytest.approx(10 / 3)
    assert summary["median"] == 3.0
    assert (summary["largest"], summary["largest_share"]) == ("NLD", 0.6)
    assert summary["effective_classes"] == pytest.approx(np.prod(shares**-shares))  # 2.45
    assert summary["head"][0] == {"region_id": "NLD", "name": "Netherlands", "n_photos": 6}
    assert summary["tail"][-1] == {"region_id": "BEL", "name": "Belgium", "n_photos": 1}
    even = table.assign(n_photos=5)
    assert distribution_summary(even, "country")["effective_classes"] == pytest.approx(3.0)

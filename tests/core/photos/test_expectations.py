"""The batch expectations of a delivery."""

import re

import numpy as np
import pandas as pd
import pytest

from geoloc_core.photos.expectations import (
    LIMITS,
    Outcome,
    check_delivery,
    delivery_rows,
    drift_limit,
    drift_of,
    page_of,
)


def labeled(n=1000, near=0.1, none=0.02, by_one=0.05, countries=("NLD", "BEL", "NAM"), weights=(0.6, 0.3, 0.1)):
    country = np.repeat(list(countries), np.rint(np.array(weights) * n).astype(int))
    quality = np.full(n, "inside", dtype=object)
    quality[: round(near * n)] = "near"
    quality[n - round(none * n) :] = "none"
    authors = np.array([f"a{number}" for number in range(n)], dtype=object)
    authors[: round(by_one * n)] = "busy"
    country = np.where(quality == "none", "", country)
    return pd.DataFrame({"author_id": authors, "country_id": country, "label_quality": quality})


def rejected(n):
    return pd.DataFrame({"row_number": range(1, n + 1), "reason": "no_coordinates", "raw": ""})


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """One good and one bad delivery; Great Expectations is slow to start."""
    docs = tmp_path_factory.mktemp("docs")
    good = check_delivery(labeled(), rejected(50), previous=labeled(), data_docs=docs / "good")
    bad_photos = labeled(near=0.2, none=0.1, by_one=0.3, countries=("NLD", "BEL", "FRA"), weights=(0.2, 0.2, 0.6))
    bad = check_delivery(bad_photos, rejected(500), previous=labeled())
    return docs, {o.name: o for o in good}, {o.name: o for o in bad}


NAMES = ["rejected_share", "near_share", "none_share", "author_concentration", "country_drift"]


def test_a_good_delivery_passes(outcomes):
    _, good, _ = outcomes
    assert list(good) == NAMES
    assert all(outcome.success for outcome in good.values())
    assert good["rejected_share"].observed == pytest.approx(50 / 1050)
    assert good["near_share"].observed == pytest.approx(0.1)
    assert good["none_share"].observed == pytest.approx(0.02)
    assert good["author_concentration"].observed == pytest.approx(0.05)
    assert good["country_drift"].observed == pytest.approx(0.0, abs=2e-3)


def test_a_bad_one_is_told_in_figures(outcomes):
    _, _, bad = outcomes
    assert not any(outcome.success for outcome in bad.values())
    assert bad["rejected_share"].observed == pytest.approx(1 / 3)
    assert bad["rejected_share"].sentence == "33.3% of the rows were rejected"
    assert bad["none_share"].limit == LIMITS["none"]
    assert bad["author_concentration"].observed == pytest.approx(0.3)
    drift = drift_of(list(bad.values()))
    assert drift is not None
    assert not drift.success
    # 0.2 / 0.2 / 0.6 of NLD / BEL / FRA against 0.6 / 0.3 / 0.1 of NLD / BEL / NAM, where FRA is new: sum of p ln(p / q)
    # = 0.2 ln(0.2 / 0.6) + 0.2 ln(0.2 / 0.3) + 0.6 ln(0.6 / 0.001) = 3.5 nats, less the shares of unlabelled photos.
    assert drift.observed == pytest.approx(3.3, abs=0.3)
    assert drift.limit == pytest.approx(0.1, abs=0.01)
    assert drift_of([]) is None


def test_the_page_tells_the_outcomes_and_the_counts(outcomes):
    docs, good, _ = outcomes
    assert [path.name for path in (docs / "good").iterdir()] == ["index.html"]
    page = (docs / "good" / "index.html").read_text()
    assert "5 of 5 expectations are met" in page
    assert all(outcome.sentence in page for outcome in good.values())
    assert '<td>accepted</td><td class="number">1000</td>' in page
    assert '<td>no_coordinates</td><td class="number">50</td>' in page


def test_nothing_that_came_in_runs_on_the_page():
    hostile = "<script>alert(1)</script>\"'><img src=//evil.test onerror=alert(1)>"
    rows = delivery_rows(labeled(10, countries=(hostile, "BEL", "NAM")), rejected(1).assign(reason=hostile))
    outcome = Outcome(hostile, False, 0.5, 0.1, hostile)
    page = page_of(hostile, rows, [outcome])
    assert page.count("&lt;script&gt;alert(1)") == 6
    assert not re.search(r"<script|<img|<link|https?://", page)
    assert '"></td>' not in page
    assert "0 of 1 expectations are met" in page


def test_the_rows_account_for_everything():
    rows = delivery_rows(labeled(100, none=0.1), rejected(7))
    assert rows["outcome"].value_counts().to_dict() == {"accepted": 100, "no_coordinates": 7}
    assert rows["label_quality"].notna().sum() == 100
    assert rows["country_id"].notna().sum() == 90
    labels = labeled(200, by_one=0.25).assign(author_id=lambda frame: frame["author_id"].replace("a199", ""))
    shares = delivery_rows(labels, rejected(3))["author_share"]
    assert (shares.max(), (shares == 0.25).sum(), shares.isna().sum()) == (0.25, 50, 4)


def test_chance_is_allowed_for():
    previous = labeled(1000)
    assert drift_limit(labeled(1000), previous, 0.1) == pytest.approx(0.1 + 2 / (2 * 980) + 2 / (2 * 980))
    assert drift_limit(labeled(10, none=0), previous, 0.1) == pytest.approx(0.1 + 2 / 20 + 2 / 1960)

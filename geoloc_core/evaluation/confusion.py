"""Which countries are taken for which."""

from __future__ import annotations

import pandas as pd

from geoloc_core.evaluation.predictions import ANSWERED

OTHER, MISSING = "other", "no answer"


def confusion(predictions: pd.DataFrame, most: int = 15) -> pd.DataFrame:
    """Per cent of the photos of each true country (rows) that were put in each country (columns).

    Rows are the `most` countries with most photos, largest first (of equals the first by id). Columns are the same
    countries, then "other" and "no answer", so that each row sums to 100.
    """
    known = predictions[predictions["country_id"] != ""]
    shown = known["country_id"].value_counts().sort_index().sort_values(ascending=False, kind="stable").index[:most]
    part = known[known["country_id"].isin(shown)]
    answer = part["predicted_country_id"].where(part["predicted_country_id"].isin(shown), OTHER)
    answer = answer.where(part["status"] == ANSWERED, MISSING)
    table = pd.crosstab(part["country_id"].to_numpy(dtype=object), answer.to_numpy(dtype=object))
    table = table.reindex(index=shown, columns=[*shown, OTHER, MISSING], fill_value=0)
    table.index.name, table.columns.name = "true country", "answer"
    return 100.0 * table.div(table.sum(axis=1), axis=0)


def most_confused(predictions: pd.DataFrame, most: int = 15) -> pd.DataFrame:
    """The pairs of countries that are mistaken most often.

    Returns:
        country_id, predicted_country_id, photos, share (per cent of the true country's photos); most photos first.
    """
    known = predictions[predictions["country_id"] != ""]
    total = known["country_id"].value_counts()
    wrong = known[(known["status"] == ANSWERED) & (known["country_id"] != known["predicted_country_id"])]
    pairs = wrong.groupby(["country_id", "predicted_country_id"], sort=True).size().reset_index(name="photos")
    pairs["share"] = 100.0 * pairs["photos"] / total.reindex(pairs["country_id"]).to_numpy()
    ordered = pairs.sort_values(
        ["photos", "country_id", "predicted_country_id"], ascending=[False, True, True], kind="stable"
    )
    return ordered.head(most).reset_index(drop=True)

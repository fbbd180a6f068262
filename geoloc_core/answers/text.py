"""Predictions for people: a table on the screen, and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from geoloc_core.answers.predict import Prediction, RegionProbability
from geoloc_core.learning.posterior import Promise

HEADINGS = (
    "photo", "country", "prob.", "sure", "sub-division", "prob.", "latitude", "longitude", "set of countries", "next best",
)  # fmt: skip
# A set of more countries is shown by its size.
MOST_LISTED = 6
CSV_COLUMNS = (
    "file", "status", "detail", "country_id", "country", "probability", "subdivision_id", "subdivision",
    "subdivision_probability", "latitude", "longitude", "sure", "sure_threshold", "sure_max_risk", "country_set",
    "set_coverage", "next_best",
)  # fmt: skip


def as_table(predictions: Sequence[Prediction]) -> str:
    """One line for each photo, in columns; a refused photo has its reason in place of a country."""
    rows = [HEADINGS, *(_row(prediction) for prediction in predictions)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * min(120, sum(widths) + 2 * len(widths)), *lines[1:]])


def in_words(promise: Promise) -> str:
    """What "sure" and the set of countries promise, and on what that rests."""
    photos = f"{promise.n_photos:,} photos ({promise.fitted_on})"
    if promise.sure_threshold is None:
        sure = (
            f"no answer is called sure, as {photos} show no probability from which at most "
            f"{promise.sure_max_risk:.0%} of the answers are wrong"
        )
    else:
        sure = (
            f"the country's probability is at least {promise.sure_threshold:.1%}; of such answers at most "
            f"{promise.sure_max_risk:.0%} are wrong (95 % confidence, {photos})"
        )
    held = f"holds the true country of {promise.set_coverage:.0%} of the photos of new authors"
    if promise.set_threshold <= 0.0:
        held = f"every country, as the authors of {photos} are too few to leave one out"
    return f"Sure: {sure}.\nSet of countries: {held}."


def as_csv(predictions: Sequence[Prediction]) -> str:
    """One line for each photo; lists of countries read "FRA 0.4213; DEU 0.1077"."""
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for prediction in predictions:
        values = {name: getattr(prediction, name) for name in CSV_COLUMNS}
        for name in ("country_set", "next_best"):
            values[name] = "; ".join(f"{region.region_id} {region.probability:.4f}" for region in values[name])
        writer.writerow(values)
    return out.getvalue()


def _row(prediction: Prediction) -> tuple[str, ...]:
    name = Path(prediction.file).name or "-"
    if prediction.status != "ok":
        return (name, f"refused: {prediction.status}", *([""] * (len(HEADINGS) - 2)))
    return (
        name,
        f"{prediction.country} ({prediction.country_id})",
        f"{prediction.probability:.1%}",
        "sure" if prediction.sure else "not sure",
        f"{prediction.subdivision} ({prediction.subdivision_id})" if prediction.subdivision_id else "-",
        f"{prediction.subdivision_probability:.1%}" if prediction.subdivision_id else "",
        f"{prediction.latitude:.4f}",
        f"{prediction.longitude:.4f}",
        _set(prediction.country_set),
        ", ".join(f"{region.region_id} {region.probability:.0%}" for region in prediction.next_best),
    )


def _set(regions: Sequence[RegionProbability]) -> str:
    listed = " ".join(region.region_id for region in regions[:MOST_LISTED])
    return listed if len(regions) <= MOST_LISTED else f"{listed} ... ({len(regions)} in all)"

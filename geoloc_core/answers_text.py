"""Predictions as a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from geoloc_core.predict import Prediction

HEADINGS = ("photo", "country", "prob.", "sub-division", "prob.", "latitude", "longitude", "next best")


def as_table(predictions: Sequence[Prediction]) -> str:
    """One line for each photo, in columns; a refused photo has its reason in place of a country."""
    rows = [HEADINGS, *(_row(prediction) for prediction in predictions)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * min(120, sum(widths) + 2 * len(widths)), *lines[1:]])


def _row(prediction: Prediction) -> tuple[str, ...]:
    name = Path(prediction.file).name or "-"
    if prediction.status != "ok":
        return (name, f"refused: {prediction.status}", "", "", "", "", "", "")
    following = ", ".join(f"{region.region_id} {region.probability:.0%}" for region in prediction.next_best)
    return (
        name,
        f"{prediction.country} ({prediction.country_id})",
        f"{prediction.probability:.1%}",
        f"{prediction.subdivision} ({prediction.subdivision_id})" if prediction.subdivision_id else "-",
        f"{prediction.subdivision_probability:.1%}" if prediction.subdivision_id else "",
        f"{prediction.latitude:.4f}",
        f"{prediction.longitude:.4f}",
        following,
    )

"""Tables 1, 2 and 3 as frames, and as Markdown, CSV and JSON.

A frame holds plain numbers in columns named by metric (units: see `metrics.DEFINITIONS`), with the ends of the interval
in `<metric>_low` and `<metric>_high` and, in `<metric>_verdict`, whether it is "best" or a "tie" with the best.
`displayed` turns it into text for people: "26.4 [24.1, 28.7] tie".
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from geoloc_core.errors import InputError
from geoloc_core.evaluation.evaluate import KINDS, Evaluation
from geoloc_core.evaluation.metrics import DEFINITIONS, RADII_KM

TABLE2_METRICS = ("accuracy", "mean_km", "top5", "top10")
TABLE3_METRICS = tuple(f"within_{radius}" for radius in RADII_KM)
# Columns that belong to the one before them and are shown in its cells.
COMPANIONS = ("_low", "_high", "_verdict")
HEADINGS = {
    "part": "",
    "rank": "Rank",
    "region_id": "Region",
    "name": "Name",
    "n_photos": "Photos",
    "share": "Share (%)",
    "experiment": "Experiment",
    "kind": "Kind",
    "benchmark": "Benchmark",
    "photos": "Photos",
    "missing": "Missing",
    **{name: f"{words} ({unit})" for name, (words, unit, _, _) in DEFINITIONS.items()},
}


def table1(distribution: pd.DataFrame, level: str = "country", head: int = 10, tail: int = 10) -> pd.DataFrame:
    """Photos per region: the head and the tail of the list, then the mean and the median over regions with photos.

    Args:
        distribution: level, region_id, name, n_photos (the `class_distribution`).
        level: "country" or "subdivision".
        head, tail: how many of the largest and of the smallest regions to show; a region is never shown twice.

    Returns:
        a frame with part ("head", "tail", "mean", "median"), rank, region_id, name, n_photos and share (per cent of all
        labelled photos). Regions with equally many photos are ordered by region_id.
    """
    regions = distribution[(distribution["level"] == level) & (distribution["n_photos"] > 0)]
    if regions.empty:
        raise InputError(f"no region of level {level!r} has a photo; label photos first")
    regions = regions.sort_values(["n_photos", "region_id"], ascending=[False, True], kind="stable")
    total = float(regions["n_photos"].sum())
    rows = regions[["region_id", "name", "n_photos"]].copy()
    rows.insert(0, "rank", np.arange(1, len(rows) + 1))
    rows["share"] = 100.0 * rows["n_photos"] / total
    first = rows.iloc[:head].assign(part="head")
    last = rows.iloc[max(head, len(rows) - tail) :].assign(part="tail")
    summary = pd.DataFrame(
        {
            "part": ["mean", "median"],
            "rank": [0, 0],
            "region_id": ["", ""],
            "name": [f"{word} of {len(rows)} regions" for word in ("mean", "median")],
            "n_photos": [float(rows["n_photos"].mean()), float(rows["n_photos"].median())],
            "share": [100.0 / len(rows), float(rows["share"].median())],
        }
    )
    table = pd.concat([first, last, summary], ignore_index=True)
    table["n_photos"] = table["n_photos"].astype(np.float64)
    return table[["part", "rank", "region_id", "name", "n_photos", "share"]]


def table2(evaluations: Iterable[Evaluation]) -> pd.DataFrame:
    """Accuracy, mean distance, top-5 and top-10 of each experiment on the validation photos, with the honest rows."""
    return scores_table(evaluations, TABLE2_METRICS)


def table3(evaluations: Iterable[Evaluation]) -> pd.DataFrame:
    """Per cent of each benchmark's photos within 1, 25, 200, 750 and 2500 km, with the honest rows."""
    return scores_table(evaluations, TABLE3_METRICS)


def scores_table(evaluations: Iterable[Evaluation], metrics: Sequence[str]) -> pd.DataFrame:
    """One row for each evaluation: benchmark, experiment, kind, photos, missing, and the metrics with their intervals.

    Sets of photos keep the order in which they first come; within one, experiments come before baselines, the ceiling
    and published rows, each in the order given.
    """
    given = list(evaluations)
    sets = list(dict.fromkeys(item.photos for item in given))
    ordered = sorted(given, key=lambda item: (sets.index(item.photos), KINDS.index(item.kind)))
    rows = []
    for item in ordered:
        row: dict[str, object] = {
            "benchmark": item.photos,
            "experiment": item.name,
            "kind": item.kind,
            "photos": item.scores.get("n", float("nan")),
            "missing": item.scores.get("n_missing", float("nan")),
        }
        for metric in metrics:
            span = item.intervals.get(metric)
            row[metric] = item.scores.get(metric, float("nan"))
            row[f"{metric}_low"] = span.low if span else float("nan")
            row[f"{metric}_high"] = span.high if span else float("nan")
            row[f"{metric}_verdict"] = item.verdicts.get(metric, "")
        rows.append(row)
    ends = [f"{metric}{end}" for metric in metrics for end in ("", *COMPANIONS)]
    return pd.DataFrame(rows, columns=["benchmark", "experiment", "kind", "photos", "missing", *ends])


def displayed(table: pd.DataFrame) -> pd.DataFrame:
    """The table as text: headings in words, numbers rounded, figures with intervals; what does not exist is ""."""
    shown: dict[str, list[str]] = {}
    for name in table.columns:
        if not shown_by_itself(table, name):
            continue
        heading = HEADINGS.get(name, name)
        values = table[name]
        if f"{name}_low" in table:
            words = table[f"{name}_verdict"] if f"{name}_verdict" in table else [""] * len(table)
            ends = zip(values, table[f"{name}_low"], table[f"{name}_high"], words, strict=True)
            shown[heading] = [_with_interval(name, *end) for end in ends]
        elif name == "rank":
            shown[heading] = ["" if value == 0 else str(value) for value in values]
        else:
            shown[heading] = [_text(name, value) for value in values]
    return pd.DataFrame(shown)


def to_markdown(table: pd.DataFrame) -> str:
    """A Markdown table, numbers to the right; `|` in a cell is escaped."""
    shown = displayed(table)
    numeric = [
        bool(pd.api.types.is_numeric_dtype(table[name])) for name in table.columns if shown_by_itself(table, name)
    ]
    lines = [
        "| " + " | ".join(_cell(heading) for heading in shown.columns) + " |",
        "|" + "|".join("---:" if right else "---" for right in numeric) + "|",
    ]
    lines += ["| " + " | ".join(_cell(text) for text in row) + " |" for row in shown.itertuples(index=False)]
    return "\n".join(lines) + "\n"


def to_csv(table: pd.DataFrame) -> str:
    """All numbers as CSV, not rounded; what does not exist is empty."""
    return table.to_csv(index=False, lineterminator="\n")


def to_json(table: pd.DataFrame) -> str:
    """All numbers as a JSON list of rows, not rounded; what does not exist is null."""
    rows = [
        {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}
        for row in table.to_dict(orient="records")
    ]
    return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"


def shown_by_itself(table: pd.DataFrame, name: str) -> bool:
    """Whether a column of a table has a column of its own when it is displayed."""
    return not (name.endswith(COMPANIONS) and name.rsplit("_", 1)[0] in table.columns)


def _with_interval(metric: str, value: float, low: float, high: float, verdict: str) -> str:
    if math.isnan(value):
        return ""
    span = "" if math.isnan(low) or math.isnan(high) else f" [{_text(metric, low)}, {_text(metric, high)}]"
    return f"{_text(metric, value)}{span}{f' {verdict}' if verdict else ''}"


def _text(name: str, value: object) -> str:
    """A number in the digits that its unit deserves: tenths of a per cent, whole kilometres and points."""
    if isinstance(value, (bool, str)) or not isinstance(value, (int, float, np.integer, np.floating)):
        return str(value)
    number = float(value)
    if math.isnan(number):
        return ""
    unit = DEFINITIONS[name][1] if name in DEFINITIONS else ""
    if unit == "%":
        return f"{number:.1f}"
    if name == "share":
        return f"{number:.2f}"
    return f"{number:,.0f}" if unit or number.is_integer() else f"{number:,.1f}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")

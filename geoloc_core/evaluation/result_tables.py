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
from geoloc_core.evaluation.intervals import Interval
from geoloc_core.evaluation.metrics import CELL_METRICS, DEFINITIONS, WITHIN
from geoloc_core.geography.cells import ROOT

# Table 2 is of the validation photos, Table 3 of the benchmarks.
TABLE2_METRICS = ("accuracy", "mean_km", "top5", "top10", *CELL_METRICS)
TABLE3_METRICS = (*WITHIN, "accuracy", *CELL_METRICS)
# Columns that belong to the one before them and are shown in its cells.
COMPANIONS = ("_low", "_high", "_verdict")
HEADINGS = {
    **{name: name.capitalize() for name in ("rank", "name", "experiment", "kind", "benchmark", "photos", "missing")},
    "part": "",
    "region_id": "Region",
    "n_photos": "Photos",
    "share": "Share (%)",
    **{name: metric.heading for name, metric in DEFINITIONS.items()},
}


def table1(distribution: pd.DataFrame, level: str = ROOT, head: int = 10, tail: int = 10) -> pd.DataFrame:
    """Photos per region: the largest, the smallest, then the mean and the median over regions with photos.

    distribution: the `class_distribution`; head, tail: how many of the largest and smallest to list, no region twice. Returns
    part ("head", "tail", "mean", "median"), rank, region_id, name, n_photos and share (%); of equals the first by id is first.
    """
    regions = distribution[(distribution["level"] == level) & (distribution["n_photos"] > 0)]
    if regions.empty:
        raise InputError(f"no region of level {level!r} has a photo; label photos first")
    regions = regions.sort_values(["n_photos", "region_id"], ascending=[False, True], kind="stable")
    rows = regions[["region_id", "name", "n_photos"]].astype({"n_photos": np.float64})
    rows.insert(0, "rank", np.arange(1, len(rows) + 1))
    rows["share"] = 100.0 * rows["n_photos"] / float(rows["n_photos"].sum())
    parts = [rows.iloc[:head].assign(part="head"), rows.iloc[max(head, len(rows) - tail) :].assign(part="tail")]
    for word, share in (("mean", 100.0 / len(rows)), ("median", float(rows["share"].median()))):
        summary = {"part": word, "rank": 0, "region_id": "", "name": f"{word} of {len(rows)} regions", "share": share}
        parts.append(pd.DataFrame([{**summary, "n_photos": float(rows["n_photos"].agg(word))}]))
    return pd.concat(parts, ignore_index=True)[["part", "rank", "region_id", "name", "n_photos", "share"]]


def scores_table(evaluations: Iterable[Evaluation], metrics: Sequence[str]) -> pd.DataFrame:
    """One row for each evaluation: benchmark, experiment, kind, photos, missing, and the metrics with their intervals.

    Sets of photos keep the order in which they first come; within one, rows are in the order of `KINDS`, then as given.
    """
    items = list(evaluations)
    sets = list(dict.fromkeys(item.photos for item in items))
    rows = []
    for item in sorted(items, key=lambda item: (sets.index(item.photos), KINDS.index(item.kind))):
        counts = [item.scores.get(name, math.nan) for name in ("n", "n_missing")]
        row = [item.photos, item.name, item.kind, *counts]
        for metric in metrics:
            span = item.intervals.get(metric, Interval(math.nan, math.nan, math.nan))
            row += [item.scores.get(metric, math.nan), span.low, span.high, item.verdicts.get(metric, "")]
        rows.append(row)
    columns = [f"{metric}{end}" for metric in metrics for end in ("", *COMPANIONS)]
    return pd.DataFrame(rows, columns=["benchmark", "experiment", "kind", "photos", "missing", *columns])


def displayed(table: pd.DataFrame) -> pd.DataFrame:
    """The table as text: headings in words, numbers rounded, figures with intervals; what does not exist is ""."""
    shown: dict[str, list[str]] = {}
    for name in table.columns:
        if _is_companion(table, name):
            continue
        texts = ["" if name == "rank" and value == 0 else _text(name, value) for value in table[name]]
        if f"{name}_low" in table:
            ends = zip(texts, *(table[f"{name}{end}"] for end in COMPANIONS), strict=True)
            texts = [_with_interval(name, *parts) for parts in ends]
        shown[HEADINGS.get(name, name)] = texts
    return pd.DataFrame(shown)


def to_markdown(table: pd.DataFrame) -> str:
    """A Markdown table, numbers to the right; `|` in a cell is escaped."""
    shown = displayed(table)
    visible = [name for name in table.columns if not _is_companion(table, name)]
    rules = ["---:" if pd.api.types.is_numeric_dtype(table[name]) else "---" for name in visible]

    def line(texts: Iterable[str]) -> str:
        return "| " + " | ".join(text.replace("|", "\\|").replace("\n", " ") for text in texts) + " |"

    lines = [line(shown.columns), f"|{'|'.join(rules)}|", *map(line, shown.itertuples(index=False))]
    return "\n".join(lines) + "\n"


def to_json(table: pd.DataFrame) -> str:
    """All numbers as a JSON list of rows, not rounded; what does not exist is null."""
    rows = table.astype(object).replace({np.nan: None}).to_dict(orient="records")
    return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"


def _is_companion(table: pd.DataFrame, name: str) -> bool:
    """Whether a column is shown in the cells of another one."""
    return name.endswith(COMPANIONS) and name.rsplit("_", 1)[0] in table.columns


def _with_interval(metric: str, text: str, low: float, high: float, verdict: str) -> str:
    span = "" if math.isnan(low) or math.isnan(high) else f" [{_text(metric, low)}, {_text(metric, high)}]"
    return f"{text}{span}{f' {verdict}' if verdict else ''}" if text else ""


def _text(name: str, value: object) -> str:
    """A number in the digits that its unit deserves: tenths of a per cent, whole kilometres and points."""
    if isinstance(value, (bool, str)) or not isinstance(value, (int, float, np.integer, np.floating)):
        return str(value)
    number = float(value)
    if math.isnan(number):
        return ""
    unit = DEFINITIONS[name].unit if name in DEFINITIONS else ""
    if unit == "%":
        return f"{number:.1f}"
    if name == "share":
        return f"{number:.2f}"
    return f"{number:,.0f}" if unit or number.is_integer() else f"{number:,.1f}"

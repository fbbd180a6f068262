"""Who is better, and who only seems to be: paired differences, with ties printed as ties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from geoloc_core.errors import InputError
from geoloc_core.evaluation.intervals import CONFIDENCE, Bootstrap, difference
from geoloc_core.evaluation.metrics import DEFINITIONS

BEST, TIE, BEHIND = "best", "tie", ""
BETTER, WORSE = "better", "worse"


def verdicts(boots: Mapping[str, Bootstrap], metrics: Sequence[str], confidence: float = CONFIDENCE) -> pd.DataFrame:
    """For each row of a table and each metric: "best", "tie" with the best, or "" (behind it).

    Args:
        boots: bootstraps of experiments and baselines over the same photos, by name. Baselines belong here: where the
            class prior is best, or a tie with the best, the table is to say so.
        metrics: keys of `metrics.DEFINITIONS`.

    Returns:
        a frame indexed by name with a column for each metric. Where several rows are equally good, all of them tie.
    """
    if not boots:
        raise InputError("there is nothing to compare; give at least one bootstrap")
    table = pd.DataFrame(BEHIND, index=list(boots), columns=list(metrics), dtype=object)
    for metric in metrics:
        more_is_better = DEFINITIONS[metric][3]
        values = {name: boot.estimate[metric] for name, boot in boots.items()}
        best = (max if more_is_better else min)(values, key=lambda name: values[name])
        shared = sum(value == values[best] for value in values.values()) > 1
        for name, boot in boots.items():
            if name == best and not shared:
                table.loc[name, metric] = BEST
            elif difference(boot, boots[best], metric, confidence).tie:
                table.loc[name, metric] = TIE
    return table


def differences(
    boots: Mapping[str, Bootstrap], reference: str, metrics: Sequence[str], confidence: float = CONFIDENCE
) -> pd.DataFrame:
    """Each row against one of them: the paired difference with its interval, in words too.

    Returns:
        experiment, reference, metric, difference, low, high, verdict ("better", "worse" or "tie"): better means more
        where more is better, and less where a distance is measured.
    """
    if reference not in boots:
        raise InputError(f"there is no row {reference!r} to compare with; there are {', '.join(boots)}")
    rows = []
    for name, boot in boots.items():
        if name == reference:
            continue
        for metric in metrics:
            gap = difference(boot, boots[reference], metric, confidence)
            ahead = (gap.value > 0) == DEFINITIONS[metric][3]
            verdict = TIE if gap.tie else BETTER if ahead else WORSE
            rows.append((name, reference, metric, gap.value, gap.low, gap.high, verdict))
    return pd.DataFrame(rows, columns=["experiment", "reference", "metric", "difference", "low", "high", "verdict"])

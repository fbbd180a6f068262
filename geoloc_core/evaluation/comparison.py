"""Which is better, and which only seems to be: paired differences, with ties printed as ties."""

from collections.abc import Mapping, Sequence

import pandas as pd

from geoloc_core.errors import InputError
from geoloc_core.evaluation.intervals import Bootstrap, bootstrap, difference
from geoloc_core.evaluation.metrics import DEFINITIONS

BEST, TIE, BEHIND = "best", "tie", ""
BETTER, WORSE = "better", "worse"
VERDICTS = {BETTER: "Better than", TIE: "A tie with", WORSE: "Worse than"}


def verdicts(boots: Mapping[str, Bootstrap]) -> dict[str, dict[str, str]]:
    """For each row of a table and each metric: "best", "tie" with the best, or "" (behind it).

    `boots` are bootstraps over the same photos, by name, baselines among them. Where several rows are equally good, all tie.
    """
    words = {name: dict.fromkeys(DEFINITIONS, BEHIND) for name in boots}
    for metric in DEFINITIONS:
        values = {name: boot.estimate[metric] for name, boot in boots.items() if metric in boot.estimate}
        if not values:
            continue  # nobody answers with sub-divisions
        best = (max if DEFINITIONS[metric].more_is_better else min)(values, key=lambda name: values[name])
        shared = sum(value == values[best] for value in values.values()) > 1
        for name in values:
            if name == best and not shared:
                words[name][metric] = BEST
            elif difference(boots[name], boots[best], metric).tie:
                words[name][metric] = TIE
    return words


def differences(boots: Mapping[str, Bootstrap], reference: str, metrics: Sequence[str]) -> pd.DataFrame:
    """Each row against one of them: experiment, reference, metric, and the paired difference with its interval and verdict.

    "better" means more where more is better, and less where a distance is measured; else "worse" or "tie".
    """
    if reference not in boots:
        raise InputError(f"there is no row {reference!r} to compare with; there are {', '.join(boots)}")
    rows = []
    for name, boot in boots.items():
        for metric in metrics if name != reference else ():
            gap = difference(boot, boots[reference], metric)
            ahead = (gap.value > 0) == DEFINITIONS[metric].more_is_better
            verdict = TIE if gap.tie else BETTER if ahead else WORSE
            rows.append((name, reference, metric, gap.value, gap.low, gap.high, verdict))
    return pd.DataFrame(rows, columns=["experiment", "reference", "metric", "difference", "low", "high", "verdict"])


def comparison_table(
    predictions: Mapping[str, pd.DataFrame], reference: str, metrics: tuple[str, ...] = ("accuracy", "mean_km")
) -> tuple[pd.DataFrame, list[str]]:
    """Each of `predictions` (by name) against one of them, as text; and who is better, tied, worse by the first metric."""
    gaps = differences({name: bootstrap(frame) for name, frame in predictions.items()}, reference, metrics)
    shown = pd.DataFrame({"Experiment": gaps["experiment"].drop_duplicates(), "Compared with": reference})
    for metric in metrics:
        digits = 1 if DEFINITIONS[metric].unit == "%" else 0
        rows = gaps.loc[gaps["metric"] == metric, ["difference", "low", "high", "verdict"]].itertuples(index=False)
        shown[DEFINITIONS[metric].heading] = [
            f"{value:+,.{digits}f} [{low:+,.{digits}f}, {high:+,.{digits}f}] {verdict}"
            for value, low, high, verdict in rows
        ]
    first = gaps[gaps["metric"] == metrics[0]]
    names = {verdict: first.loc[first["verdict"] == verdict, "experiment"].tolist() for verdict in VERDICTS}
    sentences = [
        f"{words} {reference}, by the 95 % interval of the accuracy: {', '.join(names[verdict])}."
        for verdict, words in VERDICTS.items()
        if names[verdict]
    ]
    return shown.reset_index(drop=True), sentences

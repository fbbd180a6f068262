"""Whether a challenger takes the place of the champion: a rule that is stated before it is applied."""

from dataclasses import dataclass

import pandas as pd

from geoloc_core.evaluation.intervals import RESAMPLES, Interval, bootstrap, difference
from geoloc_core.evaluation.metrics import DEFINITIONS

METRIC = "accuracy"
# Points of the metric that a continent may lose, and how many authors it takes for that to be judged.
CONTINENT_MARGIN = 5.0
MINIMUM_AUTHORS = 10
COLUMNS = ["continent", "n", "n_authors", "gain", "gain_low", "gain_high", "judged"]


@dataclass(frozen=True)
class Decision:
    """Whether the challenger becomes champion, and why: a sentence for the outcome and for each criterion.

    gain: challenger minus champion in METRIC; continents: `COLUMNS`, where `judged` is "kept", "lost", "too few authors" or
    "not asked".
    """

    moves: bool
    reasons: tuple[str, ...]
    gain: Interval
    continents: pd.DataFrame


def challenge(
    challenger: pd.DataFrame,
    champion: pd.DataFrame,
    margin: float | None = CONTINENT_MARGIN,
    resamples: int = RESAMPLES,
) -> Decision:
    """The rule: better beyond the interval of the paired difference, and on no continent worse by more than a margin.

    challenger, champion: predictions of the two on the same validation photos (else an InputError). margin: points of METRIC
    that a continent may lose; None judges no continent, as against the class prior, which is unbeatable on the continent of
    the one country that it names. One of fewer than MINIMUM_AUTHORS authors is reported and not judged.
    """
    gain, _ = _gain(challenger, champion, resamples)
    rows = []
    for name in sorted(set(challenger["continent"]) - {""}):
        ours, theirs = (frame[frame["continent"] == name] for frame in (challenger, champion))
        gap, n_authors = _gain(ours, theirs, resamples)
        if margin is None:
            judged = "not asked"
        elif n_authors < MINIMUM_AUTHORS:
            judged = "too few authors"
        else:
            judged = "lost" if gap.value < -margin else "kept"
        rows.append((name, len(ours), n_authors, gap.value, gap.low, gap.high, judged))
    continents = pd.DataFrame(rows, columns=COLUMNS)
    better = gain.low > 0.0
    moves = better and not (continents["judged"] == "lost").any()
    title, unit, *_ = DEFINITIONS[METRIC]
    outcome = "better beyond its interval" if better else "a tie" if gain.tie else "worse"
    reasons = [
        "The challenger becomes champion." if moves else "The champion stays.",
        f"{title} is {outcome}: {gain.value:+.1f} {unit} [{gain.low:+.1f}, {gain.high:+.1f}].",
    ]
    if margin is not None:
        reasons += _sentences(continents, margin, unit)
    return Decision(moves, tuple(reasons), gain, continents)


def _gain(challenger: pd.DataFrame, champion: pd.DataFrame, resamples: int) -> tuple[Interval, int]:
    """The paired difference, and the number of authors."""
    ours, theirs = (bootstrap(frame, resamples) for frame in (challenger, champion))
    return difference(ours, theirs, METRIC), ours.n_authors


def _sentences(continents: pd.DataFrame, margin: float, unit: str) -> list[str]:
    """What is said of the continents, a sentence each."""
    lost = continents[continents["judged"] == "lost"]
    sentences = [
        f"{name} would lose {-gain:.1f} {unit}, more than the margin of {margin:g}."
        for name, gain in zip(lost["continent"], lost["gain"], strict=True)
    ] or [f"No continent that is judged loses more than the margin of {margin:g} {unit}."]
    return sentences + [
        f"{name} is not judged: its photos come from fewer than {MINIMUM_AUTHORS} authors."
        for name in continents.loc[continents["judged"] == "too few authors", "continent"]
    ]

"""Whether a challenger takes the place of the champion: a rule that is stated before it is applied."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from geoloc_core.evaluation.intervals import CONFIDENCE, RESAMPLES, Interval, bootstrap, difference
from geoloc_core.evaluation.metrics import DEFINITIONS

METRIC = "accuracy"
# Points of the metric that a continent may lose, and how many authors it takes for that to be judged.
CONTINENT_MARGIN = 5.0
MINIMUM_AUTHORS = 10


@dataclass(frozen=True)
class Decision:
    """What was decided and why.

    Attributes:
        moves: whether the challenger becomes champion.
        reasons: one sentence for each thing that was looked at; the first names the outcome.
        gain: challenger minus champion in `metric`, signed so that more is better; None without a champion.
        continents: continent, n, n_authors, gain, gain_low, gain_high, judged ("kept", "lost", "too few authors",
            "not asked").
    """

    moves: bool
    reasons: tuple[str, ...]
    gain: Interval | None
    continents: pd.DataFrame


def challenge(
    challenger: pd.DataFrame,
    champion: pd.DataFrame | None,
    *,
    metric: str = METRIC,
    continent_margin: float | None = CONTINENT_MARGIN,
    minimum_authors: int = MINIMUM_AUTHORS,
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Decision:
    """The rule: better beyond the interval of the paired difference, and on no continent worse by more than a margin.

    Args:
        challenger, champion: predictions of the two on the same validation photos, so of the same authors (else an
            InputError); None for the champion when there is none yet.
        metric: a key of `metrics.DEFINITIONS`.
        continent_margin: how much worse a continent may become, in the metric's own unit; None judges no continent, as
            against the class prior, which names one country always and is unbeatable on that one's continent.
        minimum_authors: a continent whose photos come from fewer authors is reported and not judged.
    """
    if champion is None:
        return Decision(True, ("The challenger becomes champion: there was none before.",), None, _no_continents())
    words, unit, _, more_is_better = DEFINITIONS[metric]
    sign = 1.0 if more_is_better else -1.0
    first, second = bootstrap(challenger, resamples, seed), bootstrap(champion, resamples, seed)
    gain = _signed(difference(first, second, metric, confidence), sign)
    span = f"{gain.value:+.1f} {unit} [{gain.low:+.1f}, {gain.high:+.1f}]"
    better = gain.low > 0.0
    if better:
        overall = f"{words} is better beyond its interval: {span}."
    else:
        overall = f"{words} is {'a tie' if gain.tie else 'worse'}: {span}."
    continents = _by_continent(challenger, champion, metric, sign, continent_margin, minimum_authors, resamples, seed)
    lost = [(name, -gain) for name, gain, judged in _judgements(continents) if judged == "lost"]
    details = [] if continent_margin is None else _told(continents, lost, continent_margin, unit, minimum_authors)
    moves = better and not lost
    outcome = "The challenger becomes champion." if moves else "The champion stays."
    return Decision(moves, (outcome, overall, *details), gain, continents)


def _told(
    continents: pd.DataFrame, lost: list[tuple[str, float]], margin: float, unit: str, minimum_authors: int
) -> list[str]:
    """What is said of the continents, a sentence each."""
    told = [f"{name} would lose {loss:.1f} {unit}, more than the margin of {margin:g}." for name, loss in lost]
    told = told or [f"No continent that is judged loses more than the margin of {margin:g} {unit}."]
    return told + [
        f"{name} is not judged: its photos come from fewer than {minimum_authors} authors."
        for name, _, judged in _judgements(continents)
        if judged == "too few authors"
    ]


def _by_continent(
    challenger: pd.DataFrame,
    champion: pd.DataFrame,
    metric: str,
    sign: float,
    margin: float | None,
    minimum_authors: int,
    resamples: int,
    seed: int,
) -> pd.DataFrame:
    rows = []
    for name in sorted(set(challenger["continent"]) - {""}):
        ours = bootstrap(challenger[challenger["continent"] == name], resamples, seed)
        theirs = bootstrap(champion[champion["continent"] == name], resamples, seed)
        gap = _signed(difference(ours, theirs, metric), sign)
        few = ours.n_authors < minimum_authors
        lost = margin is not None and gap.value < -margin
        judged = "not asked" if margin is None else "too few authors" if few else "lost" if lost else "kept"
        rows.append((name, len(ours.photo_ids), ours.n_authors, gap.value, gap.low, gap.high, judged))
    return pd.DataFrame(rows, columns=_no_continents().columns)


def _judgements(continents: pd.DataFrame) -> list[tuple[str, float, str]]:
    return list(zip(continents["continent"], continents["gain"], continents["judged"], strict=True))


def _no_continents() -> pd.DataFrame:
    return pd.DataFrame(columns=["continent", "n", "n_authors", "gain", "gain_low", "gain_high", "judged"])


def _signed(span: Interval, sign: float) -> Interval:
    """The same interval with more being better."""
    return span if sign > 0 else Interval(-span.value, -span.high, -span.low)

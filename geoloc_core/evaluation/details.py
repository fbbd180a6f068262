"""What stands behind the tables: how sure, for whom, which for which, how far, and the worst mistakes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from geoloc_core.evaluation.baselines import CLASS_PRIOR
from geoloc_core.evaluation.calibration import calibration
from geoloc_core.evaluation.comparison import BETTER, TIE, WORSE, differences
from geoloc_core.evaluation.confusion import confusion, most_confused
from geoloc_core.evaluation.fairness import (
    MINIMUM_PHOTOS,
    rank_correlation,
    recall_by_continent,
    recall_by_country,
    worst_decile,
)
from geoloc_core.evaluation.intervals import RESAMPLES, bootstrap
from geoloc_core.evaluation.metrics import DEFINITIONS
from geoloc_core.evaluation.mistakes import mistakes_gallery, worst_mistakes
from geoloc_core.evaluation.page import Picture, Section, Table, Text
from geoloc_core.evaluation.plots import (
    confusion_plot,
    distance_curves_plot,
    fairness_plot,
    reliability_plot,
    risk_coverage_plot,
)
from geoloc_core.evaluation.selective import area_under_risk, coverage_curve, threshold_for

if TYPE_CHECKING:
    from geoloc_core.evaluation.certainty import Certainty
    from geoloc_core.geography.boundaries import BoundarySet
    from geoloc_core.photos.images import ImageLimits

TARGETS = (80.0, 90.0, 95.0)
COUNTRIES_LISTED = 40


def comparison_table(
    predictions: Mapping[str, pd.DataFrame],
    reference: str,
    metrics: tuple[str, ...] = ("accuracy", "mean_km"),
    resamples: int = RESAMPLES,
) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """Each of `predictions` (by name, over the same photos) against one of them, with ties printed as ties.

    Also the names by verdict ("better", "tie", "worse") on the first metric.
    """
    boots = {name: bootstrap(frame, resamples) for name, frame in predictions.items()}
    gaps = differences(boots, reference, metrics)
    shown = pd.DataFrame({"Experiment": gaps["experiment"].drop_duplicates(), "Compared with": reference})
    for metric in metrics:
        rows = gaps[gaps["metric"] == metric]
        words, unit = DEFINITIONS[metric][:2]
        digits = 1 if unit == "%" else 0
        ends = zip(rows["difference"], rows["low"], rows["high"], rows["verdict"], strict=True)
        shown[f"{words} ({unit})"] = [
            f"{value:+,.{digits}f} [{low:+,.{digits}f}, {high:+,.{digits}f}] {verdict}"
            for value, low, high, verdict in ends
        ]
    first = gaps[gaps["metric"] == metrics[0]]
    said = {word: first.loc[first["verdict"] == word, "experiment"].tolist() for word in (BETTER, TIE, WORSE)}
    return shown.reset_index(drop=True), said


def verdict_sentences(said: Mapping[str, list[str]], reference: str) -> tuple[str, ...]:
    """Who is better, a tie, or worse than `reference`, one sentence for each that there is."""
    words = {BETTER: "Better than", TIE: "A tie with", WORSE: "Worse than"}
    return tuple(
        f"{how} {reference}, by the 95 % interval of the accuracy: {', '.join(said[word])}."
        for word, how in words.items()
        if said.get(word)
    )


def comparison_section(
    predictions: Mapping[str, pd.DataFrame], reference: str = CLASS_PRIOR, resamples: int = RESAMPLES
) -> Section:
    """Each of `predictions` against one of them, as a table and in words."""
    shown, said = comparison_table(predictions, reference, resamples=resamples)
    note = (
        "Differences over the same photos and the same resamples of authors. One whose 95 % interval holds zero is a tie. "
        "With twenty comparisons, one is expected to pass by chance."
    )
    table = Table("Differences on the validation photos", shown.drop(columns="Compared with"), note)
    return Section(f"Compared with {reference}", (Text(verdict_sentences(said, reference)), table))


def certainty_section(
    best: str, predictions: Mapping[str, pd.DataFrame], kept: Mapping[str, Mapping[str, Certainty]] | None = None
) -> Section:
    """Calibration of each experiment, the reliability diagram of the best, what saying "not sure" would gain, and what the
    heads promise of themselves and keep (`kept`: by set of photos, then by experiment).
    """
    found = {name: calibration(frame) for name, frame in predictions.items()}
    curves = {name: coverage_curve(frame) for name, frame in predictions.items()}
    table = pd.DataFrame(
        {
            "Experiment": list(found),
            "Mean probability (%)": [100 * item.confidence for item in found.values()],
            "Right (%)": [100 * item.accuracy for item in found.values()],
            "ECE": [f"{item.ece:.3f}" for item in found.values()],
            "Brier": [f"{item.brier:.3f}" for item in found.values()],
            "Log loss": [f"{item.log_loss:.2f}" for item in found.values()],
            "Area under risk (%)": [area_under_risk(frame) for frame in predictions.values()],
        }
    )
    thresholds = [threshold_for(predictions[best], target) for target in TARGETS]
    unsure = pd.DataFrame(
        {
            "Wanted right (%)": [f"{target:.0f}" for target in TARGETS],
            "Answer from a probability of (%)": [_percent(100 * item.threshold) for item in thresholds],
            "Photos answered (%)": [f"{item.coverage:.1f}" for item in thresholds],
            "Of these right (%)": [_percent(item.accuracy) for item in thresholds],
        }
    )
    return Section(
        "How sure, and rightly so?",
        (
            Text(
                (
                    "A model is calibrated when of all answers given with a probability of 70 %, 70 % are right. ECE is the "
                    "mean gap between the two over 15 bins of probability (0 is best), Brier the mean squared error of all "
                    "probabilities (0 is best, 2 worst), log loss the mean -ln of the probability of the true country.",
                )
            ),
            Table("Calibration on the validation photos", table),
            Picture(
                f"Reliability of {best}: above the dashed line it is too modest, below it too sure.",
                reliability_plot(found[best], f"Reliability, {best}"),
                f"Reliability diagram of {best}",
            ),
            Picture(
                'Accuracy over the photos that are answered when the least certain are answered with "not sure".',
                risk_coverage_plot(curves, "Accuracy against coverage"),
                "Accuracy over the share of photos answered, one line for each experiment",
            ),
            Table(
                f'Saying "not sure", {best}',
                unsure,
                'The least threshold that keeps the promise with 95 % confidence; "cannot be reached" where none does.',
            ),
            *(_promises(called, by_name) for called, by_name in (kept or {}).items() if by_name),
        ),
    )


def _promises(called: str, kept: Mapping[str, Certainty]) -> Table:
    """What each head promised, from the photos held out from its training, and what came of it on others."""
    items = list(kept.values())
    shown = pd.DataFrame(
        {
            "Experiment": list(kept),
            "Fitted on": [f"{item.fitted_on} ({item.fitted_photos:,} photos)" for item in items],
            "Temperature": [f"{item.temperature:.2f}" for item in items],
            "ECE before": [f"{item.ece_before:.3f}" for item in items],
            "ECE after": [f"{item.ece:.3f}" for item in items],
            "Set of countries holds the truth (%)": [
                f"{100 * item.set_kept.value:.1f} [{100 * item.set_kept.low:.1f}, {100 * item.set_kept.high:.1f}], "
                f"promised {100 * item.set_promised:.0f}"
                for item in items
            ],
            "Countries in it (mean)": [f"{item.set_size:.1f}" for item in items],
            "Sure from (%)": [
                "never" if item.sure_threshold is None else f"{100 * item.sure_threshold:.1f}" for item in items
            ],
            "Photos sure (%)": [f"{100 * item.sure_share:.1f}" for item in items],
            "Of these wrong (%)": [
                ("none is sure" if item.sure_wrong is None else f"{100 * item.sure_wrong:.1f}")
                + f", promised at most {100 * item.sure_promised:.0f}"
                for item in items
            ],
        }
    )
    note = (
        "The promises that go with every answer. They are made for photos of new authors like those learned from: another "
        "collection may keep them or not. Where they were fitted on the validation photos, validation does not test them. "
        "A truth in a country that no training photo shows is in no set."
    )
    return Table(f"Promised and kept on {called}", shown, note)


def fairness_section(
    best: str, validation: pd.DataFrame, training: pd.DataFrame, boundaries: BoundarySet, resamples: int = RESAMPLES
) -> Section:
    """Recall of the best experiment by continent and country, against training counts.

    `training` has country_id and split; only its training part is counted.
    """
    names = _names(boundaries)
    continent_of = dict(zip(boundaries.countries["region_id"], boundaries.countries["continent"], strict=True))
    learned = training.loc[(training["split"] == "train") & (training["country_id"] != ""), "country_id"]
    by_country = {str(name): int(count) for name, count in learned.value_counts().items()}
    by_continent = {str(name): int(count) for name, count in learned.map(continent_of).value_counts().items()}
    countries = recall_by_country(validation, by_country)
    continents = recall_by_continent(validation, by_continent, resamples)
    span, chosen = worst_decile(validation, resamples=resamples)
    worst = (
        f"Worst decile: the tenth of the countries with at least {MINIMUM_PHOTOS} photos that are recognised worst "
        f"({', '.join(names.get(name, name) for name in chosen)}) has a mean recall of {span.value:.1f} % "
        f"[{span.low:.1f}, {span.high:.1f}]."
        if chosen
        else f"Worst decile: no country has {MINIMUM_PHOTOS} validation photos, so none is given."
    )
    rho = rank_correlation(countries)
    words = (
        f"Rank correlation between training photos and recall over countries: {rho:.2f} (Spearman)."
        if np.isfinite(rho)
        else "There are too few countries for a correlation between training photos and recall."
    )
    return Section(
        "For whom does it work?",
        (
            Text((f"Recall: the share of a country's photos that {best} puts in that country.", worst, words)),
            Table("Recall by continent", _recall_table(continents, "continent", "Continent", {})),
            Picture(
                "Recall of each country against its training photos. Intervals take all photos of an author as one; countries "
                f"with fewer than {MINIMUM_PHOTOS} photos are pale and have none.",
                fairness_plot(countries, names, f"Recall and training photos, {best}"),
                "Recall of each country against its number of training photos",
            ),
            Table(
                f"Recall by country (the {min(COUNTRIES_LISTED, len(countries))} with most validation photos)",
                _recall_table(countries.head(COUNTRIES_LISTED), "country_id", "Country", names),
                "Intervals: Wilson's, with the effective number of authors; by continent: bootstrap over authors.",
            ),
        ),
    )


def confusion_section(best: str, validation: pd.DataFrame, boundaries: BoundarySet) -> Section:
    """Which countries the best experiment takes for which."""
    names = _names(boundaries)
    pairs = most_confused(validation)
    shown = pd.DataFrame(
        {
            "True country": [names.get(name, name) for name in pairs["country_id"]],
            "Answer": [names.get(name, name) for name in pairs["predicted_country_id"]],
            "Photos": pairs["photos"],
            "Of the true country's (%)": [f"{share:.1f}" for share in pairs["share"]],
        }
    )
    return Section(
        "Which country for which?",
        (
            Picture(
                "Rows: true countries, those with most validation photos. Figures: per cent of the row, from 0.5.",
                confusion_plot(confusion(validation), names, f"Confusion between countries, {best}"),
                "Matrix of true countries and answers",
            ),
            Table("Mistaken most often", shown),
        ),
    )


def distance_section(benchmarks: Mapping[str, Mapping[str, pd.DataFrame]]) -> Section:
    """Curves of the share answered within a distance, for each set of photos the frames by name."""
    return Section(
        "How far off?",
        tuple(
            Picture(
                f"{photos}: share of all photos answered within a distance; grey lines are the radii of Table 3.",
                distance_curves_plot(frames, f"Answered within a distance, {photos}"),
                f"Share of photos of {photos} answered within each distance",
            )
            for photos, frames in benchmarks.items()
        ),
    )


def mistakes_section(
    best: str,
    called: str,
    predictions: pd.DataFrame,
    boundaries: BoundarySet,
    photos: Mapping[str, Path],
    limits: ImageLimits | None = None,
) -> Section:
    """The twenty answers of the best experiment farthest from the truth, with their photos where these can be opened."""
    worst = worst_mistakes(predictions)
    gallery = mistakes_gallery(worst, _names(boundaries), photos, limits)
    return Section(f"The {len(worst)} worst mistakes", (Text((f"Of {best} on {called}, farthest first.",)), gallery))


def _recall_table(recall: pd.DataFrame, key: str, heading: str, names: Mapping[str, str]) -> pd.DataFrame:
    spans = zip(recall["recall"], recall["recall_low"], recall["recall_high"], strict=True)
    return pd.DataFrame(
        {
            heading: [names.get(name, name) for name in recall[key]],
            "Training photos": recall["n_train"],
            "Photos": recall["n"],
            "Authors": recall["n_authors"],
            "Recall (%)": [f"{value:.1f} [{low:.1f}, {high:.1f}]" for value, low, high in spans],
        }
    )


def _names(boundaries: BoundarySet) -> dict[str, str]:
    return dict(zip(boundaries.countries["region_id"], boundaries.countries["name"], strict=True))


def _percent(value: float) -> str:
    return f"{value:.1f}" if np.isfinite(value) else "cannot be reached"

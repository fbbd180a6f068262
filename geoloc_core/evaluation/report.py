"""The two pages that people read: the results of a run, and the evaluation of a folder of photos."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from geoloc_core.evaluation.evaluate import Evaluation, evaluate
from geoloc_core.evaluation.intervals import RESAMPLES
from geoloc_core.evaluation.maps import error_map
from geoloc_core.evaluation.metrics import DEFINITIONS
from geoloc_core.evaluation.page import Picture, Section, Table, Terms, Text, render
from geoloc_core.evaluation.predictions import ANSWERED
from geoloc_core.evaluation.tables import TABLE2_METRICS, TABLE3_METRICS, table1, table2, table3

if TYPE_CHECKING:
    from geoloc_core.geography.boundaries import BoundarySet

ROWS_LISTED = 500
INTERVALS_NOTE = (
    "In brackets: the 95 % interval of a bootstrap over authors ({resamples} resamples of {authors} authors). Photos "
    "of one author are alike, so an interval over photos would be too narrow."
)
VERDICTS_NOTE = (
    "In bold the best of each column; a tie differs from it by less than its paired 95 % interval. The perfect classifier "
    "names every region rightly and still answers with the same points: nothing built on them can pass it."
)
PUBLISHED_NOTE = (
    "Rows marked thesis are the figures of Okkerman (2024) for the same dataset and weights. Its validation photos were a "
    "random fifth, ours are of authors that no head has learned from."
)
DENOMINATOR_NOTE = (
    "The denominator is every photo. A photo without an answer counts as wrong, enters a distance as half the Earth's "
    "circumference, and is also counted in the column Missing."
)


def results_report(
    *,
    notice: str,
    distribution: pd.DataFrame,
    evaluations: Iterable[Evaluation],
    pictures: Sequence[Picture] = (),
    sections: Sequence[Section] = (),
    facts: Mapping[str, str] | None = None,
    title: str = "geoloc: results",
) -> str:
    """The HTML page of a run: Tables 1, 2 and 3, maps, definitions.

    Args:
        notice: what a reader must know before any figure, for example that the pictures are drawn.
        distribution: the `class_distribution`: level, region_id, name, n_photos.
        evaluations: those of the photos "validation" go to Table 2, all others to Table 3.
        pictures: maps and plots, shown after the tables.
        sections: further sections, shown before the definitions.
        facts: what the results rest on (boundary set, split, seeds ...), by name.
    """
    given = list(evaluations)
    validation = [item for item in given if item.photos == "validation"]
    benchmarks = [item for item in given if item.photos != "validation"]
    tables = [Section("Table 1: photos per region", (_table1(distribution, "country"),))]
    if (distribution["level"] == "subdivision").any():
        tables[0] = Section(tables[0].title, (*tables[0].blocks, _table1(distribution, "subdivision")))
    if validation:
        caption = "Table 2: countries and distances on the validation photos"
        frame = table2(validation).drop(columns="benchmark")
        tables.append(Section("Table 2: validation", (Table(caption, frame, _notes(validation)),)))
    if benchmarks:
        tables.append(Section("Table 3: benchmarks", tuple(_table3(benchmarks))))
    maps = [Section("Maps", tuple(pictures))] if pictures else []
    about = [definitions_section((*TABLE2_METRICS, *TABLE3_METRICS))]
    if facts:
        about.append(Section("Made from", (Terms(tuple(facts.items())),)))
    return render(title, notice, [*tables, *maps, *sections, *about])


def folder_report(
    predictions: pd.DataFrame,
    refused: pd.DataFrame,
    boundaries: BoundarySet,
    *,
    notice: str,
    folder: str,
    baselines: Iterable[Evaluation] = (),
    resamples: int = RESAMPLES,
) -> str:
    """The HTML page of `geoloc evaluate FOLDER`: Table 3's columns, a map of errors, each answer, each refusal.

    Args:
        predictions: the photos whose true place is known (may be empty); photo_id is shown as the photo's name.
        refused: name and reason of each file that was not evaluated.
        folder: the folder's name, as shown in the title.
        baselines: rows to stand beside the model's.
    """
    blocks: list[Table | Text | Picture] = []
    listed: list[Section] = []
    if predictions.empty:
        blocks.append(Text(("No file of this folder could be evaluated; the reasons are below.",)))
    else:
        rows = [evaluate("champion", predictions, photos=folder, resamples=resamples), *baselines]
        caption = "Per cent of the photos answered within a distance"
        blocks.append(Table(caption, table3(rows).drop(columns="benchmark"), _notes(rows)))
        caption = "Table 2's columns for the same photos"
        blocks.append(Table(caption, table2(rows).drop(columns=["benchmark", "photos", "missing"])))
        blocks.append(
            Picture(
                "A line leads from where each photo was taken to where the model puts it.",
                error_map(predictions, boundaries, "Errors"),
                "World map with a line from the true place of each photo to the answer",
            )
        )
        listed.append(_answers(predictions, boundaries))
    refusals = refused[["name", "reason"]].rename(columns={"name": "File", "reason": "Reason"})
    cut = f"The first {ROWS_LISTED} are shown." if len(refusals) > ROWS_LISTED else ""
    listed.append(
        Section("Refused files", (Table(f"{len(refusals):,} files not evaluated", refusals.head(ROWS_LISTED), cut),))
    )
    counted = f"{len(predictions):,} photos evaluated, {len(refused):,} files refused."
    summary = Section("Result", (Text((counted,)), *blocks))
    about = definitions_section((*TABLE3_METRICS, *TABLE2_METRICS))
    return render(f"geoloc: evaluation of {folder}", notice, [summary, *listed, about])


def definitions_section(metrics: Sequence[str]) -> Section:
    """What each metric means, and over what it is taken."""
    entries = [(f"{words} ({unit})", meaning) for words, unit, meaning, _ in (DEFINITIONS[name] for name in metrics)]
    distance = (
        "Distance",
        "along a great circle of a sphere of radius 6371.0 km (haversine); at exactly R km is within R",
    )
    country = (
        "True country",
        "the country that the photo's coordinates lie in; where the truth lies in no country, or in one that no "
        "training photo has, no answer is right",
    )
    prior = (
        "Class prior",
        "names, for every photo, the countries in the order of their share of the training photos; it looks at none",
    )
    constant = (
        "Best constant point",
        "answers, for every photo, with the one point that would have served the training photos best",
    )
    perfect = (
        "Perfect classifier",
        "what is reached by naming every region rightly and answering with its point: the ceiling that the points set",
    )
    terms = Terms((*entries, distance, country, prior, constant, perfect))
    return Section("Definitions", (terms, Text((DENOMINATOR_NOTE,))))


def _table1(distribution: pd.DataFrame, level: str) -> Table:
    regions = distribution[(distribution["level"] == level) & (distribution["n_photos"] > 0)]
    caption = f"Photos per {level}: the largest, the smallest, mean and median"
    note = f"{len(regions):,} regions of this level have photos, {int(regions['n_photos'].sum()):,} photos in all."
    return Table(caption, table1(distribution, level), note)


def _table3(evaluations: Sequence[Evaluation]) -> list[Table]:
    """A table for each benchmark: all in one would be too wide for a page."""
    tables = []
    for name in dict.fromkeys(item.photos for item in evaluations):
        rows = [item for item in evaluations if item.photos == name]
        caption = f"Table 3, {name}: per cent of the photos answered within a distance"
        tables.append(Table(caption, table3(rows).drop(columns="benchmark"), _notes(rows)))
    return tables


def _notes(evaluations: Sequence[Evaluation]) -> str:
    """Under a table: what its brackets are and what its figures are divided by."""
    drawn = sorted({(item.n_authors, item.n_resamples) for item in evaluations if item.n_resamples})
    authors = " or ".join(f"{count:,}" for count in dict.fromkeys(count for count, _ in drawn))
    resamples = " or ".join(f"{count:,}" for count in sorted({count for _, count in drawn}))
    brackets = INTERVALS_NOTE.format(resamples=resamples, authors=authors) if drawn else ""
    compared = VERDICTS_NOTE if any(item.verdicts for item in evaluations) else ""
    published = PUBLISHED_NOTE if any(item.kind == "published" for item in evaluations) else ""
    return " ".join(note for note in (brackets, compared, DENOMINATOR_NOTE, published) if note)


def _answers(predictions: pd.DataFrame, boundaries: BoundarySet) -> Section:
    """Each photo with its truth, its answer and the distance between, farthest first."""
    names = dict(zip(boundaries.countries["region_id"], boundaries.countries["name"], strict=True))
    ordered = predictions.sort_values(["distance_km", "photo_id"], ascending=[False, True], kind="stable")
    shown = ordered.head(ROWS_LISTED)
    frame = pd.DataFrame(
        {
            "Photo": shown["photo_id"],
            "True country": [names.get(name, "in no country") for name in shown["country_id"]],
            "Answer": [names.get(name, "") for name in shown["predicted_country_id"]],
            "Probability (%)": 100.0 * shown["probability"].astype(float),
            "Distance (km)": shown["distance_km"],
            "Status": ["answered" if status == ANSWERED else status for status in shown["status"]],
        }
    )
    cut = f"The farthest {ROWS_LISTED} are shown." if len(ordered) > ROWS_LISTED else ""
    return Section("Each photo", (Table("Answers, farthest first", frame, cut),))

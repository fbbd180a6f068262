"""The two pages that people read, of a run and of a folder of photos; their words are in `report.html.j2`, which escapes."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import pandas as pd
from PIL import Image

from geoloc_core.evaluation import fairness, plots
from geoloc_core.evaluation.certainty import Certainty, area_under_risk, calibration, coverage_curve, threshold_for
from geoloc_core.evaluation.comparison import BEST, BETTER, TIE, WORSE
from geoloc_core.evaluation.evaluate import VALIDATION, Evaluation, PhotoSet, evaluate
from geoloc_core.evaluation.intervals import Interval
from geoloc_core.evaluation.maps import error_map
from geoloc_core.evaluation.metrics import DEFINITIONS
from geoloc_core.evaluation.predictions import ANSWERED, continents
from geoloc_core.evaluation.result_tables import TABLE2_METRICS, TABLE3_METRICS, displayed, scores_table, table1
from geoloc_core.geography.cells import LEVELS
from geoloc_core.photos.images import ImageLimits, RefusedImage, load_image

if TYPE_CHECKING:
    from geoloc_core.geography.boundaries import BoundarySet

FIGURE = re.compile(rf"([-+\d.,]+)(?: (\[[-+\d., ]+\]))?(?: ({BEST}|{TIE}|{BETTER}|{WORSE}))?")
# Rows of these kinds are tinted: they are no models.
TINTED = ("baseline", "ceiling", "published")
ROWS_LISTED = 500
COUNTRIES_LISTED = 40
TARGETS = (80.0, 90.0, 95.0)
WORST_MISTAKES = 20
THUMBNAIL_PIXELS = 180


def render(title: str, notice: str = "", **sections: Any) -> str:
    """The page. `notice` is what a reader must know before any figure; a section without a value is left out."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("geoloc_core.evaluation", ""),
        autoescape=True,
        extensions=["jinja2.ext.do"],
        undefined=jinja2.ChainableUndefined,
        keep_trailing_newline=True,
    )
    environment.filters |= {"cells": _cells, "number": _number, "span": _span, "source": _source}
    page = {"title": title, "notice": notice, **sections}
    return environment.get_template("report.html.j2", globals={"tinted": TINTED, "page": page}).render()


def results_report(
    *,
    title: str,
    notice: str,
    facts: Mapping[str, str],
    distribution: pd.DataFrame,
    evaluations: Sequence[Evaluation],
    photo_sets: Mapping[str, PhotoSet],
    comparisons: Mapping[str, tuple[pd.DataFrame, list[str]]],
    certainties: Mapping[str, Mapping[str, Certainty]],
    best: str,
    training: pd.DataFrame,
    boundaries: BoundarySet,
    maps: Mapping[str, Any],
    files: Mapping[str, Path],
    limits: ImageLimits | None = None,
) -> str:
    """The HTML page of a run: Tables 1, 2 and 3, maps, and what stands behind the tables.

    facts: what the results rest on; photo_sets, certainties: by set of photos, VALIDATION among them; comparisons: what
    `comparison_table` gives, by reference; best: the experiment that the details are about; training: country_id and split;
    maps: PNGs: coverage, country (of country_id), recall, errors by benchmark; files: of the first benchmark, by photo_id.
    """
    validation = photo_sets[VALIDATION].experiments
    benchmarks = {name: photos for name, photos in photo_sets.items() if name != VALIDATION}
    names = _names(boundaries)
    by_set = {name: [row for row in evaluations if row.photos == name] for name in photo_sets}
    sections: dict[str, Any] = {
        "table1": distribution_sections(distribution),
        "table2": scores_section(by_set.pop(VALIDATION), TABLE2_METRICS),
        # A table for each benchmark: all in one would be too wide for a page.
        "table3": {name: scores_section(rows, TABLE3_METRICS) for name, rows in by_set.items()},
        "maps": maps,
        "comparisons": {
            name: (frame_section(table.drop(columns="Compared with")), sentences)
            for name, (table, sentences) in comparisons.items()
        },
        "certainty": certainty_section(best, validation, certainties),
        "fairness": fairness_section(best, validation[best], training, boundaries),
        "confusion": confusion_section(best, validation[best], names),
        "distances": {
            name: plots.distance_curves_plot(
                {best: photos.experiments[best], **photos.baselines}, f"Answered within a distance, {name}"
            )
            for name, photos in benchmarks.items()
        },
        "definitions": [DEFINITIONS[name] for name in (*TABLE2_METRICS, *TABLE3_METRICS)],
        "facts": facts,
    }
    if benchmarks:
        first = next(iter(benchmarks))
        worst = worst_mistakes(benchmarks[first].experiments[best], names, files, limits)
        sections["mistakes"] = {"photos": first, "worst": worst}
    return render(title, notice, best=best, **sections)


def folder_report(
    predictions: pd.DataFrame, refused: pd.DataFrame, boundaries: BoundarySet, *, notice: str, folder: str
) -> str:
    """The HTML page of `geoloc evaluate FOLDER`: Table 3's columns, a map of errors, each answer, each refusal.

    predictions: of photos whose true place is known (may be none), called by photo_id; refused: name and reason of each file.
    """
    result: dict[str, Any] = {"evaluated": len(predictions), "refused": len(refused)}
    answers = None
    if not predictions.empty:
        rows = [evaluate("champion", predictions, photos=folder)]
        result |= {"table2": scores_section(rows, TABLE2_METRICS), "table3": scores_section(rows, TABLE3_METRICS)}
        result["map"] = error_map(predictions, boundaries, "Errors")
        names = _names(boundaries)
        ordered = predictions.sort_values(["distance_km", "photo_id"], ascending=[False, True], kind="stable")
        shown = ordered.head(ROWS_LISTED)
        columns = {
            "Photo": shown["photo_id"],
            "True country": [names.get(name, "in no country") for name in shown["country_id"]],
            "Answer": [names.get(name, "") for name in shown["predicted_country_id"]],
            "Probability (%)": 100.0 * shown["probability"].astype(float),
            "Distance (km)": shown["distance_km"],
            "Status": ["answered" if status == ANSWERED else status for status in shown["status"]],
        }
        answers = frame_section(pd.DataFrame(columns), cut=len(ordered) > ROWS_LISTED)
    refusals = refused[["name", "reason"]].set_axis(["File", "Reason"], axis=1).head(ROWS_LISTED)
    return render(
        f"geoloc: evaluation of {folder}",
        notice,
        result=result,
        answers=answers,
        refusals=frame_section(refusals, total=len(refused), cut=len(refused) > ROWS_LISTED),
        definitions=[DEFINITIONS[name] for name in (*TABLE3_METRICS, *TABLE2_METRICS)],
    )


def frame_section(frame: pd.DataFrame, **others: Any) -> dict[str, Any]:
    """A frame as `result_tables.displayed` shows it; a column `kind` tints rows and is not shown."""
    shown = displayed(frame.drop(columns="kind", errors="ignore"))
    rows = list(shown.itertuples(index=False, name=None))
    return {"headings": list(shown.columns), "rows": rows, "kinds": frame.get("kind", pd.Series()).tolist(), **others}


def scores_section(rows: Sequence[Evaluation], metrics: Sequence[str]) -> dict[str, Any]:
    """A table of scores and what its note needs: what was drawn, and compared."""
    drawn = [row for row in rows if row.n_resamples]

    def listed(counts: Iterable[int]) -> str:
        return " or ".join(f"{count:,}" for count in sorted(set(counts)))

    return frame_section(
        scores_table(rows, metrics).drop(columns="benchmark"),
        authors=listed(row.n_authors for row in drawn),
        resamples=listed(row.n_resamples for row in drawn),
        compared=any(row.verdicts for row in rows),
        published=any(row.kind == "published" for row in rows),
    )


def distribution_sections(distribution: pd.DataFrame) -> dict[str, Any]:
    """Table 1 of each level that has photos."""
    sections = {}
    for level in LEVELS:
        photos = distribution.loc[(distribution["level"] == level) & (distribution["n_photos"] > 0), "n_photos"]
        if len(photos):
            sections[level] = frame_section(table1(distribution, level), regions=len(photos), photos=photos.sum())
    return sections


def certainty_section(
    best: str, predictions: Mapping[str, pd.DataFrame], certainties: Mapping[str, Mapping[str, Certainty]]
) -> dict[str, Any]:
    """Calibration of each experiment, the reliability of the best, what saying "not sure" gains, and what heads promise."""
    calibrations = {name: calibration(frame) for name, frame in predictions.items()}
    curves = {name: coverage_curve(frame) for name, frame in predictions.items()}
    return {
        "calibrations": calibrations,
        "areas": {name: area_under_risk(frame) for name, frame in predictions.items()},
        "reliability": plots.reliability_plot(calibrations[best], f"Reliability, {best}"),
        "coverage": plots.risk_coverage_plot(curves, "Accuracy against coverage"),
        "thresholds": {target: threshold_for(predictions[best], target) for target in TARGETS},
        "promises": certainties,
    }


def fairness_section(
    best: str, validation: pd.DataFrame, training: pd.DataFrame, boundaries: BoundarySet
) -> dict[str, Any]:
    """Recall of the best experiment by continent and country, against training counts."""
    names = _names(boundaries)
    learned = training.loc[(training["split"] == "train") & (training["country_id"] != ""), "country_id"]
    countries = fairness.recall_by_country(validation, learned.value_counts())
    by_continent = fairness.recall_by_continent(validation, learned.map(continents(boundaries)).value_counts())
    span, worst = fairness.worst_decile(validation)
    return {
        "minimum_photos": fairness.MINIMUM_PHOTOS,
        "worst": [names.get(name, name) for name in worst],
        "worst_recall": span,
        "correlation": fairness.rank_correlation(countries),
        "continents": by_continent.rename(columns={"continent": "name"}),
        "plot": plots.fairness_plot(countries, names, f"Recall and training photos, {best}"),
        "countries": _named(countries.head(COUNTRIES_LISTED), names, name="country_id"),
    }


def confusion_section(best: str, validation: pd.DataFrame, names: Mapping[str, str]) -> dict[str, Any]:
    """Which countries the best experiment takes for which; `names` are those of countries by id."""
    plot = plots.confusion_plot(fairness.confusion(validation), names, f"Confusion between countries, {best}")
    pairs = _named(
        fairness.most_confused(validation), names, true_name="country_id", answer_name="predicted_country_id"
    )
    return {"plot": plot, "pairs": pairs}


def worst_mistakes(
    predictions: pd.DataFrame, names: Mapping[str, str], files: Mapping[str, Path], limits: ImageLimits | None = None
) -> list[Any]:
    """The answers farthest from the truth, with a thumbnail where the photo's file (by photo_id) can be opened."""
    answered = predictions[predictions["status"] == ANSWERED]
    ordered = answered.sort_values(["distance_km", "photo_id"], ascending=[False, True], kind="stable")
    named = {"": "no country", **names}
    worst = _named(ordered.head(WORST_MISTAKES), named, true_name="country_id", answer_name="predicted_country_id")
    thumbnails = [thumbnail(files.get(name), limits) for name in worst["photo_id"]]
    return list(worst.assign(thumbnail=thumbnails).itertuples())


def thumbnail(path: Path | None, limits: ImageLimits | None = None) -> bytes:
    """A JPEG of at most THUMBNAIL_PIXELS a side, without any of the file's metadata; b"" where it cannot be opened."""
    try:
        picture = load_image(path or Path(), limits)
    except RefusedImage:
        return b""
    picture.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.convert("RGB").save(file, "JPEG", quality=80)
    return file.getvalue()


def _names(boundaries: BoundarySet) -> dict[str, str]:
    return dict(zip(boundaries.countries["region_id"], boundaries.countries["name"], strict=True))


def _named(frame: pd.DataFrame, names: Mapping[str, str], **columns: str) -> pd.DataFrame:
    """`frame` with new columns that hold the names of countries; an id without a name stands for itself."""
    return frame.assign(**{new: [names.get(name, name) for name in frame[ids]] for new, ids in columns.items()})


def _cells(rows: Sequence[Sequence[str]]) -> tuple[list[bool], list[list[tuple[str, ...]]]]:
    """Which columns hold numbers alone, and each text as figure, interval and verdict (the last two may be empty)."""
    numeric = [all(text == "" or FIGURE.fullmatch(text) for text in column) for column in zip(*rows, strict=True)]
    return numeric, [
        [match.groups("") if (match := FIGURE.fullmatch(text)) else (text, "", "") for text in row] for row in rows
    ]


def _number(value: float, digits: int = 1, otherwise: str = "") -> str:
    return f"{value:,.{digits}f}" if math.isfinite(value) else otherwise


def _span(value: Interval, scale: float = 1.0) -> str:
    return f"{scale * value.value:.1f} [{scale * value.low:.1f}, {scale * value.high:.1f}]"


def _source(content: bytes, media_type: str = "image/png") -> str:
    """A picture as a data address."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"

"""A folder of one's own photos, scored: GPS from EXIF is the truth, the champion's answer is judged by it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from geoloc_core.answers.predict import Predictor
from geoloc_core.errors import InputError
from geoloc_core.evaluation.evaluate import evaluate
from geoloc_core.evaluation.maps import error_map
from geoloc_core.evaluation.predictions import ANSWERED, continents, predictions_frame, write_predictions
from geoloc_core.evaluation.report import folder_report
from geoloc_core.evaluation.result_tables import TABLE3_METRICS, scores_table, to_markdown
from geoloc_core.geography.boundaries import BoundarySet
from geoloc_core.geography.locate import RegionLocator
from geoloc_core.photos.file_names import printable
from geoloc_core.photos.labels import label_photos
from geoloc_core.photos.rows import tally, write_rows
from geoloc_core.photos.sources.registry import read_metadata
from geoloc_core.storage import temporary_folder, write_bytes, write_text


@dataclass(frozen=True)
class FolderEvaluation:
    """How it went: accepted + refused = files in the folder; `table` is Markdown; `page` the HTML page."""

    accepted: int
    refused: int
    reasons: dict[str, int]
    table: str
    page: Path


def evaluate_folder(
    predictor: Predictor, folder: Path, out: Path, boundaries: BoundarySet, *, near_cap_km: float, notice: str
) -> FolderEvaluation:
    """Read, label, embed, predict and score every photo below `folder`; write the page, the map and the tables to `out`.

    InputError where there is nothing to read, or where nothing can be written: that is found before any photo is read.
    """
    name = printable(folder.resolve().name)
    _check_output(out)
    batches = list(read_metadata(folder, "folder", "photo_folder"))
    if not batches:
        raise InputError(f"{folder} has no file in it; give a folder of photos with GPS in their EXIF")
    photos = pd.concat([batch.accepted for batch in batches], ignore_index=True)
    rejected = pd.concat([batch.rejected for batch in batches], ignore_index=True)
    refused = pd.DataFrame({"name": rejected["raw"], "reason": rejected["reason"]})
    predictions = pd.DataFrame(columns=["photo_id"])
    table = "No photo of this folder has a place to be judged by.\n"
    if not photos.empty:
        labeled = label_photos(photos, "folder", RegionLocator(boundaries, near_cap_km=near_cap_km))
        vectors, status = predictor.vectors([folder / path for path in photos["image_path"]])
        usable = np.array([reason == ANSWERED for reason in status])
        answers = predictor.answers({name: np.where(usable[:, None], block, 0) for name, block in vectors.items()})
        predictions = predictions_frame(
            labeled,
            answers.country_posterior,
            answers.countries,
            answers.points,
            continents=continents(boundaries),
            status=status,
            predicted_cells=answers.predicted_cells,
        )
        unusable = {"name": photos.loc[~usable, "image_path"], "reason": predictions.loc[~usable, "status"]}
        refused = pd.concat([refused, pd.DataFrame(unusable)])
        predictions = predictions[usable].reset_index(drop=True)
    if not predictions.empty:
        scores = scores_table([evaluate("champion", predictions, photos=name)], TABLE3_METRICS)
        table = to_markdown(scores)
        write_text(out / "table3.md", table)
        write_text(out / "table3.csv", scores.to_csv(index=False))
        write_predictions(out / "predictions.parquet", predictions)
        write_bytes(out / "map_errors.png", error_map(predictions, boundaries, f"Errors on {name}"))
    write_rows(refused.reset_index(drop=True), out / "refused.parquet")
    page = out / "report.html"
    write_text(page, folder_report(predictions, refused, boundaries, notice=notice, folder=name))
    return FolderEvaluation(len(predictions), len(refused), tally(refused["reason"]), table, page)


def _check_output(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        with temporary_folder(out):
            pass
    except OSError as error:
        raise InputError(
            f"nothing can be written to {out} ({error.strerror}); name another folder with --out"
        ) from error

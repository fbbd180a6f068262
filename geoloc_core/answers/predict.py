"""Image in, answer out: country, sub-division, probability, point, the next best, and how sure that is.

predictor = Predictor.load(Path(".geoloc/sample/model"), Path(".geoloc/sample/checkpoints"))
for prediction in predictor.predict([Path("holiday.jpg")]):
    print(prediction.country, prediction.probability)
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pydantic

from geoloc_core.answers.answer import Answerer, Answers
from geoloc_core.answers.package import ModelDescription, TrainedWith, read_answerer, read_description
from geoloc_core.devices import pick_device
from geoloc_core.errors import CheckpointError
from geoloc_core.features.checkpoints import locate_checkpoint, open_checkpoint
from geoloc_core.features.encoder import Encoder, load_encoder
from geoloc_core.features.extract import OK, ImageItem, embed_batches, embed_images
from geoloc_core.features.specification import BackboneSpec
from geoloc_core.learning.posterior import Head, Promise
from geoloc_core.photos.file_names import printable, visible
from geoloc_core.photos.images import ImageLimits, RefusedImage, load_image
from geoloc_core.photos.rows import read_rows
from geoloc_core.progress import bar

NEXT_BEST = 5
HEADINGS = (
    "photo", "country", "prob.", "sure", "sub-division", "prob.", "latitude", "longitude", "set of countries", "next best",
)  # fmt: skip
WIDTHS = (28, 30, 6, 8, 34, 6, 9, 10, 30, 0)
# A set of more countries is shown by its size.
MOST_LISTED = 6


class RegionProbability(pydantic.BaseModel):
    """A region and how probable it is."""

    region_id: str
    name: str
    probability: float


class Prediction(pydantic.BaseModel):
    """The answer for one photo; MLflow shows these fields as the model's signature.

    status is "ok", or the reason why there is no answer; then `detail` says it in words and the rest is empty.
    `probability` is the country's; the sub-division's is its own, not given the country. `sure`: whether the country's
    probability reaches `sure_threshold`; of such answers at most the share `sure_max_risk` is wrong. The threshold is None
    where the held-out photos allowed no such promise: then no answer is sure. `country_set`: the countries, likeliest first,
    that hold the truth with the probability `set_coverage`. `next_best` are the five countries that follow.
    """

    file: str
    status: str
    detail: str = ""
    country_id: str = ""
    country: str = ""
    probability: float = 0.0
    subdivision_id: str = ""
    subdivision: str = ""
    subdivision_probability: float = 0.0
    latitude: float | None = None
    longitude: float | None = None
    sure: bool = False
    sure_threshold: float | None = None
    sure_max_risk: float = 0.0
    country_set: list[RegionProbability] = []
    set_coverage: float = 0.0
    next_best: list[RegionProbability] = []


@dataclass(frozen=True)
class Predictor:
    """A packed head, loaded; the champion as a rule."""

    description: ModelDescription
    answerer: Answerer
    regions: pd.DataFrame
    encoders: dict[str, Encoder]
    limits: ImageLimits

    @classmethod
    def load(
        cls, folder: Path, checkpoints: Path, device: str = "auto", limits: ImageLimits | None = None
    ) -> Predictor:
        """Load a package; CheckpointError where it is missing, or a backbone's weights are not those that it names.

        Nothing is written to either folder; weights of a hub that `checkpoints` lacks are fetched into `own_cache`.
        """
        description = read_description(folder)
        answerer = read_answerer(folder, description)
        regions = read_rows(folder / "regions.parquet", ["region_id", "name"])
        target = pick_device(device)
        encoders = {}
        for name, trained in description.backbones.items():
            spec = description.specification(name)
            where = weights_folder(spec, trained, checkpoints)
            encoders[name] = load_encoder(spec, where, target, read_only=True)
        return cls(description, answerer, regions, encoders, limits or ImageLimits())

    def predict(self, photos: Sequence[Path | bytes], names: Sequence[str] | None = None) -> list[Prediction]:
        """Answers in the order of `photos` (paths or the bytes of image files); `names` are what to call them."""
        return [prediction for batch in self.stream(photos, names) for prediction in batch]

    def stream(self, photos: Sequence[Path | bytes], names: Sequence[str] | None = None) -> Iterator[list[Prediction]]:
        """The same, a batch at a time, each as soon as it is ready; memory does not depend on how many photos there are."""
        files = names or [printable(str(photo)) if isinstance(photo, Path) else "" for photo in photos]
        items = [ImageItem(str(row), photo) for row, photo in enumerate(photos)]
        with bar("photos", total=len(photos), unit="photo") as progress:
            for batch in embed_batches(items, self.encoders, self.limits) if items else ():
                status = first_reasons(batch.status.values())
                rows = range(batch.start, batch.start + len(status))
                predictions = [
                    Prediction(file=files[row], status=reason, detail=self._in_words(photos[row], reason))
                    for row, reason in zip(rows, status, strict=True)
                ]
                usable = [number for number, reason in enumerate(status) if reason == OK]
                if usable:
                    answers = self.answers({name: block[usable] for name, block in batch.vectors.items()})
                    for row, number in enumerate(usable):
                        predictions[number] = self._prediction(answers, row, predictions[number].file)
                progress.clear()
                yield predictions
                progress.update(len(predictions))

    def vectors(self, photos: Sequence[Path | bytes]) -> tuple[dict[str, np.ndarray], list[str]]:
        """float16 (n, D) by backbone, and for each photo "ok" or the reason why one of its vectors is missing."""
        items = [ImageItem(str(row), photo) for row, photo in enumerate(photos)]
        embedded = embed_images(items, self.encoders, self.limits, what="photos")
        status = first_reasons(block.status for block in embedded.values())
        return {name: block.vectors for name, block in embedded.items()}, status

    def answers(self, vectors: dict[str, np.ndarray]) -> Answers:
        """The model's answers for vectors (n, D) by backbone; the sub-division may come from its companion."""

        def blocks(head: Head | None) -> list[np.ndarray]:
            return [vectors[feature["backbone"]] for feature in head.features] if head else []

        return self.answerer.answers(blocks(self.answerer.head), blocks(self.answerer.companion))

    @cached_property
    def _name_of(self) -> dict[str, str]:
        unique = self.regions.drop_duplicates("region_id")
        return dict(zip(unique["region_id"], unique["name"], strict=True))

    def _prediction(self, answers: Answers, row: int, file: str) -> Prediction:
        name_of = self._name_of
        posterior, promise = answers.country_posterior[row], self.answerer.head.promise
        order = np.argsort(-posterior, kind="stable")

        def listed(columns: np.ndarray) -> list[RegionProbability]:
            ids = [answers.countries[column] for column in columns]
            return [
                RegionProbability(region_id=name, name=str(name_of.get(name, "")), probability=float(value))
                for name, value in zip(ids, posterior[columns], strict=True)
            ]

        best, *following = listed(order[: 1 + NEXT_BEST])
        finer, probability = answers.subdivision_ids, answers.subdivision_probability
        subdivision = "" if finer is None else str(finer[row])
        return Prediction(
            file=file,
            status=OK,
            country_id=best.region_id,
            country=best.name,
            probability=best.probability,
            subdivision_id=subdivision,
            subdivision=str(name_of.get(subdivision, "")),
            subdivision_probability=0.0 if probability is None else float(probability[row]),
            latitude=float(answers.points[row, 0]),
            longitude=float(answers.points[row, 1]),
            next_best=following,
            sure=bool(answers.sure[row]),
            sure_threshold=promise.sure_threshold,
            sure_max_risk=promise.sure_max_risk,
            country_set=listed(order[answers.country_sets[row, order]]),
            set_coverage=promise.set_coverage,
        )

    def _in_words(self, photo: Path | bytes, reason: str) -> str:
        """What is wrong with a picture, in the words of the check that refused it."""
        if reason == OK:
            return ""
        try:
            load_image(photo, self.limits)
        except RefusedImage as refusal:
            return printable(str(refusal))
        return f"the encoder gave no vector ({reason})"


def first_reasons(statuses: Iterable[Sequence[str]]) -> list[str]:
    """For each photo "ok", or the first reason why one of its vectors, a sequence of reasons for each backbone, is missing."""
    return [next((reason for reason in of_photo if reason != OK), OK) for of_photo in zip(*statuses, strict=True)]


def own_cache() -> Path:
    """Where answers keep weights that no project has: $GEOLOC_CACHE, or `geoloc` in the user's folder of caches."""
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "geoloc"
    return Path(os.environ.get("GEOLOC_CACHE") or usual)


def weights_folder(spec: BackboneSpec, trained: TrainedWith, checkpoints: Path) -> Path:
    """The folder of checkpoints that holds the very weights of `spec` that a head was trained with; CheckpointError.

    `checkpoints` is only read, as it is a project's, and the model perhaps a stranger's. Weights of a hub that it lacks are
    kept in `own_cache`, in a folder of that version's own; none are made from a seed, as a stranger would name the network.
    """
    where = checkpoints
    try:
        locate_checkpoint(spec, checkpoints)
    except CheckpointError:
        if spec.weights_kind != "hub":
            raise
        where = own_cache() / "weights" / trained.version
    try:
        present = open_checkpoint(spec, where, read_only=where == checkpoints).identity
    except OSError as error:
        raise CheckpointError(f"{where} cannot be used ({error.strerror}); name another with GEOLOC_CACHE") from error
    if present.version != trained.version:
        raise CheckpointError(
            f"the checkpoint of {spec.name} in {where} (weights {present.weights_sha256[:12]}) is not the one that the model "
            f"was trained with (weights {trained.weights_sha256[:12]}); put that one there, or retrain"
        )
    return where


class Shape(NamedTuple):
    """How answers are written: what comes first, the text of some of them, what comes between two such texts, and last."""

    first: str
    text: Callable[[Sequence[Prediction]], str]
    between: str = ""
    last: str = ""


def written(batches: Iterable[Sequence[Prediction]], shape: str, promise: Promise) -> Iterator[str]:
    """The answers as text, piece by piece as they come. shape: "json" (one list), "jsonl" (a line each), "csv" or "table"."""
    chosen = {
        "json": Shape("[\n", lambda batch: ",\n".join(map(as_json, batch)), ",\n", "\n]\n"),
        "jsonl": Shape("", lambda batch: "".join(f"{as_json(prediction)}\n" for prediction in batch)),
        "csv": Shape(as_csv([Prediction.model_fields]), lambda batch: as_csv(map(in_cells, batch))),
        "table": Shape(f"{as_line(HEADINGS)}\n{'-' * 120}\n", as_table, last=f"{in_words(promise)}\n"),
    }[shape]
    yield chosen.first
    for number, batch in enumerate(batches):
        yield (chosen.between if number else "") + chosen.text(batch)
    yield chosen.last


def as_json(prediction: Prediction) -> str:
    """One line of ASCII, so that no name says anything to a terminal, and any encoding of the output can hold it."""
    return json.dumps(prediction.model_dump())


def in_cells(prediction: Prediction) -> list[Any]:
    """A prediction as cells of a CSV file; lists of countries read "FRA 0.4213; DEU 0.1077".

    A text that a spreadsheet would take for a formula is quoted as such (`'=...`), and what does not print is escaped.
    """

    def cell(value: Any) -> Any:
        if isinstance(value, list):
            return "; ".join(f"{region.region_id} {region.probability:.4f}" for region in value)
        if not isinstance(value, str):
            return value
        return f"'{visible(value)}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else visible(value)

    return [cell(value) for _, value in prediction]


def as_csv(rows: Iterable[Iterable[Any]]) -> str:
    """Rows of cells as lines of CSV."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def as_table(predictions: Sequence[Prediction]) -> str:
    """One line for each photo, in columns; a refused photo has its reason in place of a country."""
    return "".join(f"{as_line(_row(prediction))}\n" for prediction in predictions)


def as_line(cells: Iterable[str]) -> str:
    """Cells in columns of fixed widths, as later lines are not known yet; one that is wider moves those behind it."""
    return "  ".join(visible(cell).ljust(width) for cell, width in zip(cells, WIDTHS, strict=True)).rstrip()


def in_words(promise: Promise) -> str:
    """What "sure" and the set of countries promise, and on what that rests."""
    photos, risk = f"{promise.n_photos:,} photos ({promise.fitted_on})", f"{promise.sure_max_risk:.0%}"
    sure = f"no answer is called sure, as {photos} show no probability from which at most {risk} of answers are wrong"
    if promise.sure_threshold is not None:
        sure = f"the country's probability is at least {promise.sure_threshold:.1%}; of such answers at most {risk} are wrong "
        sure += f"(95 % confidence, {photos})"
    countries = f"holds the true country of {promise.set_coverage:.0%} of the photos of new authors"
    if promise.set_threshold <= 0.0:
        countries = f"every country, as the authors of {photos} are too few to leave one out"
    return f"Sure: {sure}.\nSet of countries: {countries}."


def _row(prediction: Prediction) -> tuple[str, ...]:
    name = Path(prediction.file).name or "-"
    if prediction.status != OK:
        return (name, f"refused: {prediction.status}", *([""] * (len(HEADINGS) - 2)))
    listed = " ".join(region.region_id for region in prediction.country_set[:MOST_LISTED])
    more = f" ... ({len(prediction.country_set)} in all)" if len(prediction.country_set) > MOST_LISTED else ""
    return (
        name,
        f"{prediction.country} ({prediction.country_id})",
        f"{prediction.probability:.1%}",
        "sure" if prediction.sure else "not sure",
        f"{prediction.subdivision} ({prediction.subdivision_id})" if prediction.subdivision_id else "-",
        f"{prediction.subdivision_probability:.1%}" if prediction.subdivision_id else "",
        f"{prediction.latitude:.4f}",
        f"{prediction.longitude:.4f}",
        listed + more,
        ", ".join(f"{region.region_id} {region.probability:.0%}" for region in prediction.next_best),
    )

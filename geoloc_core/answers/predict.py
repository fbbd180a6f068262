"""Image in, answer out: country, sub-division, probability, point, the next best, and how sure that is.

predictor = Predictor.load(Path(".geoloc/sample/model"), Path(".geoloc/sample/checkpoints"))
for prediction in predictor.predict([Path("holiday.jpg")]):
    print(prediction.country, prediction.probability)
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pydantic

from geoloc_core.answers.answer import Answerer, Answers
from geoloc_core.answers.package import read_answerer, read_description
from geoloc_core.devices import pick_device
from geoloc_core.errors import CheckpointError, InputError
from geoloc_core.features.checkpoints import open_checkpoint
from geoloc_core.features.encoder import Encoder, load_encoder
from geoloc_core.features.extract import OK, ImageItem, embed_images
from geoloc_core.features.specification import specification_from
from geoloc_core.learning.posterior import Head, Promise
from geoloc_core.photos.images import ImageLimits, RefusedImage, load_image
from geoloc_core.photos.rows import read_rows

NEXT_BEST = 5
HEADINGS = (
    "photo", "country", "prob.", "sure", "sub-division", "prob.", "latitude", "longitude", "set of countries", "next best",
)  # fmt: skip
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

    description: dict[str, Any]
    answerer: Answerer
    regions: pd.DataFrame
    encoders: dict[str, Encoder]
    limits: ImageLimits

    @classmethod
    def load(
        cls, folder: Path, checkpoints: Path, device: str = "auto", limits: ImageLimits | None = None
    ) -> Predictor:
        """Load a package; CheckpointError where it is missing, or a backbone's weights are not those that it names."""
        description = read_description(folder)
        target = pick_device(device)
        encoders = {}
        for name, trained in description["backbones"].items():
            spec = specification_from(description["specifications"][name])
            encoders[name] = load_encoder(spec, checkpoints, target)
            present = open_checkpoint(spec, checkpoints).identity
            if present.version != trained["version"]:
                raise CheckpointError(
                    f"the checkpoint of {name} in {checkpoints} (weights {present.weights_sha256[:12]}) is not the one that "
                    f"the model was trained with (weights {trained['weights_sha256'][:12]}); put that one there, or retrain"
                )
        regions = read_rows(folder / "regions.parquet")
        return cls(description, read_answerer(folder, description), regions, encoders, limits or ImageLimits())

    def predict(self, photos: Sequence[Path | bytes], names: Sequence[str] | None = None) -> list[Prediction]:
        """Answers in the order of `photos` (paths or the bytes of image files); `names` are what to call them."""
        if not photos:
            return []
        files = names or [str(photo) if isinstance(photo, Path) else "" for photo in photos]
        vectors, status = self.vectors(photos)
        predictions = [
            Prediction(file=file, status=reason, detail="" if reason == OK else self._in_words(photo, reason))
            for file, photo, reason in zip(files, photos, status, strict=True)
        ]
        usable = [number for number, reason in enumerate(status) if reason == OK]
        if usable:
            answers = self.answers({name: block[usable] for name, block in vectors.items()})
            for row, number in enumerate(usable):
                predictions[number] = self._prediction(answers, row, files[number])
        return predictions

    def vectors(self, photos: Sequence[Path | bytes]) -> tuple[dict[str, np.ndarray], list[str]]:
        """float16 (n, D) by backbone, and for each photo "ok" or the reason why one of its vectors is missing."""
        items = [ImageItem(str(row), photo) for row, photo in enumerate(photos)]
        embedded = embed_images(items, self.encoders, self.limits, what="photos")
        by_photo = zip(*(block.status for block in embedded.values()), strict=True)
        status = [next((reason for reason in reasons if reason != OK), OK) for reasons in by_photo]
        return {name: block.vectors for name, block in embedded.items()}, status

    def answers(self, vectors: dict[str, np.ndarray]) -> Answers:
        """The model's answers for vectors (n, D) by backbone; the sub-division may come from its companion."""

        def blocks(head: Head | None) -> list[np.ndarray]:
            names = [feature["backbone"] for feature in head.features] if head else []
            if missing := [name for name in names if name not in vectors]:
                raise InputError(f"the model needs vectors of {missing[0]} and has {', '.join(vectors)}; pack it again")
            return [vectors[name] for name in names]

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
        try:
            load_image(photo, self.limits)
        except RefusedImage as refusal:
            return str(refusal)
        return f"the encoder gave no vector ({reason})"


def as_table(predictions: Sequence[Prediction]) -> str:
    """One line for each photo, in columns; a refused photo has its reason in place of a country."""
    rows = [HEADINGS, *(_row(prediction) for prediction in predictions)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * min(120, sum(widths) + 2 * len(widths)), *lines[1:]])


def as_csv(predictions: Sequence[Prediction]) -> str:
    """One line for each photo; lists of countries read "FRA 0.4213; DEU 0.1077"."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(Prediction.model_fields), lineterminator="\n")
    writer.writeheader()
    for prediction in predictions:
        values = dict(prediction)
        for name in ("country_set", "next_best"):
            values[name] = "; ".join(f"{region.region_id} {region.probability:.4f}" for region in values[name])
        writer.writerow(values)
    return out.getvalue()


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

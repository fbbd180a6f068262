"""Image in, answer out: country, sub-division, probability, point, the next best, and how sure that is.

predictor = Predictor.load(Path(".geoloc/sample/model"), Path(".geoloc/sample/checkpoints"))
for prediction in predictor.predict([Path("holiday.jpg")]):
print(prediction.country, prediction.probability)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from geoloc_core.answers.answer import Answerer, Answers, Places
from geoloc_core.devices import pick_device
from geoloc_core.errors import CheckpointError, InputError
from geoloc_core.features.checkpoints import open_checkpoint
from geoloc_core.features.encoder import Encoder, load_encoder
from geoloc_core.features.extract import OK, ImageItem, embed_images
from geoloc_core.features.specification import specification_from
from geoloc_core.geography.cells import LEVELS as REGION_LEVELS
from geoloc_core.learning.head_files import load_head, read_references
from geoloc_core.learning.posterior import Head
from geoloc_core.line.profile import NEAREST_ANSWER
from geoloc_core.photos.images import ImageLimits
from geoloc_core.photos.rows import read_rows
from geoloc_core.storage import read_json

# Of the packed folder; `packaging` writes it.
FORMAT = 2
NEXT_BEST = 5


@dataclass(frozen=True)
class RegionProbability:
    """A region and how probable it is."""

    region_id: str
    name: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """The answer for one photo.

    status is "ok", or the reason why there is no answer; then `detail` says it in words and the rest is empty.
    `probability` is the country's; the sub-division's is its own, not given the country. `next_best` are the five
    countries that follow. `country_set`: the countries, likeliest first, that hold the truth with the probability
    `set_coverage` (0.9: nine photos in ten of new authors). `sure`: whether the country's probability reaches
    `sure_threshold`; of such answers at most the share `sure_max_risk` is wrong. The threshold is None where the held-out
    photos allowed no such promise: then no answer is sure.
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
    next_best: tuple[RegionProbability, ...] = field(default_factory=tuple)
    sure: bool = False
    sure_threshold: float | None = None
    sure_max_risk: float = 0.0
    country_set: tuple[RegionProbability, ...] = field(default_factory=tuple)
    set_coverage: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def read_description(folder: Path) -> dict[str, Any]:
    """What a packed model says of itself; CheckpointError where there is none, or one of another version."""
    try:
        description = read_json(folder / "model.json")
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"there is no packed model in {folder}; make one with `geoloc refresh`, or name another folder with --model"
        ) from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise CheckpointError(f"the model in {folder} was packed by another version; `geoloc refresh` packs it anew")
    return description


def read_answerer(folder: Path, description: Mapping[str, Any]) -> Answerer:
    """The heads of a packed model and the places that they answer with; no backbone is loaded."""
    places = {
        level: Places(read_rows(folder / f"anchors_{level}.parquet"), read_rows(folder / f"cells_{level}.parquet"))
        for level in REGION_LEVELS
    }
    head, companion = load_head(folder / "head"), load_head(folder / "companion") if description["companion"] else None
    references = None
    if description["answer"] == NEAREST_ANSWER:
        # The finest regions are answered with: the companion's where there is one.
        finest = (folder / "head", head) if companion is None else (folder / "companion", companion)
        references = read_references(*finest)
    return Answerer(head, places, description["answer"], companion, references)


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
        for name, wanted in description["backbones"].items():
            spec = specification_from(description["specifications"][name])
            encoders[name] = load_encoder(spec, checkpoints, target)
            found = open_checkpoint(spec, checkpoints).identity
            if found.version != wanted["version"]:
                raise CheckpointError(
                    f"the checkpoint of {name} in {checkpoints} (weights {found.weights_sha256[:12]}) is not the one that the "
                    f"model was trained with (weights {wanted['weights_sha256'][:12]}); put that one there, or retrain"
                )
        return cls(
            description,
            read_answerer(folder, description),
            read_rows(folder / "regions.parquet"),
            encoders,
            limits or ImageLimits(),
        )

    def predict(self, photos: Sequence[Path | bytes], names: Sequence[str] | None = None) -> list[Prediction]:
        """Answers in the order of `photos` (paths or the bytes of image files); `names` are what to call them."""
        called = list(names) if names is not None else [str(p) if isinstance(p, Path) else "" for p in photos]
        if not photos:
            return []
        blocks, status = self.vectors(photos)
        good = [row for row, reason in enumerate(status) if reason == OK]
        answers = iter(self._predictions(blocks, good, called)) if good else iter(())
        return [
            next(answers) if reason == OK else Prediction(name, reason, self._in_words(photo, reason))
            for photo, name, reason in zip(photos, called, status, strict=True)
        ]

    def vectors(self, photos: Sequence[Path | bytes]) -> tuple[dict[str, np.ndarray], list[str]]:
        """float16 (n, D) by backbone, and for each photo "ok" or the reason why one of its vectors is missing."""
        items = [ImageItem(str(row), photo) for row, photo in enumerate(photos)]
        embedded = embed_images(items, self.encoders, self.limits, what="photos")
        status = [OK] * len(items)
        for block in embedded.values():
            status = [old if old != OK else new for old, new in zip(status, block.status, strict=True)]
        return {name: block.vectors for name, block in embedded.items()}, status

    def answers(self, vectors: dict[str, np.ndarray]) -> Answers:
        """What the model says of vectors (n, D) by backbone; the sub-division may come from its companion."""
        head, companion = self.answerer.head, self.answerer.companion
        others = [] if companion is None else self._blocks(companion, vectors)
        return self.answerer.answers(self._blocks(head, vectors), others)

    def _blocks(self, head: Head, vectors: dict[str, np.ndarray]) -> list[np.ndarray]:
        try:
            return [vectors[feature["backbone"]] for feature in head.features]
        except KeyError as error:
            raise InputError(
                f"the model wants vectors of {error} and got {', '.join(vectors)}; pack the model anew"
            ) from error

    def _predictions(self, vectors: dict[str, np.ndarray], rows: list[int], called: list[str]) -> list[Prediction]:
        answers = self.answers({name: block[rows] for name, block in vectors.items()})
        name_of = self.regions.drop_duplicates("region_id").set_index("region_id")["name"].to_dict()
        order = np.argsort(-answers.country_posterior, axis=1, kind="stable")
        promise = self.answerer.head.promise
        made = []
        for row, position in enumerate(rows):

            def named(columns: np.ndarray, row: int = row) -> tuple[RegionProbability, ...]:
                names = [answers.countries[column] for column in columns]
                probabilities = answers.country_posterior[row, columns]
                return tuple(
                    RegionProbability(name, str(name_of.get(name, "")), float(probability))
                    for name, probability in zip(names, probabilities, strict=True)
                )

            ranked = named(order[row, : 1 + NEXT_BEST])
            finer = "" if answers.subdivision_ids is None else str(answers.subdivision_ids[row])
            made.append(
                Prediction(
                    file=called[position],
                    status=OK,
                    country_id=ranked[0].region_id,
                    country=ranked[0].name,
                    probability=ranked[0].probability,
                    subdivision_id=finer,
                    subdivision=str(name_of.get(finer, "")),
                    subdivision_probability=(
                        0.0 if answers.subdivision_probability is None else float(answers.subdivision_probability[row])
                    ),
                    latitude=float(answers.points[row, 0]),
                    longitude=float(answers.points[row, 1]),
                    next_best=ranked[1:],
                    sure=bool(answers.sure[row]),
                    sure_threshold=promise.sure_threshold,
                    sure_max_risk=promise.sure_max_risk,
                    country_set=named(order[row][answers.country_sets[row, order[row]]]),
                    set_coverage=promise.set_coverage,
                )
            )
        return made

    def _in_words(self, photo: Path | bytes, reason: str) -> str:
        """What is wrong with a picture, in the words of the one who refused it."""
        from geoloc_core.photos.images import RefusedImage, load_image

        try:
            load_image(photo, self.limits)
        except RefusedImage as refusal:
            return str(refusal)
        return f"the encoder gave no vector ({reason})"

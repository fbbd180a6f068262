"""A packed head as an MLflow model, from this file's code: `mlflow models serve -m models:/geoloc@champion`.

Input: a list of photos, each with `path` (a file the server can read), `image_base64`, or, from Python, `image` (bytes).
Output: one mapping for each photo, as `geoloc predict --json` prints it. The backbones' weights are looked for in the folder
that the model's configuration names under `checkpoints`, or that GEOLOC_CHECKPOINTS names; others than those that the
head was trained with are refused.
"""

import base64
import binascii
import os
from pathlib import Path
from typing import Any

import mlflow
import pydantic
from mlflow.pyfunc import PythonModel

from geoloc_core.answers.predict import Prediction, Predictor

# MLflow refuses names from this module's own package when it is loaded from a path: absolute imports only.
from geoloc_core.errors import InputError


class Photo(pydantic.BaseModel):
    """One photo; give one of `path`, `image_base64` and `image`."""

    path: str | None = None
    image_base64: str | None = None
    image: bytes | None = None


class GeolocModel(PythonModel):
    """Answers for photos; see `geoloc_core.answers.predict`."""

    def load_context(self, context: Any) -> None:
        """Load the package that was logged, and the weights that it names."""
        checkpoints = os.environ.get("GEOLOC_CHECKPOINTS") or context.model_config["checkpoints"]
        self.predictor = Predictor.load(Path(context.artifacts["model"]), Path(checkpoints))

    def predict(self, model_input: list[Photo]) -> list[Prediction]:  # type: ignore[override]
        """One answer for each photo, in order; plain values, which are what MLflow can send."""
        photos = [_source(photo, number) for number, photo in enumerate(model_input)]
        names = [photo.path or f"photo {number}" for number, photo in enumerate(model_input)]
        answers = self.predictor.predict(photos, names)
        return [answer.model_dump() for answer in answers]  # type: ignore[misc]


def _source(photo: Photo, number: int) -> Path | bytes:
    sources = [value for value in (photo.path, photo.image_base64, photo.image) if value is not None]
    if len(sources) != 1:
        raise InputError(f"photo {number} needs one of path, image_base64 and image; it has {len(sources)} of them")
    if photo.path is not None:
        return Path(photo.path)
    if photo.image is not None:
        return photo.image
    try:
        return base64.b64decode(photo.image_base64 or "", validate=True)
    except binascii.Error as error:
        raise InputError(f"photo {number}: image_base64 is not base64 ({error})") from error


mlflow.models.set_model(GeolocModel())

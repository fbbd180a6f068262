"""The champion as an MLflow model, from this file's code: `mlflow models serve -m models:/geoloc@champion`.

Input: a list of photos, each with `path` (a file the server can read) or `image_base64`. Output: one mapping for each
photo, as `geoloc predict --json` prints it. The backbones' weights are looked for in the folder that the model's
configuration names under `checkpoints`, or that GEOLOC_CHECKPOINTS names.
"""

import base64
import binascii
import os
from pathlib import Path
from typing import Any

import mlflow
import pydantic
from mlflow.pyfunc import PythonModel

# MLflow refuses names from this module's own package when it is loaded from a path: absolute imports only.
from geoloc_core.errors import InputError
from geoloc_core.predict import Predictor


class Photo(pydantic.BaseModel):
    """One photo; give `path` or `image_base64`."""

    path: str | None = None
    image_base64: str | None = None


class GeolocModel(PythonModel):
    """Answers for photos; see `geoloc_core.predict`."""

    def load_context(self, context: Any) -> None:
        """Load the package that was registered, and the weights that it names."""
        checkpoints = os.environ.get("GEOLOC_CHECKPOINTS") or context.model_config["checkpoints"]
        self.predictor = Predictor.load(Path(context.artifacts["model"]), Path(checkpoints))

    def predict(self, model_input: list[Photo]) -> list[dict[str, Any]]:  # type: ignore[override]
        """One answer for each photo, in order."""
        photos, names = [], []
        for number, photo in enumerate(model_input):
            if (photo.path is None) == (photo.image_base64 is None):
                raise InputError(f"photo {number} needs either a path or image_base64, not both and not none")
            photos.append(Path(photo.path) if photo.path is not None else _decoded(photo.image_base64 or "", number))
            names.append(photo.path or f"photo {number}")
        return [prediction.as_dict() for prediction in self.predictor.predict(photos, names)]


def _decoded(text: str, number: int) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise InputError(f"photo {number}: image_base64 is not base64 ({error})") from error


mlflow.models.set_model(GeolocModel())

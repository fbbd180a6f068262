"""The libraries that run backbones; adding one is a module in this folder and a line in `LIBRARIES`.

A library's module offers `ENCODER`, its subclass of `encoder_base.Encoder`; `write_seeded(spec, folder)`, which writes a
checkpoint with random weights; and, if it has models that read text, `text_tower(spec, path, device)`.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Library:
    """A library: its module here, and the names in its published layout of the weights (best first) and of the settings.

    Raise `code_version` when the module's code changes the vectors of given weights: all of them are then embedded again.
    """

    module: str
    weights: tuple[str, ...]
    settings: tuple[str, ...]
    code_version: int = 1

    @property
    def files(self) -> tuple[str, ...]:
        """What a checkpoint folder needs."""
        return tuple(sorted((*self.settings, self.weights[0])))


_HUB_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_TRANSFORMERS = ("config.json", "preprocessor_config.json")
_OPEN_CLIP_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
LIBRARIES = {
    "transformers": Library("vit", _HUB_WEIGHTS, _TRANSFORMERS),
    "open_clip": Library("clip", _OPEN_CLIP_WEIGHTS, ("open_clip_config.json",)),
    "timm": Library("image_models", _HUB_WEIGHTS, ("config.json",)),
    "segmentation": Library("segmentation", _HUB_WEIGHTS, _TRANSFORMERS),
}

HRNET_MODEL_ID = "hrnetv2-c1"
HRNET_FILES = ("encoder_epoch_30.pth", "decoder_epoch_30.pth")
"""MIT CSAIL's names for the two halves of its scene parsing network."""

MODEL_FILES = {HRNET_MODEL_ID: HRNET_FILES}
"""The files, all of weights, of models by `model_id` that are not published in the layout of a library."""


def library_module(name: str) -> Any:
    """The module of a library; importing it imports torch and the library itself."""
    return import_module(f"{__name__}.{LIBRARIES[name].module}")

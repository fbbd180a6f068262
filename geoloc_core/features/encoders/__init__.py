"""The libraries that run backbones; adding one is a module in this folder and a line in `LIBRARIES`.

A library's module offers `ENCODER`, its subclass of `encoder_base.Encoder`; `write_seeded(spec, folder)`, which writes a
checkpoint with random weights; and, if it has models that read text, `text_tower(spec, path, device)`.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Library:
    """A library: its module here, and the files of a checkpoint in its published layout.

    Raise `code_version` when the module's code changes the vectors of given weights: all of them are then embedded again.
    """

    module: str
    files: tuple[str, ...]
    code_version: int = 1


TRANSFORMERS_FILES = ("config.json", "model.safetensors", "preprocessor_config.json")

LIBRARIES = {
    "transformers": Library("vit", TRANSFORMERS_FILES),
    "open_clip": Library("clip", ("open_clip_config.json", "open_clip_model.safetensors")),
    "segmentation": Library("segmentation", TRANSFORMERS_FILES),
}

HRNET_MODEL_ID = "hrnetv2-c1"
HRNET_FILES = ("encoder_epoch_30.pth", "decoder_epoch_30.pth")
"""MIT CSAIL's names for the two halves of its scene parsing network."""

MODEL_FILES = {HRNET_MODEL_ID: HRNET_FILES}
"""The files, all of weights, of models by `model_id` that are not published in the layout of a library."""


def library_module(name: str) -> Any:
    """The module of a library; importing it imports torch and the library itself."""
    return import_module(f"{__name__}.{LIBRARIES[name].module}")

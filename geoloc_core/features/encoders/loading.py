"""Loading models of the transformers library strictly: every weight present, every shape right, no code executed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from geoloc_core.errors import CheckpointError
from geoloc_core.features.checkpoints import weights_file

if TYPE_CHECKING:
    from geoloc_core.features.specification import BackboneSpec


def load_pretrained(model_class: Any, path: Path, spec: BackboneSpec, **arguments: Any) -> torch.nn.Module:
    """`model_class.from_pretrained(path)`, in evaluation mode, where any missing or misshapen weight is an error.

    Weights that the model does not use (a classification head, a text tower) may be there; weights that it needs and
    that the checkpoint lacks would silently be random, so they are refused.
    """
    if path.is_file():
        raise CheckpointError(
            f"backbone {spec.name!r} is a transformers model and {path} is a single file; "
            "point its weights to the folder with config.json, preprocessor_config.json and the weights"
        )
    safe = weights_file(path).suffix == ".safetensors"
    silence_transformers()
    try:
        model, report = model_class.from_pretrained(
            path,
            local_files_only=True,
            use_safetensors=safe,
            weights_only=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported, and refused below with the names
            **arguments,
        )
    except Exception as error:  # the library raises many kinds for one cause: these files are not that model
        raise CheckpointError(
            f"the checkpoint of backbone {spec.name!r} in {path} cannot be loaded as {model_class.__name__}: "
            f"{first_line(error)}; restore it from its source"
        ) from error
    missing = sorted(report["missing_keys"])
    misshapen = sorted(str(entry[0]) if isinstance(entry, tuple) else str(entry) for entry in report["mismatched_keys"])
    if missing or misshapen:
        raise CheckpointError(
            f"the checkpoint of backbone {spec.name!r} in {path} does not fit {model_class.__name__}: "
            f"{len(missing)} weights are missing ({', '.join(missing[:3])}), {len(misshapen)} have another shape "
            f"({', '.join(misshapen[:3])}); use the weights that the specification names"
        )
    return model.eval().requires_grad_(False)


def silence_transformers() -> None:
    """Turn off the library's progress bars and load reports; what they say is read from return values instead."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def check_processor(path: Path, spec: BackboneSpec) -> None:
    """Compare the checkpoint's own preprocessor_config.json with the specification; a difference is an error.

    Older files lack fields, and older libraries wrote sizes as one number; what a file does not state is not compared.
    """
    file = path / "preprocessor_config.json"
    if not file.is_file():
        return
    settings = json.loads(file.read_text(encoding="utf-8"))
    expected: dict[str, Any] = {
        "image_mean": list(spec.mean),
        "image_std": list(spec.std),
        "resample": 3 if spec.interpolation == "bicubic" else 2,
        "size": _sides(spec.resized_side, spec.resize),
    }
    if spec.crop != "none":
        expected["crop_size"] = _sides(spec.input_size, "squash")
    for key, value in expected.items():
        own = settings.get(key)
        if key in ("size", "crop_size") and isinstance(own, int):
            own = _sides(own, "shortest" if key == "size" and spec.resize == "shortest" else "squash")
        if spec.library == "segmentation" and key == "size" and "shortest_edge" in (own or {}):
            continue  # the network takes any shape, and the specification decides for the square
        if key in ("size", "crop_size") and isinstance(own, dict):
            own = {name: number for name, number in own.items() if number is not None}
        if own is not None and own != value:
            raise CheckpointError(
                f"the checkpoint of backbone {spec.name!r} in {path} prepares pictures with {key} = {own} and the "
                f"specification says {value}; correct the specification"
            )


def processor_settings(spec: BackboneSpec) -> dict[str, Any]:
    """The arguments of a transformers image processor that does what the specification says."""
    from PIL import Image

    side, crop = spec.resized_side, spec.input_size
    resample = Image.Resampling.BICUBIC if spec.interpolation == "bicubic" else Image.Resampling.BILINEAR
    settings: dict[str, Any] = {
        "size": {"height": side, "width": side} if spec.resize == "squash" else {"shortest_edge": side},
        "resample": resample,
        "image_mean": list(spec.mean),
        "image_std": list(spec.std),
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
    }
    if spec.crop != "none":
        settings |= {"do_center_crop": True, "crop_size": {"height": crop, "width": crop}}
    return settings


def load_config(path: Path, spec: BackboneSpec) -> Any:
    """The configuration of a transformers checkpoint; it says which architecture the weights are for."""
    import transformers

    try:
        return transformers.AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"the checkpoint of backbone {spec.name!r} in {path} has no config.json that transformers understands; "
            "restore it from its source"
        ) from error


def _sides(side: int, resize: str) -> dict[str, int]:
    return {"shortest_edge": side} if resize == "shortest" else {"height": side, "width": side}


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its kind where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def tokenizer_error(spec: BackboneSpec, path: Path, error: Exception) -> CheckpointError:
    """The error of a tokenizer that its library cannot load."""
    return CheckpointError(
        f"the tokenizer of backbone {spec.name!r} in {path} cannot be loaded: {first_line(error)}; "
        "restore its files from the source of the weights"
    )

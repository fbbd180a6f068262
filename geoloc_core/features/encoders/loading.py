"""Loading models of the transformers library strictly: every weight present, every shape right, no code executed."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from geoloc_core.errors import CheckpointError
from geoloc_core.features.checkpoints import checkpoint_error, ensure_tokenizer, weights_files
from geoloc_core.features.preprocessing import RESAMPLING
from geoloc_core.features.specification import BackboneSpec
from geoloc_core.storage import read_json

LOCAL = {"local_files_only": True, "trust_remote_code": False}
"""How transformers opens a folder: nothing is fetched, no code that lies there is run."""


def load_pretrained(model_class: Any, path: Path, spec: BackboneSpec, **arguments: Any) -> torch.nn.Module:
    """`model_class.from_pretrained(path)`, in evaluation mode, where any missing or misshapen weight is an error.

    Weights that the model does not use (a classification head, a text tower) may be there.
    """
    if path.is_file():
        problem = (
            "is a single file; point its weights to the folder with config.json, preprocessor_config.json and weights"
        )
        raise checkpoint_error(spec, path, problem)
    safe = weights_files(spec, path)[0].suffix == ".safetensors"
    silence_transformers()
    try:
        arguments |= {"use_safetensors": safe, "weights_only": True, "dtype": torch.float32, **LOCAL}
        # Weights of another shape are reported, and refused below with their names.
        arguments |= {"output_loading_info": True, "ignore_mismatched_sizes": True}
        model, report = model_class.from_pretrained(path, **arguments)
    except Exception as error:  # the library raises many kinds for one cause: these files are not that model
        problem = f"cannot be loaded as {model_class.__name__}: {first_line(error)}; restore it from its source"
        raise checkpoint_error(spec, path, problem) from error
    missing, misshapen = sorted(report["missing_keys"]), sorted(entry[0] for entry in report["mismatched_keys"])
    if missing or misshapen:
        weights = (
            f"{len(missing)} weights are missing {missing[:3]}, {len(misshapen)} have another shape {misshapen[:3]}"
        )
        problem = f"does not fit {model_class.__name__}: {weights}; use the weights that the specification names"
        raise checkpoint_error(spec, path, problem)
    return model.eval().requires_grad_(False)


def read_weights(file: Path) -> dict[str, torch.Tensor]:
    """The tensors in a file by their names; of a pickle, nothing is executed."""
    if file.suffix == ".safetensors":
        return load_file(file)
    return torch.load(file, map_location="cpu", weights_only=True)  # noqa: TID251


def silence_transformers() -> None:
    """Turn off the library's progress bars and load reports; what they say is read from return values instead."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def check_preprocessing(source: str, own: Mapping[str, Any], specified: Mapping[str, Any]) -> None:
    """Raise CheckpointError if the settings of a `source` differ from the specification's; None is not compared."""
    for key, value in specified.items():
        if own.get(key) is not None and own[key] != value:
            problem = f"prepares pictures with {key} = {own[key]} and the specification says {value}"
            raise CheckpointError(f"{source} {problem}; correct the specification")


def check_processor(path: Path, spec: BackboneSpec) -> None:
    """Compare the checkpoint's preprocessor_config.json with the specification; CheckpointError if they differ.

    Older files lack fields, and older libraries wrote sizes as one number; what a file does not state is not compared.
    """
    file = path / "preprocessor_config.json"
    if not file.is_file():
        return
    specified = {key: value for key, value in processor_settings(spec).items() if not key.startswith("do_")}
    try:
        own = dict(read_json(file))
        for key, rule in (("size", spec.resize), ("crop_size", "squash")):
            if isinstance(own.get(key), int):
                own[key] = _sides(own[key], rule)
            elif own.get(key):
                own[key] = {name: number for name, number in own[key].items() if number is not None}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        problem = f"has a preprocessor_config.json that says nothing of pictures: {first_line(error)}"
        raise checkpoint_error(spec, path, f"{problem}; restore it from its source") from error
    if spec.library == "segmentation" and "shortest_edge" in (own.get("size") or {}):
        del own["size"]  # the network takes any shape, and the specification decides for the square
    check_preprocessing(f"the checkpoint of backbone {spec.name!r} in {path}", own, specified)


def processor_settings(spec: BackboneSpec) -> dict[str, Any]:
    """The arguments of a transformers image processor that does what the specification says."""
    settings: dict[str, Any] = {"do_resize": True, "do_rescale": True, "do_normalize": True}
    settings |= {"size": _sides(spec.resized_side, spec.resize), "resample": RESAMPLING[spec.interpolation]}
    settings |= {"image_mean": list(spec.mean), "image_std": list(spec.std)}
    if spec.crop != "none":
        settings |= {"do_center_crop": True, "crop_size": _sides(spec.input_size, "squash")}
    return settings


def load_config(path: Path, spec: BackboneSpec) -> Any:
    """The configuration of a transformers checkpoint; it says which architecture the weights are for."""
    import transformers

    try:
        return transformers.AutoConfig.from_pretrained(path, **LOCAL)
    except Exception as error:  # the library raises many kinds for one cause: this file is no configuration of a model
        problem = f"has no config.json that transformers understands: {first_line(error)}; restore it from its source"
        raise checkpoint_error(spec, path, problem) from error


def _sides(side: int, resize: str) -> dict[str, int]:
    return {"shortest_edge": side} if resize == "shortest" else {"height": side, "width": side}


def first_line(error: BaseException) -> str:
    """The first line of an error's message."""
    return str(error).strip().partition("\n")[0][:300]


def load_tokenizer(spec: BackboneSpec, path: Path, load: Callable[[], Any]) -> Any:
    """The tokenizer that a library's `load` returns; CheckpointError where its files are missing or damaged."""
    ensure_tokenizer(spec, path)
    try:
        return load()
    except Exception as error:  # the libraries raise many kinds for one cause: these files are no tokenizer
        problem = f"cannot be loaded: {first_line(error)}; restore its files from the source of the weights"
        raise CheckpointError(f"the tokenizer of backbone {spec.name!r} in {path} {problem}") from error

"""Checkpoints with random weights, made by the libraries' own classes and saved in their published layout.

For the sample and for tests: whatever loads these loads a full-size checkpoint the same way. Equal seeds give equal
bytes with equal versions of the libraries.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from geoloc_core.features.checkpoints import HRNET_FILES, HRNET_MODEL_ID
from geoloc_core.features.preprocessing import normalize

if TYPE_CHECKING:
    from geoloc_core.features.specification import BackboneSpec


def write_seeded_checkpoint(spec: BackboneSpec, folder: Path) -> None:
    """Write the checkpoint of a "seeded:<n>" specification into `folder`, which must not exist yet."""
    folder.mkdir(parents=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(spec.weights_target))
        if spec.model_id == HRNET_MODEL_ID:
            _write_hrnet(spec, folder)
        elif spec.library == "open_clip":
            _write_open_clip(spec, folder)
        else:
            _write_transformers(spec, folder)


def _write_transformers(spec: BackboneSpec, folder: Path) -> None:
    import transformers

    from geoloc_core.features.quiet import quiet_transformers

    settings: dict[str, Any] = dict(spec.architecture)
    config = transformers.AutoConfig.for_model(settings.pop("model_type"), **settings)
    processor_class: Any
    if spec.library == "segmentation":
        universal = config.model_type in ("mask2former", "maskformer")
        auto = transformers.AutoModelForUniversalSegmentation if universal else None
        model = (auto or transformers.AutoModelForSemanticSegmentation).from_config(config)
        processor_class = transformers.SegformerImageProcessor
    else:
        model = transformers.AutoModel.from_config(config)
        processor_class = transformers.ViTImageProcessor if spec.resize == "squash" else transformers.CLIPImageProcessor
    redraw(model, spec.initial_std)
    if spec.library == "segmentation":
        settle_batch_norms(model, lambda pictures: model(pixel_values=pictures), spec)
    with quiet_transformers():
        model.save_pretrained(folder)
    processor_class(**processor_settings(spec)).save_pretrained(folder)


def redraw(model: torch.nn.Module, initial_std: Mapping[str, float]) -> None:
    """Draw the parameters that match a pattern from a normal distribution of that deviation, in the order of names."""
    for name, parameter in sorted(model.named_parameters()):
        for pattern, std in initial_std.items():
            if fnmatch.fnmatch(name, pattern):
                torch.nn.init.normal_(parameter, 0.0, std)


def settle_batch_norms(
    model: torch.nn.Module, run: Callable[[torch.Tensor], object], spec: BackboneSpec, pictures: int = 64
) -> None:
    """Give a random network the statistics that training would have left in its batch normalisations.

    Without them random scores have one common direction and nearly every pixel falls into the same few classes. The
    statistics come from random pictures: coarse coloured patches with a little grain.
    """
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    patches = torch.nn.functional.interpolate(torch.rand(pictures, 3, 6, 6), size=(spec.input_size, spec.input_size))
    noisy = (patches + 0.05 * torch.randn_like(patches)).clamp(0, 1).mul(255).to(torch.uint8).movedim(1, -1)
    model.eval()
    for norm in norms:
        norm.train()
    with torch.inference_mode():
        run(normalize(noisy, spec))
    model.eval()


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


def _write_hrnet(spec: BackboneSpec, folder: Path) -> None:
    """In MIT CSAIL's layout: two pickled states, with what its batch normalisation keeps for training."""
    from geoloc_core.features.hrnet import HighResolutionSegmenter

    model = HighResolutionSegmenter(spec.n_classes, spec.architecture)
    redraw(model, spec.initial_std)
    settle_batch_norms(model, model, spec)
    for file, part in zip(HRNET_FILES, (model.encoder, model.decoder), strict=True):
        state = dict(part.state_dict())
        for name in list(state):
            if name.endswith("running_mean"):
                stem = name.removesuffix("running_mean")
                state[f"{stem}_tmp_running_mean"] = state[name].clone()
                state[f"{stem}_tmp_running_var"] = state[f"{stem}running_var"].clone()
                state[f"{stem}_running_iter"] = torch.ones(1)
                del state[f"{stem}num_batches_tracked"]
        torch.save(state, folder / file)


def _write_open_clip(spec: BackboneSpec, folder: Path) -> None:
    import open_clip
    from safetensors.torch import save_file

    config: dict[str, Any] = json.loads(json.dumps(dict(spec.architecture)))
    arguments = {key: value for key, value in config.items() if key != "custom_text"}
    model = (open_clip.CustomTextCLIP if config.get("custom_text") else open_clip.CLIP)(**arguments)
    redraw(model, spec.initial_std)
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors", metadata={"format": "pt"})
    described = {
        "model_cfg": config,
        "preprocess_cfg": {
            "mean": list(spec.mean),
            "std": list(spec.std),
            "interpolation": spec.interpolation,
            "resize_mode": spec.resize,
        },
    }
    (folder / "open_clip_config.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")

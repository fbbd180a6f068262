"""Any image model of timm by its id: the features before its classifier, or its tokens.

A folder in timm's published layout brings its own config.json; a single file of weights is loaded into the architecture
that `model_id` names. EfficientNets in the names of lukemelas' EfficientNet-PyTorch are renamed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from importlib import import_module
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch

from geoloc_core.errors import CheckpointError
from geoloc_core.features.checkpoints import checkpoint_error, weights_files
from geoloc_core.features.encoders.encoder_base import Encoder
from geoloc_core.features.encoders.loading import check_preprocessing, first_line, read_weights
from geoloc_core.features.encoders.seeded import redraw, settle_batch_norms
from geoloc_core.features.specification import BackboneSpec

_STEM_AND_HEAD = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_EXPANDING = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_se_reduce": "se.conv_reduce",
    "_se_expand": "se.conv_expand",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_SEPARABLE = {**_EXPANDING, "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
"""A block without expansion counts its normalisations from its depthwise convolution."""


class TimmEncoder(Encoder):
    """An image model of timm without its classifier: its own pooling, the first token, or the mean of the patches' tokens."""

    def __init__(self, spec: BackboneSpec, path: Path, device: torch.device, _embedder: Encoder | None = None) -> None:
        super().__init__(spec, device)
        # Channels last: a convolutional network takes two thirds of the time on a CPU.
        self.model = load_model(spec, path).to(device=device, memory_format=torch.channels_last)
        prefix = getattr(self.model, "num_prefix_tokens", None)  # none for a network without tokens
        offered = ["pooled with trunk"]
        offered += [] if prefix is None else ["last_hidden_state with mean"]
        offered += [] if getattr(self.model, "cls_token", None) is None else ["last_hidden_state with cls"]
        if f"{spec.layer} with {spec.pooling}" not in offered:
            problem = f"{spec.model_id} of timm offers {', '.join(offered)}; not {spec.layer} with {spec.pooling}"
            raise CheckpointError(f"backbone {spec.name!r}: {problem}")
        self.first_patch: int = prefix or 0
        pooled = getattr(self.model, "head_hidden_size", None) or self.model.num_features
        self.trunk_width = pooled if spec.pooling == "trunk" else self.model.num_features

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """float32 (B, 3, S, S) -> (B, D)."""
        features = self.model.forward_features(batch.contiguous(memory_format=torch.channels_last))
        if self.spec.pooling == "trunk":
            return self.model.forward_head(features, pre_logits=True)
        return features[:, 0] if self.spec.pooling == "cls" else features[:, self.first_patch :].mean(dim=1)


def load_model(spec: BackboneSpec, path: Path) -> Any:
    """The model with its classifier, in evaluation mode; a weight that lacks or is left over is a CheckpointError."""
    import timm

    configured = (path / "config.json").is_file()
    try:
        model: Any = timm.create_model(f"local-dir:{path}" if configured else spec.model_id, pretrained=False)
        states = [read_weights(file) for file in weights_files(spec, path)]
        weights = {name: value for state in states for name, value in state.items()}
        if "_conv_stem.weight" in weights:
            weights = renamed_efficientnet(weights, model)
        elif set(weights) != set(model.state_dict()):
            # Checkpoints in their authors' own names: timm's rule for this architecture, where it has one.
            convert = getattr(import_module(type(model).__module__), "checkpoint_filter_fn", None)
            weights = convert(weights, model) if convert else weights
        model.load_state_dict(weights)
    except CheckpointError:
        raise
    except Exception as error:  # the library raises many kinds for one cause: these files are not that model
        problem = f"cannot be loaded by timm as {spec.model_id}: {first_line(error)}; restore it from its source"
        raise checkpoint_error(spec, path, problem) from error
    config = model.pretrained_cfg
    if config["architecture"] != spec.model_id.partition(".")[0]:
        problem = f"is of a {config['architecture']} and the specification says {spec.model_id}; correct model_id"
        raise checkpoint_error(spec, path, problem)
    check_pretrained_cfg(spec, path, config)
    return model.eval().requires_grad_(False)


def renamed_efficientnet(weights: Mapping[str, torch.Tensor], model: Any) -> dict[str, torch.Tensor]:
    """The weights of an EfficientNet in lukemelas' names under timm's; what has no rule keeps its name (and is refused).

    Both count stem, blocks, head in the order of Tan & Le (2019), arXiv 1905.11946; lukemelas numbers all blocks in one row,
    timm by stage. Within a block the parts are those of `_EXPANDING` or, where there is no expansion, `_SEPARABLE`.
    """
    ends = list(accumulate(len(stage) for stage in model.blocks))

    def rename(name: str) -> str:
        block = re.fullmatch(r"_blocks\.(\d+)\.(_\w+)\.(.+)", name)
        if block is None:
            part, _, rest = name.partition(".")
            return f"{_STEM_AND_HEAD.get(part, part)}.{rest}"
        number, part, rest = int(block[1]), block[2], block[3]
        stage = next((stage for stage, end in enumerate(ends) if number < end), len(ends))
        parts = _EXPANDING if f"_blocks.{number}._expand_conv.weight" in weights else _SEPARABLE
        return f"blocks.{stage}.{number - (0, *ends)[stage]}.{parts.get(part, part)}.{rest}"

    return {rename(name): value for name, value in weights.items()}


def check_pretrained_cfg(spec: BackboneSpec, path: Path, config: Mapping[str, Any]) -> None:
    """Compare what timm says of the pictures (`pretrained_cfg`; docs of `create_transform`) with the specification."""
    side, mode = config["input_size"][-1], config.get("crop_mode") or "center"
    own = {"mean": tuple(config["mean"]), "std": tuple(config["std"]), "interpolation": config["interpolation"]}
    own |= {"input_size": side, "resize": "shortest" if mode == "center" else mode}
    specified = {key: getattr(spec, key) for key in own}
    own["resize_size"], specified["resize_size"] = math.floor(side / config["crop_pct"]), spec.resized_side
    check_preprocessing(f"the checkpoint of backbone {spec.name!r} in {path}", own, specified)


ENCODER = TimmEncoder


def write_seeded(spec: BackboneSpec, folder: Path) -> None:
    """Write a model with random weights: `spec.model_id` with the arguments in `spec.architecture`, as timm publishes it."""
    import timm

    model = timm.create_model(spec.model_id, pretrained=False, **spec.architecture)
    redraw(model, spec.initial_std)
    settle_batch_norms(model, model, spec)
    pictures: dict[str, Any] = {"input_size": (3, spec.input_size, spec.input_size), "mean": spec.mean, "std": spec.std}
    pictures |= {"interpolation": spec.interpolation, "crop_pct": spec.input_size / spec.resized_side}
    timm.models.save_for_hf(model, str(folder), safe_serialization=True, data_config=pictures)

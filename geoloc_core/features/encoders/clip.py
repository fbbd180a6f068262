"""CLIP and SigLIP models through open_clip, where a warning about a mismatch is an error."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from geoloc_core.errors import CheckpointError
from geoloc_core.features.checkpoints import ensure_tokenizer, weights_file
from geoloc_core.features.encoders.base import Encoder, TextTower
from geoloc_core.features.encoders.loading import first_line, tokenizer_error
from geoloc_core.features.encoders.seeded import redraw

if TYPE_CHECKING:
    from geoloc_core.features.specification import BackboneSpec


class OpenClipEncoder(Encoder):
    """The image tower of an open_clip model: its projected embedding, or its pooled trunk before the projection."""

    def __init__(self, spec: BackboneSpec, path: Path, device: torch.device, _embedder: Encoder | None = None) -> None:
        super().__init__(spec, device)
        check_pretrained_tag(spec)
        model = load_model(spec, path)
        _check_preprocessing(model, spec, path)
        self.visual = model.visual.to(device)
        if spec.pooling == "trunk":
            self.trunk_width = _drop_projection(self.visual, spec)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """float32 (B, 3, S, S) -> (B, D)."""
        return self.visual(batch)


def check_pretrained_tag(spec: BackboneSpec) -> None:
    """Compare the specification with what open_clip publishes of the weights' tag, before any weight is read.

    The known trap: OpenAI's weights were trained with QuickGELU, and under the plain architecture name ("ViT-L-14")
    open_clip only warns, then computes another function.
    """
    if not spec.pretrained:
        return
    import open_clip

    config = open_clip.get_model_config(spec.model_id)
    tag = open_clip.get_pretrained_cfg(spec.model_id, spec.pretrained) if config else {}
    if not config or not tag:
        raise CheckpointError(
            f"backbone {spec.name!r}: open_clip knows no model {spec.model_id!r} with weights {spec.pretrained!r}; "
            "correct model_id and pretrained"
        )
    quick, expected = bool(config.get("quick_gelu", False)), bool(tag.get("quick_gelu", False))
    if quick != expected:
        right = spec.model_id.removesuffix("-quickgelu") + ("-quickgelu" if expected else "")
        raise CheckpointError(
            f"backbone {spec.name!r}: the weights {spec.pretrained!r} were trained with {_gelu(expected)} and the "
            f"architecture {spec.model_id!r} computes {_gelu(quick)}; use model_id: {right}"
        )
    published = {
        "mean": tuple(tag["mean"]),
        "std": tuple(tag["std"]),
        "interpolation": tag["interpolation"],
        "resize": tag["resize_mode"],
    }
    for key, value in published.items():
        if getattr(spec, key) != value:
            raise CheckpointError(
                f"backbone {spec.name!r}: the weights {spec.pretrained!r} want {key} = {value} and the specification "
                f"says {getattr(spec, key)}; correct the specification"
            )


def load_model(spec: BackboneSpec, path: Path) -> Any:
    """The whole open_clip model, both towers, in evaluation mode; whatever does not fit is a CheckpointError."""
    import open_clip

    file = weights_file(path)
    arguments: dict[str, Any] = {"device": "cpu", "weights_only": True, "require_pretrained": True}
    try:
        with _warnings_are_errors():
            if path.is_dir() and (path / "open_clip_config.json").is_file():
                model = open_clip.create_model(f"local-dir:{path}", **arguments)
            else:
                model = open_clip.create_model(spec.model_id, pretrained=str(file), **arguments)
    except Exception as error:  # the library raises many kinds for one cause: these files are not that model
        raise CheckpointError(
            f"the checkpoint of backbone {spec.name!r} in {path} cannot be loaded by open_clip: {first_line(error)}; "
            "restore it from its source, or correct model_id"
        ) from error
    _check_architecture(model, spec, path)
    return model.eval().requires_grad_(False)


@contextmanager
def _warnings_are_errors() -> Iterator[None]:
    """open_clip says what is wrong with a checkpoint by warning and by logging, and goes on; here it stops."""
    records: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.WARNING and "open_clip" in record.pathname:
                records.append(record.getMessage())

    handler = Collect()
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            yield
    finally:
        root.removeHandler(handler)
    if records:
        raise CheckpointError(records[0])


def _check_architecture(model: Any, spec: BackboneSpec, path: Path) -> None:
    """A folder brings its own configuration; where the specification names a published one, they must agree."""
    import open_clip

    published = open_clip.get_model_config(spec.model_id)
    if published is None or not path.is_dir() or not (path / "open_clip_config.json").is_file():
        return
    own = json.loads((path / "open_clip_config.json").read_text(encoding="utf-8"))["model_cfg"]
    for key in ("embed_dim", "quick_gelu", "vision_cfg"):
        if own.get(key, False) != published.get(key, False):
            raise CheckpointError(
                f"the checkpoint of backbone {spec.name!r} in {path} has {key} = {own.get(key)} and open_clip's "
                f"{spec.model_id} has {published.get(key)}; correct model_id or use the weights it was written for"
            )


def _check_preprocessing(model: Any, spec: BackboneSpec, path: Path) -> None:
    from open_clip.model import get_model_preprocess_cfg

    own = get_model_preprocess_cfg(model)
    size = own.get("size", spec.input_size)
    sides = (size, size) if isinstance(size, int) else tuple(size)
    pairs = {
        "input_size": (sides, (spec.input_size, spec.input_size)),
        "resize_size": (sides[0], spec.resized_side),
        "mean": (tuple(own["mean"]), spec.mean),
        "std": (tuple(own["std"]), spec.std),
        "interpolation": (own["interpolation"], spec.interpolation),
        "resize": (own["resize_mode"], spec.resize),
    }
    for key, (value, expected) in pairs.items():
        if value != expected:
            raise CheckpointError(
                f"the checkpoint of backbone {spec.name!r} in {path} prepares pictures with {key} = {value} and the "
                f"specification says {expected}; correct the specification"
            )


def _drop_projection(visual: Any, spec: BackboneSpec) -> int:
    """Remove the projection of an image tower, wherever it is, and return the width of the trunk before it."""
    if getattr(visual, "proj", None) is not None:
        width = visual.proj.shape[0]
        visual.proj = None
        return width
    if hasattr(visual, "trunk") and "pool" not in dict(visual.head.named_children()):
        # timm's models: the projection is either open_clip's, in `head`, or (PE-Core) the classifier of the trunk.
        visual.head = torch.nn.Identity()
        visual.trunk.reset_classifier(0)
        return visual.trunk.num_features
    raise CheckpointError(f"backbone {spec.name!r}: {spec.model_id} has no trunk apart from its projection")


def _gelu(quick: bool) -> str:
    return "QuickGELU" if quick else "plain GELU"


ENCODER = OpenClipEncoder


def write_seeded(spec: BackboneSpec, folder: Path) -> None:
    """Write a model with random weights, as `spec.architecture` describes it, and its configuration."""
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


def text_tower(spec: BackboneSpec, path: Path, device: torch.device) -> TextTower:
    """The text tower of an open_clip model."""
    import open_clip

    check_pretrained_tag(spec)
    ensure_tokenizer(spec, path)
    model = load_model(spec, path).to(device)
    try:
        tokenizer = open_clip.get_tokenizer(f"local-dir:{path}" if path.is_dir() else spec.model_id)
    except Exception as error:  # the libraries raise many kinds for one cause: these files are no tokenizer
        raise tokenizer_error(spec, path, error) from error
    table = model.token_embedding if hasattr(model, "token_embedding") else model.text.token_embedding
    return TextTower(tokenizer, model.encode_text, table.num_embeddings, float(model.logit_scale.exp()))

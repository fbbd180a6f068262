"""CLIP and SigLIP models through open_clip, where a warning about a mismatch is an error."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from geoloc_core.errors import CheckpointError
from geoloc_core.features.checkpoints import weights_file
from geoloc_core.features.encoder import Encoder

if TYPE_CHECKING:
    from geoloc_core.features.specification import BackboneSpec


class OpenClipEncoder(Encoder):
    """The image tower of an open_clip model: its projected embedding, or its pooled trunk before the projection."""

    def __init__(self, spec: BackboneSpec, path: Path, device: torch.device) -> None:
        super().__init__(spec, device)
        check_pretrained_tag(spec)
        model = load_model(spec, path)
        _check_preprocessing(model, spec, path)
        self.visual = model.visual.to(device)
        if spec.pooling == "trunk":
            _drop_projection(self.visual, spec)

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
    said = {
        "mean": tuple(tag["mean"]),
        "std": tuple(tag["std"]),
        "interpolation": tag["interpolation"],
        "resize": tag["resize_mode"],
    }
    for key, value in said.items():
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
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise CheckpointError(
            f"the checkpoint of backbone {spec.name!r} in {path} cannot be loaded by open_clip: {first}; "
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
    import json

    found = json.loads((path / "open_clip_config.json").read_text(encoding="utf-8"))["model_cfg"]
    for key in ("embed_dim", "quick_gelu", "vision_cfg"):
        if found.get(key, False) != published.get(key, False):
            raise CheckpointError(
                f"the checkpoint of backbone {spec.name!r} in {path} has {key} = {found.get(key)} and open_clip's "
                f"{spec.model_id} has {published.get(key)}; correct model_id or use the weights it was written for"
            )


def _check_preprocessing(model: Any, spec: BackboneSpec, path: Path) -> None:
    from open_clip.model import get_model_preprocess_cfg

    said = get_model_preprocess_cfg(model)
    size = said.get("size", spec.input_size)
    sides = (size, size) if isinstance(size, int) else tuple(size)
    pairs = {
        "input_size": (sides, (spec.input_size, spec.input_size)),
        "resize_size": (sides[0], spec.resized_side),
        "mean": (tuple(said["mean"]), spec.mean),
        "std": (tuple(said["std"]), spec.std),
        "interpolation": (said["interpolation"], spec.interpolation),
        "resize": (said["resize_mode"], spec.resize),
    }
    for key, (found, wanted) in pairs.items():
        if found != wanted:
            raise CheckpointError(
                f"the checkpoint of backbone {spec.name!r} in {path} prepares pictures with {key} = {found} and the "
                f"specification says {wanted}; correct the specification"
            )


def _drop_projection(visual: Any, spec: BackboneSpec) -> None:
    if getattr(visual, "proj", None) is not None:
        visual.proj = None
    elif hasattr(visual, "head"):
        visual.head = torch.nn.Identity()
    else:
        raise CheckpointError(f"backbone {spec.name!r}: {spec.model_id} has no trunk apart from its projection")


def _gelu(quick: bool) -> str:
    return "QuickGELU" if quick else "plain GELU"

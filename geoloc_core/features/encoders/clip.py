"""CLIP and SigLIP models through open_clip, where a warning about a mismatch is an error."""

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from geoloc_core.errors import CheckpointError
from geoloc_core.features.checkpoints import checkpoint_error, weights_files
from geoloc_core.features.encoders.encoder_base import Encoder, TextTower
from geoloc_core.features.encoders.loading import check_preprocessing, first_line, load_tokenizer
from geoloc_core.features.encoders.seeded import redraw
from geoloc_core.features.specification import BackboneSpec
from geoloc_core.storage import read_json


class OpenClipEncoder(Encoder):
    """The image tower of an open_clip model: its projected embedding, or its pooled trunk before the projection."""

    def __init__(self, spec: BackboneSpec, path: Path, device: torch.device, _embedder: Encoder | None = None) -> None:
        super().__init__(spec, device)
        from open_clip.model import get_model_preprocess_cfg

        check_pretrained_tag(spec)
        model = load_model(spec, path)
        source = f"the checkpoint of backbone {spec.name!r} in {path}"
        _check_preprocessing(source, spec, get_model_preprocess_cfg(model))
        self.visual = model.visual.to(device)
        if spec.pooling == "trunk":
            self.trunk_width = _drop_projection(self.visual, spec)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """float32 (B, 3, S, S) -> (B, D)."""
        return self.visual(batch)


def check_pretrained_tag(spec: BackboneSpec) -> None:
    """Compare the specification with what open_clip publishes of the weights' tag, before any weight is read.

    OpenAI's weights were trained with QuickGELU; under the plain name ("ViT-L-14") open_clip computes another function.
    """
    if not spec.pretrained:
        return
    import open_clip

    config = open_clip.get_model_config(spec.model_id)
    tag = open_clip.get_pretrained_cfg(spec.model_id, spec.pretrained) if config else {}
    if not config or not tag:
        problem = f"open_clip knows no model {spec.model_id!r} with weights {spec.pretrained!r}"
        raise CheckpointError(f"backbone {spec.name!r}: {problem}; correct model_id and pretrained")
    quick, expected = bool(config.get("quick_gelu")), bool(tag.get("quick_gelu"))
    if quick != expected:
        plain = spec.model_id.removesuffix("-quickgelu")
        names = {True: "QuickGELU", False: "plain GELU"}
        raise CheckpointError(
            f"backbone {spec.name!r}: the weights {spec.pretrained!r} were trained with {names[expected]} and the archi"
            f"tecture {spec.model_id!r} computes {names[quick]}; use model_id: {plain}{'-quickgelu' if expected else ''}"
        )
    source = f"backbone {spec.name!r}: open_clip with the weights {spec.pretrained!r}"
    _check_preprocessing(source, spec, {**tag, "size": None})


def load_model(spec: BackboneSpec, path: Path) -> Any:
    """The whole open_clip model, both towers, in evaluation mode; whatever does not fit is a CheckpointError."""
    import open_clip

    configured = (path / "open_clip_config.json").is_file()
    name = f"local-dir:{path}" if configured else spec.model_id
    (weights,) = weights_files(spec, path)
    try:
        with _warnings_are_errors():
            # By itself the library takes any file that it finds in the folder; it gets the one that was hashed.
            model = open_clip.create_model(name, load_weights=False, pretrained_text=False)
            open_clip.load_checkpoint(model, str(weights), weights_only=True)
    except Exception as error:  # the library raises many kinds for one cause: these files are not that model
        problem = f"cannot be loaded by open_clip: {first_line(error)}; restore it from its source, or correct model_id"
        raise checkpoint_error(spec, path, problem) from error
    if configured:
        _check_architecture(spec, path)
    return model.eval().requires_grad_(False)


@contextmanager
def _warnings_are_errors() -> Iterator[None]:
    """open_clip says what is wrong with a checkpoint by warning and by logging, and goes on; here it stops."""
    messages: list[str] = []

    def collect(record: logging.LogRecord) -> bool:
        ours = "open_clip" in record.pathname
        if ours and record.levelno >= logging.WARNING and "No pretrained weights loaded" not in record.getMessage():
            messages.append(record.getMessage())
        return not ours

    logging.getLogger().addFilter(collect)
    try:
        with warnings.catch_warnings(action="error", category=UserWarning):
            yield
    finally:
        logging.getLogger().removeFilter(collect)
    if messages:
        raise CheckpointError(messages[0])


def _check_architecture(spec: BackboneSpec, path: Path) -> None:
    """A folder brings its own configuration; where the specification names a published one, they must agree."""
    import open_clip

    own = read_json(path / "open_clip_config.json")["model_cfg"]
    published = open_clip.get_model_config(spec.model_id) or own
    for key in ("embed_dim", "quick_gelu", "vision_cfg"):
        if own.get(key, False) != published.get(key, False):
            problem = f"has {key} = {own.get(key)} and open_clip's {spec.model_id} has {published.get(key)}"
            raise checkpoint_error(spec, path, f"{problem}; correct model_id or use the weights it was written for")


def _check_preprocessing(source: str, spec: BackboneSpec, stated: Mapping[str, Any]) -> None:
    """Compare what open_clip states of pictures (its sizes are one number or two) with the specification."""
    size, side = stated.get("size"), spec.input_size
    own = {
        "input_size": (size, size) if isinstance(size, int) else size and tuple(size),
        "resize": stated["resize_mode"],
    }
    own |= {"mean": tuple(stated["mean"]), "std": tuple(stated["std"]), "interpolation": stated["interpolation"]}
    own["resize_size"] = own["input_size"]
    specified = {"input_size": (side, side), "resize_size": (spec.resized_side, spec.resized_side)}
    specified |= {key: getattr(spec, key) for key in ("mean", "std", "interpolation", "resize")}
    check_preprocessing(source, own, specified)


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
    preprocess = {"mean": spec.mean, "std": spec.std, "interpolation": spec.interpolation, "resize_mode": spec.resize}
    described = {"model_cfg": config, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")


def text_tower(spec: BackboneSpec, path: Path, device: torch.device) -> TextTower:
    """The text tower of an open_clip model."""
    import open_clip

    check_pretrained_tag(spec)
    name = f"local-dir:{path}" if path.is_dir() else spec.model_id
    tokenizer = load_tokenizer(spec, path, lambda: open_clip.get_tokenizer(name))
    model = load_model(spec, path).to(device)
    table = model.token_embedding if hasattr(model, "token_embedding") else model.text.token_embedding
    return TextTower(tokenizer, model.encode_text, table.num_embeddings, float(model.logit_scale.exp()))

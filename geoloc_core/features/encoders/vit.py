"""Vision transformers through the transformers library: ViT, DINOv2, and the image tower of CLIP models kept there."""

from functools import partial
from pathlib import Path
from typing import Any

import torch

from geoloc_core.errors import CheckpointError
from geoloc_core.features.encoders.encoder_base import Encoder, TextTower
from geoloc_core.features.encoders.loading import (
    LOCAL,
    check_processor,
    load_config,
    load_pretrained,
    load_tokenizer,
    processor_settings,
    silence_transformers,
)
from geoloc_core.features.encoders.seeded import redraw
from geoloc_core.features.specification import BackboneSpec

CLASSES = {
    ("clip", "image_embeds", "projected"): "CLIPVisionModelWithProjection",
    ("clip", "pooled", "trunk"): "CLIPVisionModel",
    ("siglip", "image_embeds", "projected"): "SiglipVisionModel",
}
"""By kind of model, layer and pooling; all kinds but SigLIP also have the mean or the first of their tokens."""


class TransformersEncoder(Encoder):
    """A vision model of transformers; which of its outputs is the vector is `spec.layer` and `spec.pooling`."""

    def __init__(self, spec: BackboneSpec, path: Path, device: torch.device, _embedder: Encoder | None = None) -> None:
        super().__init__(spec, device)
        import transformers

        check_processor(path, spec)
        config = load_config(path, spec)
        kind = config.model_type
        name = CLASSES.get((kind, spec.layer, spec.pooling))
        if name is None and kind != "siglip" and spec.layer == "last_hidden_state" and spec.pooling in ("cls", "mean"):
            name = "CLIPVisionModel" if kind == "clip" else "AutoModel"
        if name is None:
            offered = [f"{layer} with {pooling}" for known, layer, pooling in CLASSES if known == kind]
            offered += [] if kind == "siglip" else ["last_hidden_state with cls or mean"]
            problem = (
                f"a {kind} model of transformers offers {', '.join(offered)}; not {spec.layer} with {spec.pooling}"
            )
            raise CheckpointError(f"backbone {spec.name!r}: {problem}")
        # ViT's pooler is a tanh layer on top of the last hidden state, which nothing here reads.
        extra: dict[str, Any] = {"add_pooling_layer": False} if kind == "vit" else {}
        if kind in ("clip", "siglip"):
            extra = {"config": config.vision_config}
        if kind == "clip":
            # A whole CLIP keeps the width of its projection beside the image tower's settings, not always among them.
            config.vision_config.projection_dim = config.projection_dim
        if spec.pooling != "projected":
            self.trunk_width = getattr(config, "vision_config", config).hidden_size
        self.model = load_pretrained(getattr(transformers, name), path, spec, **extra).to(device)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """float32 (B, 3, S, S) -> (B, D)."""
        output = self.model(pixel_values=batch)
        if "image_embeds" in output:
            return output.image_embeds
        if self.spec.layer in ("pooled", "image_embeds"):  # SigLIP's pooling head is all the projection that it has
            return output.pooler_output
        tokens = output.last_hidden_state  # (B, T, D)
        return tokens[:, 0] if self.spec.pooling == "cls" else tokens.mean(dim=1)


ENCODER = TransformersEncoder


def write_seeded(spec: BackboneSpec, folder: Path) -> None:
    """Write a model with random weights, as `spec.architecture` describes it, and its image processor."""
    import transformers

    settings: dict[str, Any] = dict(spec.architecture)
    config = transformers.AutoConfig.for_model(settings.pop("model_type"), **settings)
    model = transformers.AutoModel.from_config(config)
    redraw(model, spec.initial_std)
    silence_transformers()
    model.save_pretrained(folder)
    processor = transformers.ViTImageProcessor if spec.resize == "squash" else transformers.CLIPImageProcessor
    processor(**processor_settings(spec)).save_pretrained(folder)


def text_tower(spec: BackboneSpec, path: Path, device: torch.device) -> TextTower:
    """The text tower of a CLIP or SigLIP kept in the layout of transformers."""
    import transformers

    kind = load_config(path, spec).model_type
    if kind not in ("clip", "siglip"):
        problem = f"is a {kind} model, which has no text tower; use a CLIP or SigLIP backbone"
        raise CheckpointError(f"backbone {spec.name!r} {problem}")
    tokenizer = load_tokenizer(spec, path, partial(transformers.AutoTokenizer.from_pretrained, path, **LOCAL))
    model: Any = load_pretrained(transformers.AutoModel, path, spec).to(device)
    settings = model.config.text_config
    # CLIP reads up to the first end-of-text token, so padding changes nothing. SigLIP was trained on sentences padded to
    # its full length, and reads the last token.
    full = {"padding": "max_length", "truncation": True, "max_length": settings.max_position_embeddings}

    def tokenize(sentences: list[str]) -> torch.Tensor:
        return tokenizer(sentences, return_tensors="pt", **full)["input_ids"]

    def encode(tokens: torch.Tensor) -> torch.Tensor:
        return model.get_text_features(input_ids=tokens).pooler_output

    return TextTower(tokenize, encode, settings.vocab_size, float(model.logit_scale.exp()))

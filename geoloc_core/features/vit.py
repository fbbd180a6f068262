"""Vision transformers through the transformers library: ViT, DINOv2, and the image tower of CLIP models kept there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from geoloc_core.errors import CheckpointError
from geoloc_core.features.encoder import Encoder
from geoloc_core.features.transformers_loading import check_processor, load_config, load_pretrained

if TYPE_CHECKING:
    from geoloc_core.features.specification import BackboneSpec


class TransformersEncoder(Encoder):
    """A vision model of transformers; which of its outputs is the vector is `spec.layer` and `spec.pooling`."""

    def __init__(self, spec: BackboneSpec, path: Path, device: torch.device) -> None:
        super().__init__(spec, device)
        import transformers

        if path.is_dir():
            check_processor(path, spec)
        config = load_config(path, spec)
        wanted = (spec.layer, spec.pooling)
        extra: dict[str, Any] = {}
        if config.model_type == "clip":
            # A whole CLIP keeps the width of its projection beside the image tower's settings, not always among them.
            extra = {"config": config.vision_config}
            config.vision_config.projection_dim = config.projection_dim
        if wanted in (("last_hidden_state", "cls"), ("last_hidden_state", "mean")) and config.model_type != "clip":
            # ViT's pooler is a tanh layer on top of the last hidden state, which nothing here reads.
            extra = {"add_pooling_layer": False} if config.model_type == "vit" else {}
            self.model = load_pretrained(transformers.AutoModel, path, spec, **extra)
        elif wanted == ("image_embeds", "projected") and config.model_type == "clip":
            self.model = load_pretrained(transformers.CLIPVisionModelWithProjection, path, spec, **extra)
        elif config.model_type == "clip" and spec.pooling in ("trunk", "cls", "mean"):
            self.model = load_pretrained(transformers.CLIPVisionModel, path, spec, **extra)
        else:
            raise CheckpointError(
                f"backbone {spec.name!r}: a {config.model_type} model of transformers offers last_hidden_state with "
                f"cls or mean, and, if it is a CLIP, image_embeds with projected and pooled with trunk; not {spec.layer} "
                f"with {spec.pooling}"
            )
        self.model.to(device)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """float32 (B, 3, S, S) -> (B, D)."""
        output = self.model(pixel_values=batch)
        if self.spec.layer == "image_embeds":
            return output.image_embeds
        if self.spec.layer == "pooled":
            return output.pooler_output
        tokens = output.last_hidden_state  # (B, T, D)
        return tokens[:, 0] if self.spec.pooling == "cls" else tokens.mean(dim=1)

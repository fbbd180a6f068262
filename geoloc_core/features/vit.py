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
        kind, wanted = config.model_type, (spec.layer, spec.pooling)
        tokens = wanted in (("last_hidden_state", "cls"), ("last_hidden_state", "mean"))
        model_class: Any
        extra: dict[str, Any] = {}
        if kind == "clip" and wanted == ("image_embeds", "projected"):
            model_class = transformers.CLIPVisionModelWithProjection
        elif kind == "clip" and (tokens or wanted == ("pooled", "trunk")):
            model_class = transformers.CLIPVisionModel
        elif kind == "siglip" and wanted == ("image_embeds", "projected"):
            model_class = transformers.SiglipVisionModel
        elif kind not in ("clip", "siglip") and tokens:
            model_class = transformers.AutoModel
        else:
            raise CheckpointError(
                f"backbone {spec.name!r}: a {kind} model of transformers offers last_hidden_state with cls or mean; if "
                "it is a CLIP, also image_embeds with projected and pooled with trunk; if it is a SigLIP, only "
                f"image_embeds with projected; not {spec.layer} with {spec.pooling}"
            )
        if kind == "vit":
            # ViT's pooler is a tanh layer on top of the last hidden state, which nothing here reads.
            extra = {"add_pooling_layer": False}
        if kind in ("clip", "siglip"):
            extra = {"config": config.vision_config}
        if kind == "clip":
            # A whole CLIP keeps the width of its projection beside the image tower's settings, not always among them.
            config.vision_config.projection_dim = config.projection_dim
        self.model = load_pretrained(model_class, path, spec, **extra).to(device)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """float32 (B, 3, S, S) -> (B, D)."""
        output = self.model(pixel_values=batch)
        if "image_embeds" in output:
            return output.image_embeds
        if self.spec.layer in ("pooled", "image_embeds"):  # SigLIP's pooling head is all the projection that it has
            return output.pooler_output
        tokens = output.last_hidden_state  # (B, T, D)
        return tokens[:, 0] if self.spec.pooling == "cls" else tokens.mean(dim=1)

"""Vision transformers through the transformers library: ViT, DINOv2, and the image tower of CLIP models kept there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from geoloc_core.errors import CheckpointError
from geoloc_core.features.encoder import Encoder
from geoloc_core.features.transformers_loading import check_processor, load_pretrained

if TYPE_CHECKING:
    from geoloc_core.features.specification import BackboneSpec


class TransformersEncoder(Encoder):
    """A vision model of transformers; which of its outputs is the vector is `spec.layer` and `spec.pooling`."""

    def __init__(self, spec: BackboneSpec, path: Path, device: torch.device) -> None:
        super().__init__(spec, device)
        import transformers

        if path.is_dir():
            check_processor(path, spec)
        if spec.layer == "last_hidden_state" and spec.pooling in ("cls", "mean"):
            config = _config(path, spec)
            # ViT's pooler is a tanh layer on top of the last hidden state, which nothing here reads.
            extra = {"add_pooling_layer": False} if config.model_type == "vit" else {}
            model_class = transformers.CLIPVisionModel if config.model_type == "clip" else transformers.AutoModel
            self.model = load_pretrained(model_class, path, spec, **extra)
        elif spec.layer == "image_embeds" and spec.pooling == "projected":
            self.model = load_pretrained(transformers.CLIPVisionModelWithProjection, path, spec)
        elif spec.layer == "pooled" and spec.pooling == "trunk":
            self.model = load_pretrained(transformers.CLIPVisionModel, path, spec)
        else:
            raise CheckpointError(
                f"backbone {spec.name!r}: transformers models offer last_hidden_state with cls or mean, image_embeds "
                f"with projected, and pooled with trunk, not {spec.layer} with {spec.pooling}"
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


def _config(path: Path, spec: BackboneSpec) -> Any:
    import transformers

    try:
        return transformers.AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"the checkpoint of backbone {spec.name!r} in {path} has no config.json that transformers understands; "
            "restore it from its source"
        ) from error

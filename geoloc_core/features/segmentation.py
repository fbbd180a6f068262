"""Semantic maps as features: what covers each place of the picture, drawn in ADE20K's colours and read by a ViT.

The segmentation network gives class scores on a grid (a quarter of its input per side); they are brought to the size of
its input, the best class of each pixel is taken, and the map is coloured and embedded as if it were a photo. With
pooling "class_area" the vector is the share of the picture that each class covers, and no second network is needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import interpolate

from geoloc_core.errors import CheckpointError
from geoloc_core.features import preprocessing
from geoloc_core.features.encoder import Encoder
from geoloc_core.features.palette import palette
from geoloc_core.features.transformers_loading import check_processor, load_pretrained

if TYPE_CHECKING:
    from geoloc_core.features.specification import BackboneSpec


class SegmentationEncoder(Encoder):
    """A segmentation network, and the encoder that reads its coloured map (None for class areas)."""

    def __init__(self, spec: BackboneSpec, path: Path, device: torch.device, embedder: Encoder | None) -> None:
        super().__init__(spec, device)
        if (embedder is None) != (spec.pooling == "class_area"):
            raise CheckpointError(
                f"backbone {spec.name!r}: pooling class_area needs no embedder, and every other pooling needs one"
            )
        self.embedder = embedder
        self.network = _load_network(spec, path).to(device)
        self.colours = torch.from_numpy(palette(spec.n_classes)).to(device)

    def class_map(self, batch: torch.Tensor) -> torch.Tensor:
        """float32 (B, 3, S, S) -> class of each pixel, int64 (B, S, S)."""
        scores = self.network(pixel_values=batch).logits  # (B, K, S/4, S/4)
        if scores.shape[1] != self.spec.n_classes:
            raise CheckpointError(
                f"backbone {self.spec.name!r}: the network tells {scores.shape[1]} classes apart and the specification "
                f"says {self.spec.n_classes}; correct n_classes"
            )
        return interpolate(scores, size=batch.shape[-2:], mode="bilinear", align_corners=False).argmax(dim=1)

    def coloured(self, classes: torch.Tensor) -> torch.Tensor:
        """Class map (B, S, S) -> picture, uint8 (B, 3, S, S)."""
        return self.colours[classes].permute(0, 3, 1, 2)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """float32 (B, 3, S, S) -> (B, D)."""
        classes = self.class_map(batch)
        if self.embedder is None:
            return class_areas(classes, self.spec.n_classes)
        pictures = preprocessing.resize_batch(self.coloured(classes), self.embedder.spec)
        return self.embedder.forward(self.embedder.normalize(pictures))


def class_areas(classes: torch.Tensor, n_classes: int) -> torch.Tensor:
    """Class map (B, H, W) -> share of the pixels of each class, float32 (B, n_classes); each row sums to one."""
    batch = classes.shape[0]
    offsets = torch.arange(batch, device=classes.device).view(-1, 1) * n_classes
    counts = torch.bincount((classes.reshape(batch, -1) + offsets).reshape(-1), minlength=batch * n_classes)
    return counts.view(batch, n_classes).to(torch.float32) / classes[0].numel()


def _load_network(spec: BackboneSpec, path: Path) -> torch.nn.Module:
    import transformers

    if path.is_dir():
        check_processor(path, spec)
    return load_pretrained(transformers.AutoModelForSemanticSegmentation, path, spec)

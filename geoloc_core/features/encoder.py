"""What every backbone is once it is loaded: pictures in, vectors out.

`load_encoder` is the one door; which library stands behind it is the specification's matter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from geoloc_core.errors import CheckpointError
from geoloc_core.features import preprocessing
from geoloc_core.features.checkpoints import ensure_checkpoint
from geoloc_core.features.packed_linear import pack_linears

if TYPE_CHECKING:
    from PIL import Image

    from geoloc_core.features.specification import BackboneSpec


class Encoder(ABC):
    """A loaded backbone on a device. Thread-safe: `pixels` may run in a pool beside `encode`."""

    def __init__(self, spec: BackboneSpec, device: torch.device) -> None:
        self.spec = spec
        self.device = device
        self.widest_bytes = 0
        """Bytes of the largest tensor that a module of the network gives for one picture (set by `load_encoder`)."""

    @property
    def dimension(self) -> int:
        """Length D of the vectors."""
        return self.spec.dimension

    def pixels(self, image: Image.Image) -> torch.Tensor:
        """RGB picture -> uint8 (S, S, 3): resized and cropped, not yet normalised."""
        return torch.from_numpy(preprocessing.to_pixels(image, self.spec).copy())

    def normalize(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 (..., S, S, 3) -> float32 (..., 3, S, S), on the tensor's own device."""
        return preprocessing.normalize(pixels, self.spec)

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        """RGB picture -> float32 (3, S, S), just as the model's own library prepares it."""
        return self.normalize(self.pixels(image))

    @torch.inference_mode()
    def encode(self, batch: torch.Tensor) -> torch.Tensor:
        """Preprocessed float32 (B, 3, S, S) -> float32 (B, D), on the encoder's device."""
        side = self.spec.input_size
        if batch.ndim != 4 or tuple(batch.shape[1:]) != (3, side, side):
            raise ValueError(f"{self.spec.name} takes batches (B, 3, {side}, {side}), not {tuple(batch.shape)}")
        batch = batch.to(self.device)
        with self.precision():
            return self.forward(batch).to(torch.float32)

    def precision(self) -> torch.autocast:
        """The context in which the network computes: autocast to bfloat16 where the specification asks for it."""
        reduced = self.spec.dtype == "bfloat16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=reduced)

    @abstractmethod
    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """float32 (B, 3, S, S) on the device -> (B, D)."""


def load_encoder(spec: BackboneSpec, checkpoints: Path | str, device: torch.device | str = "cpu") -> Encoder:
    """Load the backbone of `spec` from the folder `checkpoints` onto `device`.

    Raises CheckpointError when weights are missing, damaged, or do not fit the specification.
    """
    device = torch.device(device)
    checkpoints = Path(checkpoints)
    path = ensure_checkpoint(spec, checkpoints)
    encoder: Encoder
    if spec.library == "open_clip":
        from geoloc_core.features.clip import OpenClipEncoder

        encoder = OpenClipEncoder(spec, path, device)
    elif spec.library == "segmentation":
        from geoloc_core.features.segmentation import SegmentationEncoder

        embedder = None if spec.embedder is None else load_encoder(spec.embedder, checkpoints, device)
        encoder = SegmentationEncoder(spec, path, device, embedder)
    else:
        from geoloc_core.features.vit import TransformersEncoder

        encoder = TransformersEncoder(spec, path, device)
    if device.type == "cpu" and spec.dtype == "float32":
        for part in vars(encoder).values():
            if isinstance(part, torch.nn.Module):
                pack_linears(part)
    _try_out(encoder, path)
    return encoder


def _try_out(encoder: Encoder, path: Path) -> None:
    """One grey image through the network: a wrong dimension is found here, not after an hour of decoding."""
    spec = encoder.spec
    grey = torch.full((1, spec.input_size, spec.input_size, 3), 128, dtype=torch.uint8)

    def measure(_module: torch.nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, torch.Tensor):
            encoder.widest_bytes = max(encoder.widest_bytes, output.nbytes)

    measuring = torch.nn.modules.module.register_module_forward_hook(measure)
    try:
        vector = encoder.encode(encoder.normalize(grey))
    finally:
        measuring.remove()
    if tuple(vector.shape) != (1, spec.dimension):
        raise CheckpointError(
            f"the checkpoint of backbone {spec.name!r} in {path} gives vectors of {vector.shape[-1]} numbers and the "
            f"specification says {spec.dimension}; set dimension: {vector.shape[-1]} or use the weights that it names"
        )
    if not torch.isfinite(vector).all():
        raise CheckpointError(
            f"the checkpoint of backbone {spec.name!r} in {path} gives vectors that are not finite: its weights are "
            "damaged; restore it from its source"
        )

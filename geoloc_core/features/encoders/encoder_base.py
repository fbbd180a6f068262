"""What every loaded backbone is, whichever library runs it: pictures in, vectors out."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from PIL import Image

from geoloc_core.features import preprocessing
from geoloc_core.features.specification import BackboneSpec


class Encoder(ABC):
    """A loaded backbone on a device.

    widest_bytes: size of the largest tensor that a module of the network returns for one picture (set by `load_encoder`).
    trunk_width: the width of the model before any projection as its library states it; 0 if the vector is projected.
    """

    def __init__(self, spec: BackboneSpec, device: torch.device) -> None:
        self.spec = spec
        self.device = device
        self.widest_bytes = 0
        self.trunk_width = 0

    def normalize(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 (..., S, S, 3) -> float32 (..., 3, S, S), on the tensor's own device."""
        return preprocessing.normalize(pixels, self.spec)

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        """RGB picture -> float32 (3, S, S), exactly as the model's own library prepares it."""
        return self.normalize(torch.from_numpy(preprocessing.to_pixels(image, self.spec).copy()))

    @torch.inference_mode()
    def encode(self, batch: torch.Tensor) -> torch.Tensor:
        """Preprocessed float32 (B, 3, S, S) -> float32 (B, D), on the encoder's device."""
        side = self.spec.input_size
        if batch.ndim != 4 or tuple(batch.shape[1:]) != (3, side, side):
            raise ValueError(f"{self.spec.name} takes batches (B, 3, {side}, {side}), not {tuple(batch.shape)}")
        with self.precision():
            return self.forward(batch.to(self.device)).to(torch.float32)

    def precision(self) -> torch.autocast:
        """The context in which the network computes: autocast to bfloat16 where the specification asks for it."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.spec.dtype == "bfloat16")

    @abstractmethod
    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """float32 (B, 3, S, S) on the device -> (B, D)."""


@dataclass(frozen=True)
class TextTower:
    """The half of a CLIP or SigLIP that reads text.

    tokenize: sentences -> token ids, int64 (n, T). encode: token ids -> (n, D). vocabulary: how many tokens it knows.
    """

    tokenize: Callable[[list[str]], torch.Tensor]
    encode: Callable[[torch.Tensor], torch.Tensor]
    vocabulary: int
    logit_scale: float

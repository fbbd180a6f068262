"""From a picture to the numbers that a network expects, as the network's own library does it.

What torchvision decoded it also resizes, what Pillow decoded Pillow does, as for the published models' training; both filter
alike and differ by a rounding. A picture stays uint8 until it is on the device and is normalised there: a quarter of the
bytes to carry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    import torch

    from geoloc_core.features.specification import BackboneSpec

RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def resized_size(width: int, height: int, spec: BackboneSpec) -> tuple[int, int]:
    """(width, height) after `spec.resize`. The long side is truncated, as torchvision and transformers do."""
    side = spec.resized_side
    if spec.resize == "squash":
        return side, side
    if width <= height:
        return side, int(side * height / width)
    return int(side * width / height), side


def crop_offset(margin: int, rule: str) -> int:
    """How many pixels of a `margin` (>= 0) lie before the central crop, by the `rule` of the specification's `crop`."""
    return round(margin / 2.0) if rule == "center_round" else margin // 2


def to_pixels(image: Image.Image | np.ndarray, spec: BackboneSpec) -> np.ndarray:
    """Resize and crop `image` (RGB, or uint8 (H, W, 3)) to uint8 (S, S, 3) with S = `spec.input_size`."""
    if isinstance(image, np.ndarray):
        import torch

        return resize_batch(torch.from_numpy(image)[None], spec)[0].numpy()
    if image.mode != "RGB":
        raise ValueError(f"preprocessing takes RGB pictures, not {image.mode}; open them with photos.images.load_image")
    width, height = resized_size(*image.size, spec)
    if image.size != (width, height):
        image = image.resize((width, height), RESAMPLING[spec.interpolation])
    left, top = crop_offset(width - spec.input_size, spec.crop), crop_offset(height - spec.input_size, spec.crop)
    return np.asarray(image.crop((left, top, left + spec.input_size, top + spec.input_size)))


def normalize(pixels: torch.Tensor, spec: BackboneSpec) -> torch.Tensor:
    """uint8 (..., S, S, 3) -> float32 (..., 3, S, S): (value / 255 - mean) / std, on the tensor's own device."""
    import torch

    planes = pixels.movedim(-1, -3).to(torch.float32, memory_format=torch.contiguous_format)
    mean = torch.tensor(spec.mean, dtype=torch.float32, device=pixels.device).view(3, 1, 1)
    std = torch.tensor(spec.std, dtype=torch.float32, device=pixels.device).view(3, 1, 1)
    return planes.div_(255.0).sub_(mean).div_(std)


def resize_batch(pictures: torch.Tensor, spec: BackboneSpec) -> torch.Tensor:
    """uint8 (B, H, W, 3) -> uint8 (B, S, S, 3): what `to_pixels` does, for pictures that are already on the device."""
    from torchvision.transforms.v2 import functional

    height, width = pictures.shape[1:3]
    new_width, new_height = resized_size(width, height, spec)
    planes = pictures.movedim(-1, 1)
    if (new_height, new_width) != (height, width):
        mode = {"bilinear": functional.InterpolationMode.BILINEAR, "bicubic": functional.InterpolationMode.BICUBIC}
        planes = functional.resize(planes, [new_height, new_width], mode[spec.interpolation], antialias=True)
    top, left = (
        crop_offset(new_height - spec.input_size, spec.crop),
        crop_offset(new_width - spec.input_size, spec.crop),
    )
    planes = planes[..., top : top + spec.input_size, left : left + spec.input_size]
    return planes.movedim(1, -1)

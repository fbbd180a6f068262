"""Pictures into batches of pixels: a pool of threads that decodes, and a bound on what it decodes ahead.

The libraries release the interpreter while they decode and resize, so threads use all processors. At most `ahead` batches
wait, so that memory does not grow with the number of pictures.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision import io

from geoloc_core.features.preprocessing import to_pixels
from geoloc_core.features.specification import BackboneSpec
from geoloc_core.photos.images import ImageLimits, RefusedImage, load_image, load_pixels, read_image_bytes

OK = "ok"
CHANGED = "changed_file"
"""The reason when a picture's bytes are not those that its manifest describes."""


@dataclass(frozen=True)
class ImageItem:
    """A photo to embed: its file, or its bytes.

    sha256: of those bytes, "" if unknown. refused: why it is known to be unusable, or ""; such a picture is not opened.
    """

    photo_id: str
    path: Path | bytes
    sha256: str = ""
    refused: str = ""


@dataclass(frozen=True)
class DecodedBatch:
    """Pictures `start` to `start + len(reasons)`; where `reasons[i]` is not "ok", the pixels of row i are black.

    `pixels[name]` is uint8 (batch size, S, S, 3): the last batch is filled up with black, so that all have one shape.
    """

    start: int
    reasons: list[str]
    pixels: dict[str, np.ndarray]


def decode_jpeg(content: bytes, device: str = "cpu") -> np.ndarray | None:
    """A JPEG as uint8 (H, W, 3), by torchvision's libjpeg-turbo or, on "cuda", nvJPEG; None for what it cannot read."""
    data = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    try:
        return io.decode_jpeg(data, io.ImageReadMode.RGB, device).permute(1, 2, 0).cpu().numpy()
    except RuntimeError:
        return None


def decode(content: bytes, spec: BackboneSpec, limits: ImageLimits) -> np.ndarray | Image.Image:
    """A picture as `spec.decode` reads it, 8-bit RGB and upright. Raises RefusedImage."""
    if spec.decode == "draft":
        return load_image(content, limits, spec.decoded_side)
    return load_pixels(content, limits, partial(decode_jpeg, device="cuda" if spec.decode == "nvjpeg" else "cpu"))


def decode_into(
    item: ImageItem, specs: Mapping[str, BackboneSpec], limits: ImageLimits, pixels: Mapping[str, np.ndarray], row: int
) -> str:
    """Decode one picture and write its pixels for every backbone into `pixels[name][row]`; "ok", or the reason.

    Only backbones that use the same decode share it, so that no vector depends on which others run beside it.
    """
    decoded: dict[tuple[str, int], np.ndarray | Image.Image] = {}
    try:
        content = _content(item, limits)
        for name, spec in specs.items():
            way = (spec.decode, spec.decoded_side)
            if way not in decoded:
                decoded[way] = decode(content, spec, limits)
            pixels[name][row] = to_pixels(decoded[way], spec)
    except RefusedImage as refusal:
        for array in pixels.values():
            array[row] = 0
        return refusal.reason
    return OK


def _content(item: ImageItem, limits: ImageLimits) -> bytes:
    """The bytes of a picture, which must have the hash that the item states."""
    if item.refused:
        raise RefusedImage(item.refused, f"{item.photo_id} was refused before")
    content = read_image_bytes(item.path, limits)
    if item.sha256 and hashlib.sha256(content).hexdigest() != item.sha256:
        raise RefusedImage(CHANGED, f"the picture of {item.photo_id} does not have the hash of its manifest")
    return content


def decoded_batches(
    items: Sequence[ImageItem],
    specs: Mapping[str, BackboneSpec],
    limits: ImageLimits,
    batch_size: int,
    *,
    workers: int = 0,
    ahead: int = 0,
) -> Iterator[DecodedBatch]:
    """Yield all of `items` in order, `batch_size` at a time, while up to `ahead` further batches are being decoded.

    `workers` threads decode (0: one for each processor). With `ahead` = 0 nothing is decoded while the consumer works.
    """
    pool = ThreadPoolExecutor(workers or os.cpu_count() or 1, thread_name_prefix="decode")
    decoding: deque[tuple[int, list[Future[str]], dict[str, np.ndarray]]] = deque()

    def oldest() -> DecodedBatch:
        start, futures, pixels = decoding.popleft()
        return DecodedBatch(start, [future.result() for future in futures], pixels)

    try:
        for start in range(0, len(items), batch_size):
            sides = {name: spec.input_size for name, spec in specs.items()}
            pixels = {name: np.zeros((batch_size, side, side, 3), np.uint8) for name, side in sides.items()}
            batch = items[start : start + batch_size]
            futures = [pool.submit(decode_into, item, specs, limits, pixels, row) for row, item in enumerate(batch)]
            decoding.append((start, futures, pixels))
            if len(decoding) > ahead:
                yield oldest()
        while decoding:
            yield oldest()
    finally:
        pool.shutdown(cancel_futures=True)

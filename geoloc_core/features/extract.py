"""The engine: a list of image files and some encoders in, one block of vectors per encoder out.

Each picture is decoded once, however many encoders ask for it, in a pool of threads beside the forward pass (Pillow
lets go of the interpreter while it decodes and resizes). A picture that cannot be opened keeps its row, with the reason
and without a vector.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from geoloc_core.features.encoder import Encoder
from geoloc_core.progress import bar

if TYPE_CHECKING:
    from geoloc_core.photos.images import ImageLimits

OK = "ok"
NOT_FINITE = "vector_not_finite"


@dataclass(frozen=True)
class ImageItem:
    """A photo to embed: where its file lies, or the file's bytes."""

    photo_id: str
    path: Path | bytes


@dataclass(frozen=True)
class EmbeddingBlock:
    """Vectors of one backbone: `vectors[i]`, float16 (n, D), belongs to `photo_ids[i]`.

    `status[i]` is "ok", or the reason why there is no vector; such a row of `vectors` is NaN, never zeros.
    """

    photo_ids: list[str]
    vectors: np.ndarray
    status: list[str]

    @property
    def ok(self) -> np.ndarray:
        """(n,) bool: which rows have a vector."""
        return np.array([reason == OK for reason in self.status], dtype=bool)


@dataclass
class _Opened:
    pixels: dict[str, torch.Tensor]
    reason: str


def embed_images(
    items: Sequence[ImageItem],
    encoders: Mapping[str, Encoder],
    limits: ImageLimits,
    batch_size: int = 32,
    workers: int | None = None,
    what: str = "embedding",
) -> dict[str, EmbeddingBlock]:
    """Embed `items` with every encoder of `encoders`; one block per encoder, rows in the order of `items`."""
    vectors = {name: np.full((len(items), encoder.dimension), np.nan, np.float16) for name, encoder in encoders.items()}
    status = {name: [OK] * len(items) for name in encoders}
    with bar(what, total=len(items), unit="img") as progress:
        for start, opened in _opened_batches(items, encoders, limits, batch_size, workers):
            for name, encoder in encoders.items():
                rows = [start + offset for offset, picture in enumerate(opened) if picture.reason == OK]
                for offset, picture in enumerate(opened):
                    status[name][start + offset] = picture.reason
                if not rows:
                    continue
                batch = torch.stack([picture.pixels[name] for picture in opened if picture.reason == OK])
                result = encoder.encode(encoder.normalize(batch.to(encoder.device))).cpu().numpy().astype(np.float16)
                for row, vector in zip(rows, result, strict=True):
                    if np.isfinite(vector).all():
                        vectors[name][row] = vector
                    else:
                        status[name][row] = NOT_FINITE
            progress.update(len(opened))
    ids = [item.photo_id for item in items]
    return {name: EmbeddingBlock(ids, vectors[name], status[name]) for name in encoders}


def _opened_batches(
    items: Sequence[ImageItem],
    encoders: Mapping[str, Encoder],
    limits: ImageLimits,
    batch_size: int,
    workers: int | None,
) -> Iterator[tuple[int, list[_Opened]]]:
    """Yield (row of the first, pictures of one batch), a few batches ahead of whoever consumes them."""
    ahead = 3 * batch_size
    pending: deque[Future[_Opened]] = deque()
    with ThreadPoolExecutor(workers or os.cpu_count() or 1, thread_name_prefix="decode") as pool:
        submitted = 0
        for start in range(0, len(items), batch_size):
            while submitted < min(len(items), start + batch_size + ahead):
                pending.append(pool.submit(_open, items[submitted], encoders, limits))
                submitted += 1
            size = min(batch_size, len(items) - start)
            yield start, [pending.popleft().result() for _ in range(size)]


def _open(item: ImageItem, encoders: Mapping[str, Encoder], limits: ImageLimits) -> _Opened:
    from geoloc_core.photos.images import RefusedImage, load_image

    try:
        image = load_image(item.path, limits)
    except RefusedImage as refusal:
        return _Opened({}, refusal.reason)
    return _Opened({name: encoder.pixels(image) for name, encoder in encoders.items()}, OK)

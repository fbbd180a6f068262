"""Pictures and encoders in, vectors out; no project, no shard, no file is needed.

Each picture is decoded once for all encoders and sent through the networks in batches: on a GPU while the next are decoded,
on a CPU in turns with decoding. A picture that cannot be opened keeps its row, with the reason and without a vector: it goes
through the network as a black square, so that no vector depends on what else is in the batch.

    encoder = load_encoder(backbone("clip-b-32"), "checkpoints")
    block = embed_images([ImageItem("a", Path("a.jpg"))], {"clip": encoder})["clip"]
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from geoloc_core.features.decoding import OK, DecodedBatch, ImageItem, decoded_batches
from geoloc_core.features.encoders.encoder_base import Encoder
from geoloc_core.photos.images import ImageLimits
from geoloc_core.progress import bar

NOT_FINITE = "vector_not_finite"
BATCHES_AHEAD = 3
"""How many batches are decoded beside a GPU before they are needed."""

CPU_BATCH = (17_000_000, 32)
GPU_BATCH = (2 << 30, 256)
"""Bytes of the widest tensor of a batch, and most pictures: on a CPU the tensor should stay in the cache (beyond it a
ViT-B/16 loses a tenth of its rate, docs/performance.md), on a GPU be a small part of the memory."""


@dataclass(frozen=True)
class EmbeddingBlock:
    """Vectors of one backbone, float16 (n, D), row by row with `photo_ids`.

    status: "ok", or why there is no vector; such a row is NaN, never zeros. image_sha256: of the file, "" if unknown.
    """

    photo_ids: list[str]
    vectors: np.ndarray
    status: list[str]
    image_sha256: list[str] = field(default_factory=list)

    @property
    def ok(self) -> np.ndarray:
        """(n,) bool: which rows have a vector."""
        return np.array([reason == OK for reason in self.status], dtype=bool)


@dataclass(frozen=True)
class EmbeddedBatch:
    """Rows `start` and following: for each encoder, vectors float16 (b, D), NaN where its status is not "ok"."""

    start: int
    vectors: dict[str, np.ndarray]
    status: dict[str, list[str]]


def embed_images(
    items: Sequence[ImageItem],
    encoders: Mapping[str, Encoder],
    limits: ImageLimits | None = None,
    batch_size: int = 0,
    workers: int = 0,
    what: str = "embedding",
) -> dict[str, EmbeddingBlock]:
    """Embed `items` with every encoder, in memory: one block per encoder, rows in the order of `items`.

    batch_size: pictures at once; 0 chooses it. workers: threads that decode; 0 is one for each processor.
    """
    vectors = {name: np.empty((len(items), encoder.spec.dimension), np.float16) for name, encoder in encoders.items()}
    status: dict[str, list[str]] = {name: [] for name in encoders}
    with bar(what, total=len(items), unit="img") as progress:
        for batch in embed_batches(items, encoders, limits or ImageLimits(), batch_size, workers):
            for name in encoders:
                rows = batch.vectors[name]
                vectors[name][batch.start : batch.start + len(rows)] = rows
                status[name] += batch.status[name]
            progress.update(len(rows))
    ids, hashes = [item.photo_id for item in items], [item.sha256 for item in items]
    return {name: EmbeddingBlock(ids, vectors[name], status[name], hashes) for name in encoders}


def embed_batches(
    items: Sequence[ImageItem],
    encoders: Mapping[str, Encoder],
    limits: ImageLimits,
    batch_size: int = 0,
    workers: int = 0,
) -> Iterator[EmbeddedBatch]:
    """Embed `items` in order, a batch at a time; memory does not depend on how many there are."""
    batch_size = batch_size or min(choose_batch_size(encoders), max(len(items), 1))
    on_gpu = any(encoder.device.type == "cuda" for encoder in encoders.values())
    specs = {name: encoder.spec for name, encoder in encoders.items()}
    running: deque[tuple[DecodedBatch, dict[str, Callable[[], np.ndarray]]]] = deque()
    ahead = BATCHES_AHEAD if on_gpu else 0
    for batch in decoded_batches(items, specs, limits, batch_size, workers=workers, ahead=ahead):
        running.append((batch, {name: _started(encoder, batch.pixels[name]) for name, encoder in encoders.items()}))
        if len(running) > on_gpu:  # on a GPU one batch stays in its queue while the next is prepared
            yield _finished(*running.popleft())
    for last in running:
        yield _finished(*last)


def _started(encoder: Encoder, pixels: np.ndarray) -> Callable[[], np.ndarray]:
    """Send a batch to the encoder's device, which may compute it later; the call that waits for float16 (B, D)."""
    batch = torch.from_numpy(pixels)
    on_gpu = encoder.device.type == "cuda"
    if on_gpu:
        batch = batch.pin_memory().to(encoder.device, non_blocking=True)
    on_host = encoder.encode(encoder.normalize(batch)).to("cpu", non_blocking=True)
    ready = torch.cuda.current_stream(encoder.device).record_event() if on_gpu else None

    def wait() -> np.ndarray:
        if ready is not None:
            ready.synchronize()
        # Beyond float16's range a number becomes infinite here; such rows are refused in `_finished`.
        with np.errstate(over="ignore"):
            return on_host.numpy().astype(np.float16)

    return wait


def _finished(batch: DecodedBatch, running: Mapping[str, Callable[[], np.ndarray]]) -> EmbeddedBatch:
    vectors, status = {}, {}
    for name, wait in running.items():
        rows = wait()[: len(batch.reasons)]
        pairs = zip(batch.reasons, np.isfinite(rows).all(axis=1), strict=True)
        status[name] = [reason if reason != OK or finite else NOT_FINITE for reason, finite in pairs]
        rows[[reason != OK for reason in status[name]]] = np.nan
        vectors[name] = rows
    return EmbeddedBatch(batch.start, vectors, status)


def choose_batch_size(encoders: Mapping[str, Encoder]) -> int:
    """How many pictures to embed at once: the power of two that suits the encoder with the widest tensors."""
    widest = max(encoder.widest_bytes for encoder in encoders.values())
    room, largest = GPU_BATCH if any(encoder.device.type == "cuda" for encoder in encoders.values()) else CPU_BATCH
    return 2 ** max(1, min(largest, room // max(widest, 1)).bit_length() - 1)

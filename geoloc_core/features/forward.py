"""The network's side of the engine: bytes of a batch to the device, vectors back, and how large a batch may be.

On a GPU the next batch is on its way while the last one is computed: pixels go through pinned memory, vectors come back
into pinned memory, and nobody waits for the device before there is more work in its queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from geoloc_core.features.encoder import Encoder

CPU_BATCH_BYTES = 17_000_000
"""On a CPU the widest tensor of a batch should stay in the cache, of which servers have 32 MiB and more: beyond that a
ViT-B/16 loses a tenth of its rate, while its matrices are large enough from four pictures on (docs/performance.md)."""

CPU_BATCHES = (32, 16, 8, 4, 2)

GPU_BATCHES = (64, 128, 256, 512, 1024)
WORTH_DOUBLING = 1.03
"""A batch twice as large must bring three per cent more images a second."""


@dataclass
class PendingVectors:
    """Vectors that a device may still be computing; `wait()` gives float16 (B, D)."""

    on_host: torch.Tensor
    ready: torch.cuda.Event | None = None
    held: tuple[torch.Tensor, ...] = ()

    def wait(self) -> np.ndarray:
        """Block until they are there."""
        if self.ready is not None:
            self.ready.synchronize()
        # Beyond float16's range a number becomes infinite here, which its reader refuses row by row.
        return self.on_host.numpy().astype(np.float16)


def start_forward(encoder: Encoder, pixels: np.ndarray) -> PendingVectors:
    """Begin to embed uint8 (B, S, S, 3). The buffer `pixels` may be reused as soon as this returns."""
    if encoder.device.type != "cuda":
        return PendingVectors(encoder.encode(encoder.normalize(torch.from_numpy(pixels))))
    staged = torch.empty(pixels.shape, dtype=torch.uint8, pin_memory=True)
    staged.numpy()[...] = pixels
    vectors = encoder.encode(encoder.normalize(staged.to(encoder.device, non_blocking=True)))
    on_host = torch.empty(vectors.shape, dtype=vectors.dtype, pin_memory=True)
    on_host.copy_(vectors, non_blocking=True)
    ready = torch.cuda.Event()
    ready.record()
    return PendingVectors(on_host, ready, held=(staged, vectors))


def find_batch_size(encoders: Mapping[str, Encoder], pictures: int = 2**62) -> int:
    """How many of `pictures` to embed at once.

    On a CPU a matter of the network's shape alone. On a GPU the batch is doubled as long as it fits into memory and
    brings more images a second, measured with grey pictures. All encoders of a run share one size, the smallest that
    suits any of them. For fewer pictures than a GPU's smallest batch nothing is measured.
    """
    if pictures <= GPU_BATCHES[0] and all(encoder.device.type == "cuda" for encoder in encoders.values()):
        return max(1, pictures)
    best = min(
        _best_on_gpu(encoder) if encoder.device.type == "cuda" else _best_on_cpu(encoder.widest_bytes)
        for encoder in encoders.values()
    )
    return max(1, min(best, pictures))


def _best_on_cpu(widest_bytes: int) -> int:
    return next((size for size in CPU_BATCHES if size * widest_bytes <= CPU_BATCH_BYTES), CPU_BATCHES[-1])


def _best_on_gpu(encoder: Encoder) -> int:
    best, best_rate = GPU_BATCHES[0], 0.0
    for size in GPU_BATCHES:
        try:
            rate = _rate_on_gpu(encoder, size)
        except torch.cuda.OutOfMemoryError:
            break
        finally:
            torch.cuda.empty_cache()
        if rate < best_rate * WORTH_DOUBLING:
            break
        best, best_rate = size, rate
    return best


def _rate_on_gpu(encoder: Encoder, size: int, times: int = 3) -> float:
    """Images a second, after one warm-up batch."""
    side = encoder.spec.input_size
    batch = torch.full((size, side, side, 3), 128, dtype=torch.uint8, device=encoder.device)
    encoder.encode(encoder.normalize(batch))
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    for _ in range(times):
        encoder.encode(encoder.normalize(batch))
    end.record()
    end.synchronize()
    return 1000.0 * size * times / begin.elapsed_time(end)

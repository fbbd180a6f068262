"""The engine: image files and encoders in, vectors out.

Bytes are decoded once, however many encoders ask for the picture, resized for each, batched, sent through the networks
(on a GPU beside the decoding of the next ones, on a CPU in turns with it), and come out as float16. A picture that
cannot be opened keeps its row, with the reason and without a vector: it goes through the network as a black square, so
that every batch has the same shape and nobody's vector depends on who else is in the batch, and what comes out for it is
thrown away.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from geoloc_core.features.decoding import OK as OK
from geoloc_core.features.decoding import PROCESSES_FROM, decoded_batches
from geoloc_core.features.decoding import ImageItem as ImageItem
from geoloc_core.features.forward import PendingVectors, find_batch_size, start_forward
from geoloc_core.progress import bar

if TYPE_CHECKING:
    from geoloc_core.features.encoder import Encoder
    from geoloc_core.photos.images import ImageLimits

NOT_FINITE = "vector_not_finite"
BATCHES_AHEAD = 3
"""How many batches are decoded beside a GPU before they are needed."""


@dataclass(frozen=True)
class EngineOptions:
    """How fast, not what: nothing here is part of a vector's identity.

    batch_size: pictures at once; 0 finds it. workers: how many decode; 0 is one for each processor.
    decode_in: "threads", "processes", or "auto" (processes for a GPU and many pictures).
    """

    batch_size: int = 0
    workers: int = 0
    decode_in: str = "auto"


@dataclass(frozen=True)
class EmbeddingBlock:
    """Vectors of one backbone: `vectors[i]`, float16 (n, D), belongs to `photo_ids[i]`.

    `status[i]` is "ok", or the reason why there is no vector; such a row of `vectors` is NaN, never zeros.
    `image_sha256[i]` is the hash of the picture's file, "" where it is not known.
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


def embed_batches(
    items: Sequence[ImageItem], encoders: Mapping[str, Encoder], limits: ImageLimits, options: EngineOptions
) -> Iterator[EmbeddedBatch]:
    """Embed `items` in order, a batch at a time; memory does not depend on how many there are."""
    batch_size = options.batch_size or find_batch_size(encoders, len(items))
    on_gpu = any(encoder.device.type == "cuda" for encoder in encoders.values())
    processes = options.decode_in == "processes" or (
        options.decode_in == "auto" and on_gpu and len(items) >= PROCESSES_FROM
    )
    specs = {name: encoder.spec for name, encoder in encoders.items()}
    started: deque[tuple[int, list[str], dict[str, PendingVectors]]] = deque()
    ahead = BATCHES_AHEAD if on_gpu else 0
    for batch in decoded_batches(
        items, specs, limits, batch_size, workers=options.workers, processes=processes, ahead=ahead
    ):
        pending = {name: start_forward(encoder, batch.pixels[name]) for name, encoder in encoders.items()}
        started.append((batch.start, batch.reasons, pending))
        if len(started) > on_gpu:  # on a GPU one batch stays in its queue while the next is prepared
            yield _finished(*started.popleft())
    while started:
        yield _finished(*started.popleft())


def embed_images(
    items: Sequence[ImageItem],
    encoders: Mapping[str, Encoder],
    limits: ImageLimits,
    batch_size: int = 0,
    workers: int = 0,
    what: str = "embedding",
) -> dict[str, EmbeddingBlock]:
    """Embed `items` with every encoder of `encoders`, in memory; one block per encoder, rows in the order of `items`."""
    vectors = {name: np.empty((len(items), encoder.dimension), np.float16) for name, encoder in encoders.items()}
    status: dict[str, list[str]] = {name: [] for name in encoders}
    with bar(what, total=len(items), unit="img") as progress:
        for batch in embed_batches(items, encoders, limits, EngineOptions(batch_size, workers)):
            for name in encoders:
                rows = batch.vectors[name]
                vectors[name][batch.start : batch.start + len(rows)] = rows
                status[name] += batch.status[name]
            progress.update(len(rows))
    ids, hashes = [item.photo_id for item in items], [item.sha256 for item in items]
    return {name: EmbeddingBlock(ids, vectors[name], status[name], hashes) for name in encoders}


def _finished(start: int, reasons: list[str], pending: Mapping[str, PendingVectors]) -> EmbeddedBatch:
    vectors, status = {}, {}
    for name, one in pending.items():
        rows = one.wait()[: len(reasons)]
        finite = np.isfinite(rows).all(axis=1)
        status[name] = [
            NOT_FINITE if reason == OK and not good else reason for reason, good in zip(reasons, finite, strict=True)
        ]
        rows[[reason != OK for reason in status[name]]] = np.nan
        vectors[name] = rows
    return EmbeddedBatch(start, vectors, status)

"""Pictures into batches: a pool that decodes ahead of the network, into buffers that are filled over and over.

There are a few buffers of one batch each, and no more: whoever consumes batches slower than they are decoded makes the
pool wait, and memory does not grow with the number of pictures. Threads serve a CPU (Pillow lets go of the interpreter
while it decodes and resizes). A GPU eats more pictures than one interpreter can hand out, so there the pool is of
processes, which write into memory shared with this one.

Beside a GPU batches are decoded ahead. On a CPU the network needs the same processors, and its threads meet after each
matrix: one that shares its processor with a decoder keeps all others waiting. So there decoding and network take turns,
each with all processors, and only the files of the next batch are read ahead, which costs no processor.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from geoloc_core.features.preprocessing import to_pixels

if TYPE_CHECKING:
    from PIL import Image

    from geoloc_core.features.specification import BackboneSpec
    from geoloc_core.photos.images import ImageLimits

OK = "ok"
CHANGED = "changed_file"
"""Why a picture has no vector whose bytes are not those that its manifest describes."""

PROCESSES_FROM = 2000
"""With fewer pictures than this, starting processes takes longer than they save."""


@dataclass(frozen=True)
class ImageItem:
    """A photo to embed.

    path: the file, or its bytes. sha256: of those bytes, "" where it is not known; with it, a picture that was replaced
    under the same id is noticed. refused: why it is known to be unusable, "" where it is not; it is not opened then.
    """

    photo_id: str
    path: Path | bytes
    sha256: str = ""
    refused: str = ""


@dataclass(frozen=True)
class DecodedBatch:
    """Pictures `start` to `start + len(reasons)`; where `reasons[i]` is not "ok", the pixels of row i are black.

    `pixels[name]` is uint8 (B, S, S, 3) in a buffer that is filled anew once the next batch is asked for.
    """

    start: int
    reasons: list[str]
    pixels: dict[str, np.ndarray]


def decode_into(
    item: ImageItem,
    specs: Mapping[str, BackboneSpec],
    limits: ImageLimits,
    buffers: Mapping[str, np.ndarray],
    row: int,
) -> str:
    """Decode one picture, write its pixels for every backbone into `buffers[name][row]`; "ok", or the reason.

    Backbones that want the same decode share it; one that wants a reduced picture never gets another's, for its vectors
    must not depend on whom it shares a run with.
    """
    from geoloc_core.photos.images import RefusedImage, load_image

    opened: dict[int, Image.Image] = {}
    try:
        content = _content(item, limits)
        for name, spec in specs.items():
            side = spec.decoded_side
            if side not in opened:
                opened[side] = load_image(content, limits, side)
            buffers[name][row] = to_pixels(opened[side], spec)
    except RefusedImage as refusal:
        for buffer in buffers.values():
            buffer[row] = 0
        return refusal.reason
    return OK


def _content(item: ImageItem, limits: ImageLimits) -> bytes:
    """The bytes of a picture, which must be those that its hash names."""
    from geoloc_core.photos.images import RefusedImage, read_image_bytes

    if item.refused:
        raise RefusedImage(item.refused, f"{item.photo_id} was refused before")
    content = read_image_bytes(item.path, limits)
    if item.sha256 and hashlib.sha256(content).hexdigest() != item.sha256:
        raise RefusedImage(CHANGED, f"the picture of {item.photo_id} is not the one that its hash names")
    return content


def decoded_batches(
    items: Sequence[ImageItem],
    specs: Mapping[str, BackboneSpec],
    limits: ImageLimits,
    batch_size: int,
    *,
    workers: int = 0,
    processes: bool = False,
    ahead: int = 3,
) -> Iterator[DecodedBatch]:
    """Yield all of `items` in order, `batch_size` at a time, decoding `ahead` batches before they are asked for.

    With `ahead` = 0 a batch is decoded when it is asked for, while nobody waits for anything else.
    """
    workers = workers or os.cpu_count() or 1
    if not items:
        return
    shapes = {name: (batch_size, spec.input_size, spec.input_size, 3) for name, spec in specs.items()}
    with contextlib.ExitStack() as stack:
        pool, buffers = (_process_pool if processes else _thread_pool)(stack, workers, specs, limits, shapes, ahead + 1)
        free = deque(range(len(buffers)))
        waiting: deque[tuple[int, int, list[Future[str]]]] = deque()
        starts = iter(range(0, len(items), batch_size))
        try:
            while True:
                while free:
                    start = next(starts, None)
                    if start is None:
                        break
                    slot = free.popleft()
                    some = items[start : start + batch_size]
                    waiting.append((start, slot, [pool(slot, row, item) for row, item in enumerate(some)]))
                if not waiting:
                    return
                start, slot, futures = waiting.popleft()
                reasons = [future.result() for future in futures]
                if not ahead:
                    _read_ahead(items[start + batch_size : start + 2 * batch_size])
                yield DecodedBatch(start, reasons, buffers[slot])
                free.append(slot)
        finally:
            for _, _, futures in waiting:
                for future in futures:
                    future.cancel()


def _read_ahead(items: Sequence[ImageItem]) -> None:
    """Ask the system to have the bytes of these files ready soon."""
    if not hasattr(os, "posix_fadvise"):
        return
    for item in items:
        if isinstance(item.path, Path) and item.path.is_file():
            with contextlib.suppress(OSError), item.path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)


class _Submit:
    """How one picture is handed to the pool: `submit(slot, row, item)` gives a future of "ok" or a reason."""

    def __init__(self, executor: Executor, work: object) -> None:
        self._executor, self._work = executor, work

    def __call__(self, slot: int, row: int, item: ImageItem) -> Future[str]:
        return self._executor.submit(self._work, slot, row, item)  # type: ignore[arg-type]


def _thread_pool(
    stack: contextlib.ExitStack,
    workers: int,
    specs: Mapping[str, BackboneSpec],
    limits: ImageLimits,
    shapes: Mapping[str, tuple[int, ...]],
    slots: int,
) -> tuple[_Submit, list[dict[str, np.ndarray]]]:
    buffers = [{name: np.empty(shape, np.uint8) for name, shape in shapes.items()} for _ in range(slots)]
    executor = stack.enter_context(ThreadPoolExecutor(workers, thread_name_prefix="decode"))

    def work(slot: int, row: int, item: ImageItem) -> str:
        return decode_into(item, specs, limits, buffers[slot], row)

    return _Submit(executor, work), buffers


def _process_pool(
    stack: contextlib.ExitStack,
    workers: int,
    specs: Mapping[str, BackboneSpec],
    limits: ImageLimits,
    shapes: Mapping[str, tuple[int, ...]],
    slots: int,
) -> tuple[_Submit, list[dict[str, np.ndarray]]]:
    import multiprocessing

    size = sum(int(np.prod(shape)) for shape in shapes.values()) * slots
    # Anonymous memory that other processes open by this one's descriptor; unlike /dev/shm no container bounds it.
    descriptor = os.memfd_create("geoloc-batches")
    stack.callback(os.close, descriptor)
    os.ftruncate(descriptor, size)
    buffers = _views(mmap.mmap(descriptor, size), shapes, slots)
    executor = stack.enter_context(
        ProcessPoolExecutor(
            workers,
            mp_context=multiprocessing.get_context("forkserver"),
            initializer=_start_worker,
            initargs=(f"/proc/{os.getpid()}/fd/{descriptor}", size, dict(shapes), slots, dict(specs), limits),
        )
    )
    return _Submit(executor, _worker_decode), buffers


def _views(memory: mmap.mmap, shapes: Mapping[str, tuple[int, ...]], slots: int) -> list[dict[str, np.ndarray]]:
    buffers: list[dict[str, np.ndarray]] = []
    offset = 0
    for _ in range(slots):
        buffer = {}
        for name, shape in shapes.items():
            count = int(np.prod(shape))
            buffer[name] = np.frombuffer(memory, np.uint8, count, offset).reshape(shape)
            offset += count
        buffers.append(buffer)
    return buffers


@dataclass
class _Worker:
    specs: dict[str, BackboneSpec]
    limits: ImageLimits
    buffers: list[dict[str, np.ndarray]]


_worker: _Worker | None = None


def _start_worker(
    path: str,
    size: int,
    shapes: dict[str, tuple[int, ...]],
    slots: int,
    specs: dict[str, BackboneSpec],
    limits: ImageLimits,
) -> None:
    """In each process of the pool: open the shared memory, once."""
    global _worker
    with Path(path).open("r+b") as file:
        _worker = _Worker(specs, limits, _views(mmap.mmap(file.fileno(), size), shapes, slots))


def _worker_decode(slot: int, row: int, item: ImageItem) -> str:
    assert _worker is not None
    return decode_into(item, _worker.specs, _worker.limits, _worker.buffers[slot], row)

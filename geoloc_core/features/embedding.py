"""Embedding a shard: only what is missing, going on where a killed run stopped, one process at a time.

Rows that the shard has from the same checkpoint are reused; a row is known by the photo's id and the hash of its file. What
is missing goes into part files beside the shard (`<shard>.parts/`), each written atomically; at the end the shard is joined
from the old one and the parts. An unchanged shard is not written, and nothing is loaded for it.
"""

import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from geoloc_core.errors import InputError, StaleArtifactError
from geoloc_core.features.checkpoints import CheckpointIdentity
from geoloc_core.features.decoding import CHANGED, OK, ImageItem
from geoloc_core.features.encoders.encoder_base import Encoder
from geoloc_core.features.extract import EmbeddedBatch, EmbeddingBlock, choose_batch_size, embed_batches
from geoloc_core.features.shards import read_shard, write_shard
from geoloc_core.photos.images import ImageLimits
from geoloc_core.progress import bar
from geoloc_core.storage import read_json, write_json

PART_ROWS = 2048
TRANSIENT = frozenset({"missing_file", "unreadable_file", CHANGED, "too_many_bytes", "too_many_pixels"})
"""Reasons that say something of the moment, or of the limits, and not of the bytes alone; such photos are tried again."""


@dataclass(frozen=True)
class ShardTarget:
    """A backbone, and the shard file for its vectors; `load` is only called if a picture has to be embedded."""

    load: Callable[[], Encoder]
    identity: CheckpointIdentity
    path: Path


@dataclass(frozen=True)
class ShardReport:
    """What was done for a shard. rows = reused + resumed + embedded; `by_status` counts all rows.

    reused: from the shard as it was, or known to be unusable; resumed: from the parts of a run that was killed.
    seconds: from the first picture decoded to the last vector written; images_per_second: pictures embedded in that time.
    """

    rows: int
    reused: int
    resumed: int
    embedded: int
    by_status: dict[str, int]
    seconds: float
    images_per_second: float


Key = tuple[str, str]
"""A photo's id, and the hash of its picture."""


@dataclass
class _Work:
    """One target while it is being made; `rows` are those available: a block and the number of the row in it."""

    target: ShardTarget
    parts: Path
    current: EmbeddingBlock | None
    rows: dict[Key, tuple[EmbeddingBlock, int]] = field(default_factory=dict)
    missing: list[int] = field(default_factory=list)
    resumed: int = 0
    batch_size: int = 0
    next_part: int = 0
    seconds: float = 0.0


def update_shards(
    items: Sequence[ImageItem],
    targets: Mapping[str, ShardTarget],
    limits: ImageLimits,
    *,
    batch_size: int = 0,
    workers: int = 0,
    part_rows: int = PART_ROWS,
    what: str = "embedding",
) -> dict[str, ShardReport]:
    """Bring the shard files of `targets` up to date with `items` (in that order, no others); a report for each target.

    Backbones that lack the same pictures share one decode. Raises InputError if two items have the same id.
    """
    if repeated := [name for name, count in Counter(item.photo_id for item in items).items() if count > 1]:
        raise InputError(
            f"{len(repeated)} photo ids occur more than once in a shard (first: {repeated[0]}); remove the repeats"
        )
    with ExitStack() as stack:
        works = {}
        # Always in one order, so that two processes with the same targets cannot wait for each other.
        for name in sorted(targets, key=lambda name: str(targets[name].path)):
            stack.enter_context(_only_writer(targets[name].path))
            works[name] = _open(targets[name], items)
        groups: dict[tuple[tuple[int, ...], int], dict[str, _Work]] = {}
        for name, work in works.items():
            if work.missing:
                groups.setdefault((tuple(work.missing), work.batch_size), {})[name] = work
        for (missing, earlier_size), group in groups.items():
            encoders = {name: work.target.load() for name, work in group.items()}
            # A run that goes on takes the batches of the one before it: equal batches give equal bytes.
            size = earlier_size or batch_size or choose_batch_size(encoders)
            for work in group.values():
                write_json(work.parts / "run.json", {"batch_size": size})
            lacking = [items[row] for row in missing]
            _embed_parts(lacking, group, embed_batches(lacking, encoders, limits, size, workers), part_rows, what)
        return {name: _join(items, work) for name, work in works.items()}


def parts_folder(shard: Path) -> Path:
    """Where the parts of a shard are while that is being made."""
    return shard.with_name(f"{shard.name}.parts")


@contextmanager
def _only_writer(shard: Path) -> Iterator[None]:
    """The block runs while no other process writes this shard; the system releases the lock of a killed process."""
    shard.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(shard.with_name(f"{shard.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{shard} is in use: another process embeds this shard; waiting for it", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        # Those who wait notice that the file they locked has no name any more, and open a new one.
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _open(target: ShardTarget, items: Sequence[ImageItem]) -> _Work:
    """What is there of a shard: the one on disk, and the parts of a run that was killed."""
    work = _Work(target, parts_folder(target.path), _block_of(target.path, target))
    if work.current is not None:
        rows = zip(_rows_of(work.current).items(), work.current.status, strict=True)
        # A failure is only certain to repeat itself for the very same bytes.
        work.rows = {key: row for (key, row), status in rows if status == OK or (key[1] and status not in TRANSIENT)}
    parts = [_block_of(path, target) for path in sorted(work.parts.glob("*.parquet"))]
    blocks = [block for block in parts if block is not None]
    if len(blocks) < len(parts):  # of another checkpoint, or damaged
        shutil.rmtree(work.parts)
        blocks = []
    if blocks:
        work.batch_size = read_json(work.parts / "run.json")["batch_size"]
    resumable = {key: row for block in blocks for key, row in _rows_of(block).items()}
    work.rows.update(resumable)
    work.next_part = len(blocks)
    keys = {row: (item.photo_id, item.sha256) for row, item in enumerate(items) if not item.refused}
    work.missing = [row for row, key in keys.items() if key not in work.rows]
    work.resumed = sum(key in resumable for key in keys.values())
    return work


def _block_of(path: Path, target: ShardTarget) -> EmbeddingBlock | None:
    """The rows of a shard or part that this target's checkpoint made; None if there are none or they are damaged."""
    try:
        block, metadata = read_shard(path)
    except StaleArtifactError:
        return None
    return block if metadata["identity"]["version"] == target.identity.version else None


def _rows_of(block: EmbeddingBlock) -> dict[Key, tuple[EmbeddingBlock, int]]:
    keys = zip(block.photo_ids, block.image_sha256, strict=True)
    return {key: (block, number) for number, key in enumerate(keys)}


def _embed_parts(
    items: Sequence[ImageItem], works: Mapping[str, _Work], batches: Iterable[EmbeddedBatch], part_rows: int, what: str
) -> None:
    """Write `batches`, the vectors of `items` from several backbones, into part files of each."""
    started = time.monotonic()
    part: list[EmbeddedBatch] = []
    with bar(what, total=len(items), unit="img") as progress:
        for batch in batches:
            part.append(batch)
            end = batch.start + len(next(iter(batch.vectors.values())))
            if end - part[0].start >= part_rows or end == len(items):
                for name, work in works.items():
                    _write_part(work, name, items[part[0].start : end], part)
                part = []
            progress.update(end - batch.start)
    for work in works.values():
        work.seconds = time.monotonic() - started


def _write_part(work: _Work, name: str, items: Sequence[ImageItem], batches: Sequence[EmbeddedBatch]) -> None:
    vectors = np.concatenate([batch.vectors[name] for batch in batches])
    status = [reason for batch in batches for reason in batch.status[name]]
    block = EmbeddingBlock([item.photo_id for item in items], vectors, status, [item.sha256 for item in items])
    write_shard(work.parts / f"{work.next_part:06d}.parquet", block, work.target.identity)
    work.next_part += 1
    work.rows.update(_rows_of(block))


def _join(items: Sequence[ImageItem], work: _Work) -> ShardReport:
    """Write the shard from the old one and the parts, unless it is, row by row, what is on disk."""
    status = [item.refused for item in items]
    vectors = np.full((len(items), work.target.identity.dimension), np.nan, np.float16)
    unchanged = True
    for row, item in enumerate(items):
        if not item.refused:
            block, number = work.rows[item.photo_id, item.sha256]
            status[row], vectors[row] = block.status[number], block.vectors[number]
            unchanged = unchanged and block is work.current
    ids, hashes = [item.photo_id for item in items], [item.sha256 for item in items]
    current = work.current
    if (
        not unchanged
        or not current
        or (current.photo_ids, current.status, current.image_sha256) != (ids, status, hashes)
    ):
        write_shard(work.target.path, EmbeddingBlock(ids, vectors, status, hashes), work.target.identity)
    shutil.rmtree(work.parts, ignore_errors=True)
    embedded, rate = len(work.missing), len(work.missing) / max(work.seconds, 1e-9)
    reused, by_status = len(items) - embedded - work.resumed, dict(sorted(Counter(status).items()))
    return ShardReport(len(items), reused, work.resumed, embedded, by_status, work.seconds, rate)

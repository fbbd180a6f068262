"""Embedding a shard: only what is missing, going on where a killed run stopped, one process at a time.

Rows that the shard already has from the same checkpoint are reused, a photo's row being identified by its id and by the
hash of its file. What is missing is embedded into part files of about `PART_ROWS` rows beside the shard
(`<shard>.parts/`), each written atomically; at the end the shard is joined from the old one and the parts, takes the
place of the old one, and the parts are removed. An unchanged shard is not written, and nothing is loaded for it.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock, Timeout

from geoloc_core.errors import InputError, StaleArtifactError
from geoloc_core.features.checkpoints import CheckpointIdentity
from geoloc_core.features.decoding import CHANGED, OK, ImageItem
from geoloc_core.features.extract import EmbeddedBatch, EmbeddingBlock, choose_batch_size, embed_batches
from geoloc_core.features.shards import read_shard, write_shard
from geoloc_core.progress import bar
from geoloc_core.storage import read_json, write_json

if TYPE_CHECKING:
    from geoloc_core.features.encoders.base import Encoder
    from geoloc_core.photos.images import ImageLimits

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
    seconds: from the first picture decoded to the last vector written, without loading; `images_per_second` is of the
    pictures embedded in that time, and 0 if there were none.
    """

    rows: int
    reused: int
    resumed: int
    embedded: int
    by_status: dict[str, int]
    seconds: float
    images_per_second: float


@dataclass(frozen=True)
class _Row:
    """Where the vector of a photo is: row `number` of the file `path`."""

    path: Path
    number: int
    status: str


@dataclass
class _Work:
    """One target while it is being made; `rows` are those available, by photo id and hash of the picture."""

    target: ShardTarget
    parts: Path
    rows: dict[tuple[str, str], _Row] = field(default_factory=dict)
    current: EmbeddingBlock | None = None
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
    """Bring the shard files of `targets` up to date with `items`: their rows, in that order, and no others.

    Items that are `refused` get their row without being opened. Backbones that lack the same pictures share one decode.
    Returns a report for each target. Raises InputError if two items have the same id.
    """
    repeated = [name for name, count in Counter(item.photo_id for item in items).items() if count > 1]
    if repeated:
        raise InputError(
            f"{len(repeated)} photo ids occur more than once in a shard (first: {repeated[0]}); remove the repeats"
        )
    with ExitStack() as stack:
        works = {}
        # Always in one order, so that two processes with the same targets cannot wait for each other.
        for name in sorted(targets, key=lambda name: str(targets[name].path)):
            stack.enter_context(_only_writer(targets[name].path))
            works[name] = _open(targets[name], items)
        _embed_missing(items, works, limits, batch_size, workers, part_rows, what)
        for work in works.values():
            _join(items, work)
        return {name: _report(items, work) for name, work in works.items()}


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
    work = _Work(target, parts_folder(target.path))
    work.current = _block_of(target.path, target)
    if work.current is not None:
        for key, row in _rows_of(target.path, work.current).items():
            # A failure is only certain to repeat itself for the very same bytes.
            if row.status == OK or (key[1] and row.status not in TRANSIENT):
                work.rows[key] = row
    parts = {path: _block_of(path, target) for path in sorted(work.parts.glob("*.parquet"))}
    if any(block is None for block in parts.values()):  # of another checkpoint, or damaged
        shutil.rmtree(work.parts)
        parts = {}
    resumable = {}
    for path, block in parts.items():
        if block is not None:
            resumable.update(_rows_of(path, block))
    work.rows.update(resumable)
    work.next_part = len(parts)
    if parts:
        work.batch_size = read_json(work.parts / "run.json")["batch_size"]
    accepted = [(row, (item.photo_id, item.sha256)) for row, item in enumerate(items) if not item.refused]
    work.missing = [row for row, key in accepted if key not in work.rows]
    work.resumed = sum(key in resumable for _, key in accepted)
    return work


def _block_of(path: Path, target: ShardTarget) -> EmbeddingBlock | None:
    """The rows of a shard or part that this target's checkpoint made; None if there are none or they are damaged."""
    try:
        block, metadata = read_shard(path)
    except StaleArtifactError:
        return None
    return block if metadata["identity"]["version"] == target.identity.version else None


def _rows_of(path: Path, block: EmbeddingBlock) -> dict[tuple[str, str], _Row]:
    columns = zip(block.photo_ids, block.image_sha256, block.status, strict=True)
    return {(name, sha256): _Row(path, row, status) for row, (name, sha256, status) in enumerate(columns)}


def _embed_missing(
    items: Sequence[ImageItem],
    works: Mapping[str, _Work],
    limits: ImageLimits,
    batch_size: int,
    workers: int,
    part_rows: int,
    what: str,
) -> None:
    """Embed what is missing into part files, backbones that lack the same pictures together."""
    groups: dict[tuple[tuple[int, ...], int], list[str]] = {}
    for name, work in works.items():
        if work.missing:
            groups.setdefault((tuple(work.missing), work.batch_size), []).append(name)
    for (missing, earlier_size), names in groups.items():
        encoders = {name: works[name].target.load() for name in names}
        # A run that goes on takes the batches of the one before it: equal batches give equal bytes.
        size = earlier_size or batch_size or choose_batch_size(encoders)
        for name in names:
            write_json(works[name].parts / "run.json", {"batch_size": size})
        rows = [items[row] for row in missing]
        started = time.monotonic()
        part: list[EmbeddedBatch] = []
        with bar(what, total=len(rows), unit="img") as progress:
            for batch in embed_batches(rows, encoders, limits, size, workers):
                part.append(batch)
                end = min(batch.start + size, len(rows))
                if end - part[0].start >= part_rows or end == len(rows):
                    for name in names:
                        _write_part(works[name], name, rows[part[0].start : end], part)
                    part = []
                progress.update(end - batch.start)
        for name in names:
            works[name].seconds = time.monotonic() - started


def _write_part(work: _Work, name: str, items: Sequence[ImageItem], batches: Sequence[EmbeddedBatch]) -> None:
    block = EmbeddingBlock(
        [item.photo_id for item in items],
        np.concatenate([batch.vectors[name] for batch in batches]),
        [reason for batch in batches for reason in batch.status[name]],
        [item.sha256 for item in items],
    )
    path = work.parts / f"{work.next_part:06d}.parquet"
    write_shard(path, block, work.target.identity)
    work.next_part += 1
    work.rows.update(_rows_of(path, block))


def _join(items: Sequence[ImageItem], work: _Work) -> None:
    """Write the shard from the old one and the parts; in memory are the new vectors and those of one file."""
    target = work.target
    sources = [None if item.refused else work.rows[item.photo_id, item.sha256] for item in items]
    status = [item.refused if row is None else row.status for item, row in zip(items, sources, strict=True)]
    block = EmbeddingBlock([i.photo_id for i in items], np.empty(0), status, [i.sha256 for i in items])
    if not _unchanged(block, sources, work):
        work.current = None
        places: dict[Path, list[tuple[int, int]]] = {}
        for place, row in enumerate(sources):
            if row is not None:
                places.setdefault(row.path, []).append((place, row.number))
        vectors = np.full((len(items), target.identity.dimension), np.nan, np.float16)
        for path, pairs in places.items():
            into, numbers = np.array(pairs).T
            vectors[into] = read_shard(path)[0].vectors[numbers]
        write_shard(target.path, EmbeddingBlock(block.photo_ids, vectors, status, block.image_sha256), target.identity)
    shutil.rmtree(work.parts, ignore_errors=True)


def _unchanged(block: EmbeddingBlock, sources: Sequence[_Row | None], work: _Work) -> bool:
    """Whether the shard on disk is, row by row, what would be written."""
    current = work.current
    return (
        current is not None
        and (current.photo_ids, current.status, current.image_sha256)
        == (block.photo_ids, block.status, block.image_sha256)
        and all(row is None or row.path == work.target.path for row in sources)
    )


def _report(items: Sequence[ImageItem], work: _Work) -> ShardReport:
    embedded = len(work.missing)
    status = [item.refused or work.rows[item.photo_id, item.sha256].status for item in items]
    return ShardReport(
        rows=len(items),
        reused=len(items) - embedded - work.resumed,
        resumed=work.resumed,
        embedded=embedded,
        by_status=dict(sorted(Counter(status).items())),
        seconds=work.seconds,
        images_per_second=embedded / max(work.seconds, 1e-9),
    )

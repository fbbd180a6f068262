"""Embedding a shard: only what is new, going on where a killed run stopped, one process at a time.

Rows that the shard already has from the same checkpoint are kept, a photo's row being known by its id and by the hash
of its file. The rest is embedded batch by batch into a journal, and when all is there the shard is written anew and
takes the place of the old one. An unchanged shard is not written at all, and nothing is loaded for it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from geoloc_core.errors import InputError, StaleArtifactError
from geoloc_core.features.checkpoints import CheckpointIdentity
from geoloc_core.features.decoding import CHANGED
from geoloc_core.features.extract import OK, EngineOptions, ImageItem, embed_batches
from geoloc_core.features.forward import find_batch_size
from geoloc_core.features.journal import Journal, open_journal
from geoloc_core.features.parquet_vectors import (
    ROWS_PER_GROUP,
    ContentDigest,
    Rows,
    ShardWriter,
    file_metadata,
    vector_groups,
)
from geoloc_core.progress import bar
from geoloc_core.storage import replacing_path

if TYPE_CHECKING:
    from geoloc_core.features.encoder import Encoder
    from geoloc_core.photos.images import ImageLimits


TRIED_AGAIN = frozenset({"missing_file", "unreadable_file", CHANGED, "too_many_bytes", "too_many_pixels"})
"""Reasons that say something of the moment, or of the limits, and not of the bytes alone."""


@dataclass(frozen=True)
class ShardTarget:
    """A backbone, and the shard file that its vectors go to; `load` is only called where a picture has to be embedded."""

    load: Callable[[], Encoder]
    identity: CheckpointIdentity
    path: Path


@dataclass(frozen=True)
class ShardReport:
    """What became of a shard. rows = reused + resumed + embedded; `by_status` counts all rows.

    reused: from the shard as it was, or known to be unusable; resumed: from the journal of a run that was killed.
    seconds: from the first picture decoded to the last vector written, without loading; `images_per_second` is of the
    pictures embedded in that time, and 0 where there were none.
    """

    rows: int
    reused: int
    resumed: int
    embedded: int
    by_status: dict[str, int]
    seconds: float
    images_per_second: float


class _Kept:
    """The rows of the shard as it lies on disk that can be used again; their vectors stay in the file."""

    def __init__(self, target: ShardTarget) -> None:
        self.row_of: dict[tuple[str, str], int] = {}
        self.ids: list[str] = []
        self.hashes: list[str] = []
        self.status: list[str] = []
        self._groups: list[tuple[slice, np.ndarray]] = []
        try:
            _, described = file_metadata(target.path)
            self._said = described
            if described["identity"]["version"] != target.identity.version:
                return
            columns = pq.read_table(
                target.path, columns=["photo_id", "status", "image_sha256"], page_checksum_verification=True
            )
            self.status = columns["status"].to_pylist()
            self._ok = np.array([reason == OK for reason in self.status], dtype=bool)
            self._groups = list(vector_groups(target.path, self._ok))
        except (StaleArtifactError, KeyError, ValueError, OSError, pa.ArrowException):
            return  # nothing there, damaged, or of an older layout: embedded anew
        self.ids = columns["photo_id"].to_pylist()
        self.hashes = columns["image_sha256"].to_pylist()
        for row, (photo_id, sha256, reason) in enumerate(zip(self.ids, self.hashes, self.status, strict=True)):
            # A failure is only certain to repeat itself for the very same bytes.
            if reason == OK or (sha256 and reason not in TRIED_AGAIN):
                self.row_of[photo_id, sha256] = row

    def is_whole(self) -> bool:
        """Whether the shard's own account of its content is that of its rows."""
        digest = ContentDigest()
        for rows, vectors in self._groups:
            digest.update(Rows(self.ids[rows], vectors, self.status[rows], self.hashes[rows]), vectors)
        said = [self._said.get(key) for key in ("n", "n_ok", "content_sha256")]
        return said == [len(self.ids), int(self._ok.sum()), digest.hexdigest()]

    def vector(self, row: int) -> np.ndarray:
        group = row // ROWS_PER_GROUP
        rows, vectors = self._groups[group]
        return vectors[int(self._ok[rows.start : row].sum())]

    def vectors(self, rows: list[int], dimension: int) -> np.ndarray:
        """float16 (len(rows), D), NaN where a row has none."""
        found = np.full((len(rows), dimension), np.nan, np.float16)
        for place, row in enumerate(rows):
            if self.status[row] == OK:
                found[place] = self.vector(row)
        return found


@dataclass
class _Work:
    """One target while it is being made."""

    target: ShardTarget
    kept: _Kept
    journal: Journal
    missing: list[int]
    seconds: float = 0.0


def embed_shard(
    items: Sequence[ImageItem],
    targets: Mapping[str, ShardTarget],
    limits: ImageLimits,
    options: EngineOptions | None = None,
    what: str = "embedding",
) -> dict[str, ShardReport]:
    """Bring the shard files of `targets` up to date with `items`: their rows, in that order, and no others.

    Items that are `refused` get their row without being opened. Backbones that lack the same pictures share one decode.
    Returns a report for each target. Raises InputError where two items have the same id.
    """
    options = options or EngineOptions()
    twice = [name for name, count in Counter(item.photo_id for item in items).items() if count > 1]
    if twice:
        raise InputError(
            f"{len(twice)} photo ids occur more than once in a shard (first: {twice[0]}); remove the repeats"
        )
    with ExitStack() as stack:
        works = {}
        # Always in one order, so that two processes with the same targets cannot wait for each other.
        for name in sorted(targets, key=lambda name: str(targets[name].path)):
            works[name] = _open(stack, targets[name], items)
        _embed_missing(items, works, limits, options, what)
        for work in works.values():
            _write(items, work)
        return {name: _report(items, work) for name, work in works.items()}


def journal_path(shard: Path) -> Path:
    """Where the journal of a shard lies while that is being made."""
    return shard.with_name(f"{shard.name}.journal")


def _open(stack: ExitStack, target: ShardTarget, items: Sequence[ImageItem]) -> _Work:
    header = {"version": target.identity.version, "dimension": target.identity.dimension}
    journal = stack.enter_context(open_journal(journal_path(target.path), header, target.identity.dimension))
    kept = _Kept(target)  # after the lock: whoever had it may just have written the shard
    there = {*kept.row_of, *zip(journal.photo_ids, journal.image_sha256, strict=True)}
    missing = [row for row, item in enumerate(items) if not item.refused and (item.photo_id, item.sha256) not in there]
    return _Work(target, kept, journal, missing)


def _embed_missing(
    items: Sequence[ImageItem],
    works: Mapping[str, _Work],
    limits: ImageLimits,
    options: EngineOptions,
    what: str,
) -> None:
    """Embed what is missing, backbones that lack the same pictures together."""
    groups: dict[tuple[tuple[int, ...], int], list[str]] = {}
    for name, work in works.items():
        if work.missing:
            groups.setdefault((tuple(work.missing), work.journal.batch_size), []).append(name)
    for (missing, batch_size), names in groups.items():
        encoders = {name: works[name].target.load() for name in names}
        batch_size = batch_size or options.batch_size or find_batch_size(encoders)
        for name in names:
            works[name].journal.start(batch_size)
        some = [items[row] for row in missing]
        engine = EngineOptions(batch_size, options.workers, options.decode_in)
        started = time.monotonic()
        with bar(what, total=len(some), unit="img") as progress:
            for batch in embed_batches(some, encoders, limits, engine):
                rows = some[batch.start : batch.start + batch_size]
                for name in names:
                    works[name].journal.add(
                        [item.photo_id for item in rows],
                        [item.sha256 for item in rows],
                        batch.status[name],
                        batch.vectors[name],
                    )
                progress.update(len(rows))
        for name in names:
            works[name].seconds = time.monotonic() - started


def _write(items: Sequence[ImageItem], work: _Work) -> None:
    """Write the shard from what was kept and what is in the journal, a row group at a time."""
    target, kept, journal = work.target, work.kept, work.journal
    in_journal = {key: row for row, key in enumerate(zip(journal.photo_ids, journal.image_sha256, strict=True))}
    if target.path.is_file() and _unchanged(items, kept, in_journal) and kept.is_whole():
        return
    dimension = target.identity.dimension
    with (
        replacing_path(target.path) as temporary,
        ShardWriter(temporary, dimension, target.identity.as_dict()) as writer,
    ):
        for start in range(0, len(items), ROWS_PER_GROUP):
            some = items[start : start + ROWS_PER_GROUP]
            vectors = np.full((len(some), dimension), np.nan, np.float16)
            status = [item.refused for item in some]
            asked = [(place, key) for place, key in enumerate(_keys(some)) if not some[place].refused]
            new = [(place, in_journal[key]) for place, key in asked if key in in_journal]
            old = [(place, kept.row_of[key]) for place, key in asked if key not in in_journal]
            if new:
                first, last = min(row for _, row in new), max(row for _, row in new) + 1
                found = journal.vectors(first, last)
                for place, row in new:
                    vectors[place], status[place] = found[row - first], journal.status[row]
            vectors[[place for place, _ in old]] = kept.vectors([row for _, row in old], dimension)
            for place, row in old:
                status[place] = kept.status[row]
            writer.write(Rows([i.photo_id for i in some], vectors, status, [i.sha256 for i in some]))


def _unchanged(items: Sequence[ImageItem], kept: _Kept, in_journal: Mapping[tuple[str, str], int]) -> bool:
    """Whether the shard on disk is, row by row, what would be written."""
    if len(items) != len(kept.ids):
        return False
    for row, (item, key) in enumerate(zip(items, _keys(items), strict=True)):
        if item.refused:
            if (kept.ids[row], kept.hashes[row], kept.status[row]) != (*key, item.refused):
                return False
        elif key in in_journal or kept.row_of[key] != row:
            return False
    return True


def _keys(items: Sequence[ImageItem]) -> list[tuple[str, str]]:
    return [(item.photo_id, item.sha256) for item in items]


def _report(items: Sequence[ImageItem], work: _Work) -> ShardReport:
    journal = work.journal
    keys = list(zip(journal.photo_ids, journal.image_sha256, strict=True))
    in_journal = dict(zip(keys, journal.status, strict=True))
    status = []
    for item, key in zip(items, _keys(items), strict=True):
        status.append(item.refused or in_journal.get(key) or work.kept.status[work.kept.row_of[key]])
    embedded = len(work.missing)
    resumed = (
        sum(key in in_journal and not item.refused for item, key in zip(items, _keys(items), strict=True)) - embedded
    )
    return ShardReport(
        rows=len(items),
        reused=len(items) - embedded - resumed,
        resumed=resumed,
        embedded=embedded,
        by_status=dict(sorted(Counter(status).items())),
        seconds=work.seconds,
        images_per_second=embedded / max(work.seconds, 1e-9),
    )

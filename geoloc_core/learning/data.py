"""What a head is trained on: vectors held once, labels, who took the photos; and how rows are read from the vectors."""

import itertools
import mmap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from geoloc_core.errors import InputError

ROWS_AT_ONCE = 4096
# A row read from a mapped file brings its neighbourhood into this process's memory: 64 kB, or 2 MB where the system keeps
# the file in large pages. Giving the pages back after this many rows bounds them at 64 MB to 2 GB.
ROWS_BETWEEN_RELEASES = 1024


@dataclass(frozen=True)
class TrainingData:
    """Photos of both splits; row i of every array is photo i.

    blocks: one matrix (n, D_i) for each backbone, float16 or float32, in memory or memory-mapped; never copied whole.
    labels: int64 (n,), position in the class list, -1 where the truth is no class (see `encode_labels`). Such a photo is
        not trained on, and counts as wrong where it is evaluated.
    is_train: bool (n,), False for the validation photos.
    latitude, longitude: float64 (n,), degrees.
    author_id: object (n,), who took each photo.
    class_weights: scheme -> weight of each class (K,), or None: then they are computed from the photos that are fitted.

    Photos without a vector have the label -1, or are left out.
    """

    blocks: Sequence[np.ndarray]
    labels: np.ndarray
    is_train: np.ndarray
    latitude: np.ndarray
    longitude: np.ndarray
    author_id: np.ndarray
    class_weights: Mapping[str, np.ndarray] | None = None

    def __post_init__(self) -> None:
        n = len(self.labels)
        if not self.blocks:
            raise InputError("training data has no vectors: give one matrix for each backbone")
        for column in (*self.blocks, self.is_train, self.latitude, self.longitude, self.author_id):
            if len(column) != n:
                raise InputError(f"a column has the shape {np.shape(column)}, but there are labels for {n} photos")
        if not len(self.training_rows):
            raise InputError("no photo of the training split has a label, so there is nothing to learn from")

    @property
    def block_dims(self) -> tuple[int, ...]:
        """Width of each block."""
        return tuple(block.shape[1] for block in self.blocks)

    @property
    def training_rows(self) -> np.ndarray:
        """Rows of the training photos that have a label, ascending."""
        return np.flatnonzero(self.is_train & (self.labels >= 0))


@dataclass(frozen=True)
class Split:
    """Which rows are fitted and which decide when to stop: int64 tensors, all with a label.

    folds: (fitted, held out) of each fold of a cross-validation; without one, fit and stopping themselves.
    """

    fit: Tensor
    stopping: Tensor
    stopping_source: str
    folds: tuple[tuple[Tensor, Tensor], ...]


def encode_labels(region_ids: np.ndarray, is_train: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Class list and labels (n,) of region ids (n,), "" for a photo without one.

    The classes are the regions that occur in the training split, in ascending order: a region without a training photo
    is no class and can never be answered; its photos get the label -1.
    """
    classes = sorted(set(region_ids[is_train]) - {""})
    return classes, pd.Index(classes, dtype=object).get_indexer(pd.Index(region_ids)).astype(np.int64)


def split_rows(data: TrainingData, held_out_share: float, seed: int, n_folds: int = 0) -> Split:
    """Divide the training rows into those that are fitted and those that decide when to stop.

    n_folds > 1 cross-validates: all rows are fitted in the end, and each part of the authors is held out from one fold.
    Else held_out_share > 0 holds out about that share of the photos, by *training author*, for stopping and calibration, so
    that the validation photos are only reported on. 0 is the thesis's way: the validation photos also decide when to stop.
    Where no photo is left to decide, the fitted ones do, and `stopping_source` says so.
    """
    rows = data.training_rows
    edges = np.linspace(0.0, 1.0, n_folds + 1) if n_folds else (0.0, held_out_share)
    held_out = [_held_out(data, rows, low, high, seed) for low, high in itertools.pairwise(edges)]
    folds = [(rows[~held], rows[held]) for held in held_out if held.any()]
    if n_folds:
        source, fit, stopping = "cross-validation by author", rows, np.concatenate([rows[held] for held in held_out])
    elif held_out_share > 0:
        source, fit, stopping = "held-out training authors", rows[~held_out[0]], rows[held_out[0]]
    else:
        source, fit, stopping = "validation", rows, np.flatnonzero(~data.is_train & (data.labels >= 0))
    if not len(stopping):
        source, stopping = "training", fit
    if not n_folds or source == "training":
        folds = [(fit, stopping)]
    tensors = tuple((torch.from_numpy(fitted), torch.from_numpy(held)) for fitted, held in folds)
    return Split(torch.from_numpy(fit), torch.from_numpy(stopping), source, tensors)


def _held_out(data: TrainingData, rows: np.ndarray, low: float, high: float, seed: int) -> np.ndarray:
    """Which of `rows` are held out, bool: the authors from a share `low` to `high` of the photos, in an order drawn by
    the seed; never the last author of a class.
    """
    authors, author, photos_of = np.unique(data.author_id[rows].astype(str), return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(authors))
    # Authors differ in size by orders of magnitude: take them until the share of the *photos* is reached.
    reached = np.cumsum(photos_of[order])
    held_out = np.isin(author, order[(reached > low * len(rows)) & (reached <= high * len(rows))])
    labels = data.labels[rows]
    last = ~np.isin(labels, labels[~held_out])
    return held_out & ~np.isin(author, author[last])


class RowReader:
    """Reads rows of matrices that stay as they are: float16, in memory or memory-mapped, or on the GPU if they fit.

    Of a mapped matrix only the pages read last count as this process's memory; the rest is left to the system's cache, so
    that a matrix larger than memory can be trained on.
    """

    def __init__(self, blocks: Sequence[np.ndarray], device: torch.device) -> None:
        self.device = device
        self.dims = [block.shape[1] for block in blocks]
        with warnings.catch_warnings():
            # A read-only map is what we want: rows are read from it and never written.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            self._sources = [torch.from_numpy(np.asarray(block)) for block in blocks]
        self._mappings = [mapping for mapping in map(_mapping, blocks) if mapping is not None]
        self._rows_since_release = 0
        if device.type == "cuda":
            n_bytes = sum(source.numel() * source.element_size() for source in self._sources)
            if n_bytes < 0.8 * torch.cuda.mem_get_info(device)[0]:
                self._sources = [source.to(device) for source in self._sources]

    def read(self, rows: Tensor) -> Tensor:
        """The blocks of rows (B,) side by side: float32 (B, sum D), on the device."""
        self._rows_since_release += len(rows)
        if self._rows_since_release > ROWS_BETWEEN_RELEASES:
            for mapping in self._mappings:
                mapping.madvise(mmap.MADV_DONTNEED)
            self._rows_since_release = 0
        rows = rows.to(self._sources[0].device)
        joined = torch.empty((len(rows), sum(self.dims)), device=self.device)
        for source, part in zip(self._sources, joined.split(self.dims, dim=1), strict=True):
            part.copy_(source.index_select(0, rows))
        return joined

    def batches(self, rows: Tensor, size: int = ROWS_AT_ONCE) -> Iterator[tuple[Tensor, Tensor]]:
        """`rows` at most `size` at a time, each time with what `read` gives for them."""
        for batch in rows.split(size):
            yield batch, self.read(batch)


def mean_and_deviation(reader: RowReader, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every dimension over `rows`: float32 (sum D,) each, on the device.

    Read once; the sums are kept in float64, around the first row, so that a large mean does not drown a small deviation.
    """
    shift = reader.read(rows[:1])[0]
    total = torch.zeros(len(shift), dtype=torch.float64, device=reader.device)
    squares = torch.zeros_like(total)
    for _, vectors in reader.batches(rows):
        centred = vectors.sub_(shift)
        total += centred.sum(dim=0, dtype=torch.float64)
        squares += centred.square_().sum(dim=0, dtype=torch.float64)
    mean = total / len(rows)
    deviation = (squares / len(rows) - mean.square()).clamp_min(0.0).sqrt()
    return (mean + shift).float(), deviation.float()


def _mapping(block: np.ndarray) -> mmap.mmap | None:
    """The memory map that `block` is a view of, where it is a read-only one of a local file."""
    base: object = block
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap) and base.mode != "r":
            return None  # what was written to a private copy would be lost
        base = base.base
    return base if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED") else None

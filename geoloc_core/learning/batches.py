"""Rows of the matrices, by number, as float32 batches: the matrices are held once and nothing is done per photo."""

from __future__ import annotations

import mmap
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

ROWS_AT_ONCE = 4096


ROWS_BETWEEN_RELEASES = 1024
"""A row read from a mapped file brings its neighbourhood into the process's memory: 64 kB, or 2 MB where the system
keeps the file in large pages. So this bounds what is held at 64 MB to 2 GB; to fault a page in again costs about 1 us."""


class RowReader:
    """Reads rows of matrices that stay as they are: float16, in memory or memory-mapped, or on the GPU if they fit.

    Of a mapped matrix only what was read lately counts as this process's memory; the rest is left to the system's cache,
    so that a matrix larger than the memory can be trained on.
    """

    def __init__(self, blocks: Sequence[np.ndarray], device: torch.device) -> None:
        self.device = device
        self.sources = [_tensor(block) for block in blocks]
        self._mappings = [mapping for mapping in map(_mapping, blocks) if mapping is not None]
        self._rows_since_release = 0
        if device.type == "cuda" and _fits(self.sources, device):
            self.sources = [source.to(device) for source in self.sources]

    @property
    def on_device(self) -> bool:
        """Whether the matrices lie where the heads are computed."""
        return self.sources[0].device.type == self.device.type

    def read(self, rows: Tensor) -> list[Tensor]:
        """Rows (B,) of every block, as stored: a list of (B, D_i)."""
        self._rows_since_release += len(rows)
        if self._mappings and self._rows_since_release > ROWS_BETWEEN_RELEASES:
            for mapping in self._mappings:
                mapping.madvise(mmap.MADV_DONTNEED)
            self._rows_since_release = 0
        return [torch.index_select(source, 0, rows.to(source.device)) for source in self.sources]

    def pieces(self, rows: Tensor, rows_at_once: int = ROWS_AT_ONCE) -> Iterator[tuple[Tensor, list[Tensor]]]:
        """`rows` some at a time, each time with what `read` gives for them."""
        for some in rows.split(rows_at_once):
            yield some, self.read(some)


def join(pieces: Sequence[Tensor], device: torch.device) -> Tensor:
    """Blocks of the same rows side by side, float32 (B, sum D) on the device."""
    joined = torch.empty((len(pieces[0]), sum(piece.shape[1] for piece in pieces)), device=device)
    start = 0
    for piece in pieces:
        joined[:, start : start + piece.shape[1]].copy_(piece)
        start += piece.shape[1]
    return joined


def mean_and_deviation(reader: RowReader, rows: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Mean and standard deviation of every dimension of every block over `rows`: float32 (D_i,) pairs, on the CPU.

    One reading; the sums are kept in float64, around the first row, lest a large mean drown a small deviation.
    """
    shifts = [piece.float()[0] for piece in reader.read(rows[:1])]
    totals = [torch.zeros(len(shift), dtype=torch.float64, device=shift.device) for shift in shifts]
    squares = [torch.zeros_like(total) for total in totals]
    for _, pieces in reader.pieces(rows):
        for piece, shift, total, square in zip(pieces, shifts, totals, squares, strict=True):
            centred = piece.float() - shift
            total += centred.sum(dim=0, dtype=torch.float64)
            square += centred.square_().sum(dim=0, dtype=torch.float64)
    statistics = []
    for shift, total, square in zip(shifts, totals, squares, strict=True):
        mean = total / len(rows)
        deviation = (square / len(rows) - mean.square()).clamp_min(0.0).sqrt()
        statistics.append(((mean + shift).float().cpu(), deviation.float().cpu()))
    return statistics


def _tensor(block: np.ndarray) -> Tensor:
    with warnings.catch_warnings():
        # A read-only map is just what we want: rows are read from it and never written.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.asarray(block))


def _mapping(block: np.ndarray) -> mmap.mmap | None:
    """The map of a file that `block` looks into, where it is a read-only one of a local file."""
    base: object = block
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap) and base.mode != "r":
            return None  # what was written to a private copy would be lost
        base = base.base
    return base if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED") else None


def _fits(sources: Sequence[Tensor], device: torch.device) -> bool:
    free, _ = torch.cuda.mem_get_info(device)
    return sum(source.numel() * source.element_size() for source in sources) < 0.8 * free

"""Rows of the matrices, by number, as float32 batches: the matrices are held once and nothing is done per photo."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

ROWS_AT_ONCE = 4096


class RowReader:
    """Reads rows of matrices that stay as they are: float16, in memory or memory-mapped, or on the GPU."""

    def __init__(self, blocks: Sequence[np.ndarray], device: torch.device) -> None:
        self.device = device
        self.sources = [_tensor(block) for block in blocks]
        if device.type == "cuda" and _fits(self.sources, device):
            self.sources = [source.to(device) for source in self.sources]
        self.width = sum(source.shape[1] for source in self.sources)

    def read(self, rows: Tensor) -> list[Tensor]:
        """Rows (B,) of every block, as stored: a list of (B, D_i)."""
        return [torch.index_select(source, 0, rows.to(source.device)) for source in self.sources]

    def joined(self, rows: Tensor) -> Tensor:
        """Rows (B,) of all blocks side by side, float32 (B, sum D) on the device."""
        return join(self.read(rows), self.device)

    def chunks(self, rows: np.ndarray, rows_at_once: int = ROWS_AT_ONCE) -> Iterator[tuple[np.ndarray, Tensor]]:
        """`rows` piece by piece, each with its float32 (<= rows_at_once, sum D)."""
        for start in range(0, len(rows), rows_at_once):
            piece = rows[start : start + rows_at_once]
            yield piece, self.joined(torch.from_numpy(piece))


def join(pieces: Sequence[Tensor], device: torch.device) -> Tensor:
    """Blocks of the same rows side by side as float32 on the device."""
    joined = torch.empty((len(pieces[0]), sum(piece.shape[1] for piece in pieces)), device=device)
    start = 0
    for piece in pieces:
        joined[:, start : start + piece.shape[1]].copy_(piece)
        start += piece.shape[1]
    return joined


def mean_and_deviation(reader: RowReader, rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every input dimension over `rows`, float32 (sum D,) each, summed in float64."""
    total = torch.zeros(reader.width, dtype=torch.float64, device=reader.device)
    squares = torch.zeros_like(total)
    shift = reader.joined(torch.from_numpy(rows[:1]))[0]  # against cancellation where the mean is large
    for _, joined in reader.chunks(rows):
        joined -= shift
        total += joined.sum(dim=0, dtype=torch.float64)
        squares += joined.square_().sum(dim=0, dtype=torch.float64)
    mean = total / len(rows)
    variance = (squares / len(rows) - mean.square()).clamp_min(0.0)
    return (mean + shift).float(), variance.sqrt().float()


def _tensor(block: np.ndarray) -> Tensor:
    with warnings.catch_warnings():
        # A read-only map is just what we want: rows are read from it and never written.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.asarray(block))


def _fits(sources: Sequence[Tensor], device: torch.device) -> bool:
    free, _ = torch.cuda.mem_get_info(device)
    return sum(source.numel() * source.element_size() for source in sources) < 0.8 * free

"""One training step as a CUDA graph: a step of microseconds launched as one piece of work, not as fifty."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

WARMUP_STEPS = 3


class GraphedStep:
    """Captures `step(rows)` for batches of one size and replays it.

    The capture wants some real steps beforehand, on a side stream; they are undone in every tensor of `changed` (all
    that a step changes), so that a graphed training does the same as a plain one.
    """

    def __init__(self, step: Callable[[Tensor], None], rows: Tensor, changed: Sequence[Tensor]) -> None:
        self._rows = rows.clone()
        before = [tensor.clone() for tensor in changed]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARMUP_STEPS):
                step(self._rows)
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            step(self._rows)
        for tensor, earlier in zip(changed, before, strict=True):
            tensor.copy_(earlier)

    def __call__(self, rows: Tensor) -> None:
        """Train on rows (B,), of the size that was captured."""
        self._rows.copy_(rows)
        self._graph.replay()

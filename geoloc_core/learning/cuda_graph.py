"""One training step as a CUDA graph: a step of microseconds launched as one piece of work, not as fifty."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

WARMUP_STEPS = 3


class GraphedStep:
    """Captures `step(rows)` for batches of one size and replays it.

    The capture wants some real steps beforehand, on a side stream; they are undone, so that a graphed training does the
    same as a plain one. The learning rate must lie in a tensor.
    """

    def __init__(
        self,
        step: Callable[[Tensor], None],
        rows: Tensor,
        module: torch.nn.Module,
        optimiser: torch.optim.Optimizer,
        loss_sum: Tensor,
    ) -> None:
        self._rows = rows.clone()
        before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        loss_before = loss_sum.clone()
        held = {
            parameter: {key: value.clone() for key, value in state.items() if isinstance(value, Tensor)}
            for parameter, state in optimiser.state.items()
        }
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARMUP_STEPS):
                step(self._rows)
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            step(self._rows)
        module.load_state_dict(before)
        loss_sum.copy_(loss_before)
        for parameter, state in optimiser.state.items():
            for key, value in state.items():
                if isinstance(value, Tensor):
                    earlier = held.get(parameter, {}).get(key)
                    # A moment that did not exist yet starts from nought, as the optimiser itself would start it.
                    value.zero_() if earlier is None else value.copy_(earlier)

    def __call__(self, rows: Tensor) -> None:
        """Train on rows (B,), of the size that was captured."""
        self._rows.copy_(rows)
        self._graph.replay()

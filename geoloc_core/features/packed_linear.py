"""Linear layers by oneDNN with their weights laid out once, for networks that are only ever asked, on a CPU.

torch hands a float32 linear layer to MKL, which on processors that are not Intel's takes a slower path than oneDNN does:
on a two-core AMD EPYC with AVX-512, 115 to 150 GFLOP/s against 175 to 205 for the matrices of a ViT-B/16
(docs/performance.md). oneDNN wants its weights in blocks of its own; laying them out at every call would eat the gain,
so it is done once, as torch.compile does when it freezes a network. Both compute in float32: vectors differ by rounding
alone.
"""

from __future__ import annotations

import torch
from torch import nn


class PackedLinear(nn.Module):
    """What `linear` computes, by oneDNN: float32 (..., K) -> (..., N). It can be neither trained nor saved."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach().contiguous())
        self.bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """float32 (..., K) -> (..., N)."""
        return torch.ops.mkldnn._linear_pointwise(inputs, self.weight, self.bias, "none", [], "")


def pack_linears(network: nn.Module) -> int:
    """Put a `PackedLinear` in place of each float32 nn.Linear of `network`, which is on the CPU; how many there were.

    Subclasses of nn.Linear stay: others read their weights (nn.MultiheadAttention its own output layer's). Nothing is
    changed where this torch has no oneDNN.
    """
    if not _works():
        return 0
    packed = 0
    for name, child in network.named_children():
        if type(child) is nn.Linear:
            if child.weight.dtype == torch.float32:
                setattr(network, name, PackedLinear(child))
                packed += 1
        else:
            packed += pack_linears(child)
    return packed


def _works() -> bool:
    """Whether this torch has the two operators, which belong to torch.compile's inside, and they mean what they did."""
    if not torch.backends.mkldnn.is_available():
        return False
    probe = nn.Linear(3, 2).requires_grad_(False)
    inputs = torch.arange(12.0).reshape(2, 2, 3)
    try:
        return torch.allclose(PackedLinear(probe)(inputs), probe(inputs), rtol=1e-4, atol=1e-4)
    except (AttributeError, RuntimeError):
        return False

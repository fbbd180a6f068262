"""How the vectors of several backbones become the logits of one head.

A head reads the vectors of one photo from one or several backbones ("blocks"), joined to one row of sum(D_i) numbers,
and gives one logit for each class. It never applies a softmax: the loss takes logits.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from geoloc_core.learning.recipes import HeadSpec

Body = Callable[[HeadSpec, int, int], nn.Module]
"""(spec, n_inputs, n_classes) -> a network from (B, n_inputs) to logits (B, n_classes)."""


class FusionHead(nn.Module):
    """Standardise, fuse, classify: joined blocks float32 (B, sum D) -> logits (B, K)."""

    def __init__(self, spec: HeadSpec, block_dims: tuple[int, ...], n_classes: int, body: Body) -> None:
        super().__init__()
        self.spec = spec
        self.block_dims = block_dims
        width = sum(block_dims)
        self.standardise = Standardise(width) if spec.standardise else nn.Identity()
        self.gate = nn.Linear(width, len(block_dims)) if spec.fusion == "gated" else None
        body_dims = block_dims if spec.fusion == "late" else (width,)
        spec = replace(spec, hidden=equal_size_hidden(spec, block_dims, n_classes))
        self.bodies = nn.ModuleList(body(spec, dim, n_classes) for dim in body_dims)

    def forward(self, joined: Tensor) -> Tensor:
        """Logits (B, K) of joined blocks (B, sum D)."""
        if self.spec.fusion != "late":
            return self.bodies[0](self.fused(joined))
        blocks = self.standardise(joined).split(self.block_dims, dim=1)
        return torch.stack([body(block) for body, block in zip(self.bodies, blocks, strict=True)]).sum(dim=0)

    def fused(self, joined: Tensor) -> Tensor:
        """What the one body reads, (B, sum D); not for fusion "late", which has a body for each block."""
        joined = self.standardise(joined)
        if self.spec.fusion == "normalised":
            blocks = joined.split(self.block_dims, dim=1)
            return torch.cat([functional.normalize(block, dim=1) * block.shape[1] ** 0.5 for block in blocks], dim=1)
        if self.gate is None:
            return joined
        share = torch.softmax(self.gate(joined), dim=1) * len(self.block_dims)  # (B, n_blocks), all 1 when neutral
        blocks = joined.split(self.block_dims, dim=1)
        return torch.cat([block * share[:, i : i + 1] for i, block in enumerate(blocks)], dim=1)


class Standardise(nn.Module):
    """(x - mean) * scale for each input dimension, with statistics set once from the fitted photos."""

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def set_statistics(self, mean: Tensor, deviation: Tensor) -> None:
        """Take mean and standard deviation (D,); a dimension that never varies is switched off."""
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(deviation > 1e-6, 1.0 / deviation.clamp_min(1e-6), 0.0))

    def forward(self, joined: Tensor) -> Tensor:
        """(B, D) -> (B, D)."""
        return (joined - self.mean) * self.scale


def linear(spec: HeadSpec, n_inputs: int, n_classes: int) -> nn.Module:
    """The body of kinds "linear" and "probe"."""
    return nn.Linear(n_inputs, n_classes)


def multilayer(spec: HeadSpec, n_inputs: int, n_classes: int) -> nn.Module:
    """The body of kind "mlp": hidden layers with ReLU."""
    layers: list[nn.Module] = []
    for width in spec.hidden:
        layers += [nn.Linear(n_inputs, width), nn.ReLU()]
        n_inputs = width
    return nn.Sequential(*layers, nn.Linear(n_inputs, n_classes))


def equal_size_hidden(spec: HeadSpec, block_dims: Sequence[int], n_classes: int) -> tuple[int, ...]:
    """The hidden widths, narrowed by one factor until the head is no larger than the one of fusion "concat"."""

    def size(hidden: Sequence[int], n_inputs: int) -> int:
        return sum((before + 1) * after for before, after in itertools.pairwise([n_inputs, *hidden, n_classes]))

    width = sum(block_dims)
    bodies = block_dims if spec.fusion == "late" else (width,)
    gate = (width + 1) * len(block_dims) if spec.fusion == "gated" else 0
    for thousandth in range(1000, 0, -1):
        hidden = tuple(max(1, round(units * thousandth / 1000)) for units in spec.hidden)
        if gate + sum(size(hidden, dim) for dim in bodies) <= size(spec.hidden, width):
            break
    return hidden

"""The classifiers that turn vectors into logits, and nothing about how they are trained.

A head reads the vectors of one photo from one or several backbones ("blocks"), joined to one row of sum(D_i) numbers,
and gives one logit for each class. It never applies a softmax: the loss takes logits.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from geoloc_core.errors import ProfileError
from geoloc_core.learning.neighbours import NeighbourVote
from geoloc_core.learning.recipes import HeadSpec


def build_head(spec: HeadSpec, block_dims: Sequence[int], n_outputs: int) -> FusionHead:
    """A freshly initialised head: float32 (B, sum(block_dims)) -> logits (B, n_outputs).

    Initialisation draws from torch's global generator; `train` seeds it.
    """
    if not block_dims or min(block_dims) < 1 or n_outputs < 1:
        raise ProfileError(f"a head needs at least one input and one class, got {list(block_dims)} and {n_outputs}")
    return FusionHead(spec, tuple(block_dims), n_outputs)


def count_parameters(module: nn.Module) -> int:
    """How many numbers training may change."""
    return sum(parameter.numel() for parameter in module.parameters())


class FusionHead(nn.Module):
    """Standardise, fuse, classify."""

    def __init__(self, spec: HeadSpec, block_dims: tuple[int, ...], n_outputs: int) -> None:
        super().__init__()
        self.spec = spec
        self.block_dims = block_dims
        width = sum(block_dims)
        self.standardise = Standardise(width) if spec.standardise else None
        self.gate = nn.Linear(width, len(block_dims)) if spec.fusion == "gated" else None
        body_dims = block_dims if spec.fusion == "late" else (width,)
        hidden = _matched_hidden(spec, block_dims, n_outputs)
        self.bodies = nn.ModuleList(_body(spec, hidden, dim, n_outputs) for dim in body_dims)

    def forward(self, joined: Tensor) -> Tensor:
        """Logits (B, K) of joined blocks (B, sum D)."""
        if self.spec.fusion != "late":
            return self.bodies[0](self.fused(joined))
        blocks = self._standardised(joined).split(self.block_dims, dim=1)
        logits = [body(block) for body, block in zip(self.bodies, blocks, strict=True)]
        return torch.stack(logits).sum(dim=0)

    def fused(self, joined: Tensor) -> Tensor:
        """What the one body sees, (B, sum D); not for fusion "late", which has a body for each block."""
        joined = self._standardised(joined)
        if self.spec.fusion == "normalised":
            blocks = joined.split(self.block_dims, dim=1)
            return torch.cat([functional.normalize(block, dim=1) * block.shape[1] ** 0.5 for block in blocks], dim=1)
        if self.gate is None:
            return joined
        share = torch.softmax(self.gate(joined), dim=1) * len(self.block_dims)  # (B, n_blocks), all 1 when neutral
        blocks = joined.split(self.block_dims, dim=1)
        return torch.cat([block * share[:, i : i + 1] for i, block in enumerate(blocks)], dim=1)

    def _standardised(self, joined: Tensor) -> Tensor:
        return joined if self.standardise is None else self.standardise(joined)


class Standardise(nn.Module):
    """(x - mean) * scale for each input dimension, with statistics set once from the training part."""

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def set_statistics(self, mean: Tensor, deviation: Tensor) -> None:
        """Take mean and standard deviation (D,); a dimension that never varies says nothing and is switched off."""
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(deviation > 1e-6, 1.0 / deviation.clamp_min(1e-6), 0.0))

    def forward(self, joined: Tensor) -> Tensor:
        """(B, D) -> (B, D)."""
        return (joined - self.mean) * self.scale


def _body(spec: HeadSpec, hidden: Sequence[int], n_inputs: int, n_outputs: int) -> nn.Module:
    if spec.kind == "linear":
        return nn.Linear(n_inputs, n_outputs)
    if spec.kind == "knn":
        return NeighbourVote(n_inputs, n_outputs, spec.references, spec.neighbours, spec.index_bytes)
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(n_inputs, width), nn.ReLU()]
        n_inputs = width
    return nn.Sequential(*layers, nn.Linear(n_inputs, n_outputs))


def _matched_hidden(spec: HeadSpec, block_dims: Sequence[int], n_outputs: int) -> tuple[int, ...]:
    """The hidden widths, scaled by one factor so that the head is as large as the one of fusion "concat"."""
    if spec.kind != "mlp" or spec.fusion in ("concat", "normalised"):
        return spec.hidden

    def narrowed(factor: float) -> tuple[int, ...]:
        return tuple(max(1, round(width * factor)) for width in spec.hidden)

    width = sum(block_dims)
    target = _mlp_parameters(width, spec.hidden, n_outputs)
    bodies = block_dims if spec.fusion == "late" else (width,)
    gate = (width + 1) * len(block_dims) if spec.fusion == "gated" else 0
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = 0.5 * (low + high)
        size = gate + sum(_mlp_parameters(dim, narrowed(middle), n_outputs) for dim in bodies)
        low, high = (middle, high) if size <= target else (low, middle)
    return narrowed(low)


def _mlp_parameters(n_inputs: int, hidden: Sequence[int], n_outputs: int) -> int:
    widths = [n_inputs, *hidden, n_outputs]
    return sum((before + 1) * after for before, after in itertools.pairwise(widths))

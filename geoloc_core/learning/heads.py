"""The classifiers that turn vectors into logits, and nothing about how they are trained.

A head reads the vectors of one photo from one or several backbones ("blocks"), joined to one row of sum(D_i) numbers,
and gives one logit for each class. It never applies a softmax: the loss takes logits.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from geoloc_core.errors import ProfileError
from geoloc_core.learning.recipes import HeadSpec
from geoloc_core.learning.recipes import head_spec as head_spec


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
        self.bodies = nn.ModuleList(_body(spec, dim, n_outputs) for dim in body_dims)

    def forward(self, joined: Tensor) -> Tensor:
        """Logits (B, K) of joined blocks (B, sum D)."""
        if self.standardise is not None:
            joined = self.standardise(joined)
        if self.spec.fusion == "concat":
            return self.bodies[0](joined)
        blocks = joined.split(self.block_dims, dim=1)
        if self.spec.fusion == "late":
            logits = [body(block) for body, block in zip(self.bodies, blocks, strict=True)]
            return torch.stack(logits).sum(dim=0)
        if self.spec.fusion == "normalised":
            unit = [functional.normalize(block, dim=1) * block.shape[1] ** 0.5 for block in blocks]
            return self.bodies[0](torch.cat(unit, dim=1))
        assert self.gate is not None
        share = torch.softmax(self.gate(joined), dim=1) * len(blocks)  # (B, n_blocks), 1 each where the gate is neutral
        gated = [block * share[:, i : i + 1] for i, block in enumerate(blocks)]
        return self.bodies[0](torch.cat(gated, dim=1))


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


def _body(spec: HeadSpec, n_inputs: int, n_outputs: int) -> nn.Module:
    if spec.kind == "linear":
        return nn.Linear(n_inputs, n_outputs)
    layers: list[nn.Module] = []
    for width in spec.hidden:
        layers += [nn.Linear(n_inputs, width), nn.ReLU()]
        n_inputs = width
    return nn.Sequential(*layers, nn.Linear(n_inputs, n_outputs))

"""SGD and AdamW, by way of torch's functional forms.

The classes of torch.optim bring in torch's compiler with their first call, which costs every training process several
seconds; the functional forms underneath are the same arithmetic without it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from geoloc_core.errors import ProfileError
from geoloc_core.learning.recipes import Recipe

OPTIMISERS = ("sgd", "adamw", "lbfgs")


class Optimiser:
    """Moves parameters along their gradients; `state` is all that it remembers, nought at the start."""

    def __init__(self, parameters: Sequence[nn.Parameter], recipe: Recipe) -> None:
        if recipe.optimiser not in ("sgd", "adamw"):
            raise ProfileError(f"optimiser {recipe.optimiser!r} is not known; choose {', '.join(OPTIMISERS)}")
        self.parameters = list(parameters)
        self.recipe = recipe
        self._plain_rate = recipe.learning_rate
        device = self.parameters[0].device
        # A captured CUDA graph reads the rate from where it lay at capture, so it lies in a tensor there.
        self._rate = torch.tensor(recipe.learning_rate, device=device) if device.type == "cuda" else None
        self._moments = [torch.zeros_like(parameter) for parameter in self.parameters]
        self._squares: list[Tensor] = []
        self._steps: list[Tensor] = []
        if recipe.optimiser == "adamw":
            self._squares = [torch.zeros_like(parameter) for parameter in self.parameters]
            self._steps = [torch.zeros((), device=device) for _ in self.parameters]

    @property
    def state(self) -> list[Tensor]:
        """Everything that a step changes, except the parameters themselves."""
        return [*self._moments, *self._squares, *self._steps]

    def set_rate(self, rate: float) -> None:
        """The learning rate of the steps to come."""
        if self._rate is None:
            self._plain_rate = rate
        else:
            self._rate.fill_(rate)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move once; every parameter must have a gradient."""
        gradients = [_gradient(parameter) for parameter in self.parameters]
        values: list[Tensor] = [parameter.data for parameter in self.parameters]
        rate = self._plain_rate if self._rate is None else self._rate
        if self.recipe.optimiser == "sgd":
            sgd(
                values,
                gradients,
                list(self._moments),
                fused=True,
                lr=rate,
                momentum=self.recipe.momentum,
                weight_decay=self.recipe.weight_decay,
                dampening=0.0,
                nesterov=False,
                maximize=False,
            )
            return
        adamw(
            values,
            gradients,
            self._moments,
            self._squares,
            [],
            self._steps,
            fused=True,
            capturable=self._rate is not None,
            lr=rate,
            beta1=0.9,
            beta2=0.999,
            eps=1e-8,
            weight_decay=self.recipe.weight_decay,
            amsgrad=False,
            maximize=False,
        )


def _gradient(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad

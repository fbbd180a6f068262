"""Our optimisers against the classes of torch.optim, step by step."""

from dataclasses import replace

import pytest
import torch

from geoloc_core.errors import ProfileError
from geoloc_core.learning.optimisers import Optimiser
from geoloc_core.learning.recipes import DEFAULT, THESIS


@pytest.mark.parametrize("how", [replace(THESIS, weight_decay=0.01), DEFAULT], ids=["sgd", "adamw"])
def test_the_same_steps_as_torch(how):
    start = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    optimiser = Optimiser([ours], how)
    if how.optimiser == "sgd":
        reference = torch.optim.SGD([theirs], lr=1.0, momentum=0.9, weight_decay=0.01)
    else:
        reference = torch.optim.AdamW([theirs], lr=1.0, weight_decay=how.weight_decay)
    for rate in (0.1, 0.05, 0.2):
        for parameter in (ours, theirs):
            parameter.grad = None
            (parameter.sin().sum() + parameter.square().sum()).backward()
        optimiser.set_rate(rate)
        reference.param_groups[0]["lr"] = rate
        optimiser.step()
        reference.step()
        torch.testing.assert_close(ours, theirs)
    optimiser.zero_grad()
    assert ours.grad is None


def test_unknown_optimiser():
    with pytest.raises(ProfileError, match="sgd, adamw, lbfgs"):
        Optimiser([torch.nn.Parameter(torch.zeros(1))], replace(THESIS, optimiser="adam"))

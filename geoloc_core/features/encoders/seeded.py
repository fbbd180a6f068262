"""Checkpoints with random weights, made by the libraries' own classes and saved in their published layout.

They serve the sample and the tests: whatever loads them loads a full-size checkpoint the same way. Equal seeds give
equal bytes with equal versions of the libraries.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from geoloc_core.features.encoders import library_module
from geoloc_core.features.preprocessing import normalize
from geoloc_core.features.specification import BackboneSpec


def write_seeded_checkpoint(spec: BackboneSpec, folder: Path) -> None:
    """Write the checkpoint of a "seeded:<n>" specification into `folder`, which must not exist yet."""
    folder.mkdir(parents=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(spec.weights_target))
        library_module(spec.library).write_seeded(spec, folder)


def redraw(model: torch.nn.Module, initial_std: Mapping[str, float]) -> None:
    """Draw the parameters that match a pattern from a normal distribution of that deviation, in order of their names."""
    for name, parameter in sorted(model.named_parameters()):
        for pattern, std in initial_std.items():
            if fnmatch.fnmatch(name, pattern):
                torch.nn.init.normal_(parameter, 0.0, std)


def settle_batch_norms(
    model: torch.nn.Module, run: Callable[[torch.Tensor], object], spec: BackboneSpec, pictures: int = 64
) -> None:
    """Give a random network the statistics that training would have left in its batch normalisations.

    Without them random scores have one common direction and nearly every pixel falls into the same few classes. The
    statistics come from random pictures: coarse coloured patches with a little noise.
    """
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    patches = torch.nn.functional.interpolate(torch.rand(pictures, 3, 6, 6), size=(spec.input_size, spec.input_size))
    noisy = (patches + 0.05 * torch.randn_like(patches)).clamp(0, 1).mul(255).to(torch.uint8).movedim(1, -1)
    model.eval()
    for norm in norms:
        norm.train()
    with torch.inference_mode():
        run(normalize(noisy, spec))
    model.eval()

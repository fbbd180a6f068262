"""What makes the random weights of a "seeded:<n>" checkpoint a bank of filters that tells pictures apart."""

import fnmatch
from collections.abc import Callable, Mapping

import torch

from geoloc_core.features.preprocessing import normalize
from geoloc_core.features.specification import BackboneSpec


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

    Without them nearly every pixel falls into the same few classes. They are those of coarse random patches with some noise.
    """
    model.eval()
    for norm in model.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.reset_running_stats()
            norm.train().momentum = None
    patches = torch.nn.functional.interpolate(torch.rand(pictures, 3, 6, 6), size=(spec.input_size, spec.input_size))
    noisy = (patches + 0.05 * torch.randn_like(patches)).clamp(0, 1).mul(255).to(torch.uint8).movedim(1, -1)
    with torch.inference_mode():
        run(normalize(noisy, spec))
    model.eval()

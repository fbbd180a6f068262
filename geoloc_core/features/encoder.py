"""Loading a backbone: from a specification and a folder of checkpoints to an `Encoder`."""

from pathlib import Path

import torch

from geoloc_core.errors import CheckpointError
from geoloc_core.features.checkpoints import checkpoint_error, open_checkpoint
from geoloc_core.features.encoders import library_module
from geoloc_core.features.encoders.encoder_base import Encoder as Encoder
from geoloc_core.features.specification import BackboneSpec


def load_encoder(
    spec: BackboneSpec, checkpoints: Path | str, device: torch.device | str = "cpu", *, read_only: bool = False
) -> Encoder:
    """Load the backbone of `spec` from the folder `checkpoints` onto `device`; `read_only`: see `open_checkpoint`.

    Raises CheckpointError when weights are missing, damaged, or do not fit the specification.
    """
    if spec.decode == "nvjpeg" and torch.device(device).type != "cuda":
        raise CheckpointError(f"backbone {spec.name!r}: decode: nvjpeg needs an NVIDIA GPU; set decode: exact")
    path = open_checkpoint(spec, checkpoints, read_only=read_only).path
    embedder = None
    if spec.embedder is not None:
        embedder = load_encoder(spec.embedder, checkpoints, device, read_only=read_only)
    encoder: Encoder = library_module(spec.library).ENCODER(spec, path, torch.device(device), embedder)
    _try_out(encoder, path)
    return encoder


def _try_out(encoder: Encoder, path: Path) -> None:
    """Send one grey picture through the network, so that a wrong dimension is found before any photo is decoded."""
    spec = encoder.spec
    grey = torch.full((1, spec.input_size, spec.input_size, 3), 128, dtype=torch.uint8)

    def measure(_module: torch.nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, torch.Tensor):
            encoder.widest_bytes = max(encoder.widest_bytes, output.nbytes)

    measuring = torch.nn.modules.module.register_module_forward_hook(measure)
    try:
        vector = encoder.encode(encoder.normalize(grey))
    finally:
        measuring.remove()
    width = vector.shape[-1]
    if encoder.trunk_width not in (0, width):
        problem = (
            f"have {width} numbers and its trunk has {encoder.trunk_width}, so they are not those before the projection"
        )
        raise CheckpointError(
            f"backbone {spec.name!r}: the vectors of {spec.model_id} {problem}; use pooling: projected"
        )
    if tuple(vector.shape) != (1, spec.dimension):
        problem = f"gives vectors of {width} numbers and the specification says {spec.dimension}"
        raise checkpoint_error(spec, path, f"{problem}; set dimension: {width} or use the weights that it names")
    if not torch.isfinite(vector).all():
        problem = "gives vectors that are not finite, so its weights are damaged; restore it from its source"
        raise checkpoint_error(spec, path, problem)

"""Semantic maps as features: the best class of each pixel, drawn in ADE20K's colours and read by a ViT as if it were a photo.

With pooling "class_area" the vector is the share of the picture that each class covers, and no second network is needed.
"""

from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch.nn.functional import interpolate

from geoloc_core.errors import CheckpointError
from geoloc_core.features import preprocessing
from geoloc_core.features.checkpoints import checkpoint_error, weights_files
from geoloc_core.features.encoders import HRNET_FILES, HRNET_MODEL_ID
from geoloc_core.features.encoders.encoder_base import Encoder
from geoloc_core.features.encoders.hrnet import HighResolutionSegmenter, load_published
from geoloc_core.features.encoders.loading import (
    check_processor,
    first_line,
    load_config,
    load_pretrained,
    processor_settings,
    read_weights,
    silence_transformers,
)
from geoloc_core.features.encoders.seeded import redraw, settle_batch_norms
from geoloc_core.features.specification import BackboneSpec

_COLOURS = Path(__file__).with_name("ade20k_colours.txt").read_text(encoding="ascii").split()
ADE20K_COLOURS = np.array([list(bytes.fromhex(colour)) for colour in _COLOURS], dtype=np.uint8)
"""(150, 3): red, green, blue of each class, "wall" first, as in MIT CSAIL's color150.mat; road and skyscraper share a grey."""

SCORES_AT_ONCE = 64 * 1024 * 1024
"""How many class scores at full size are held at once (256 MB of float32)."""


class SegmentationEncoder(Encoder):
    """A segmentation network, and the encoder that reads its coloured map (None for class areas)."""

    def __init__(self, spec: BackboneSpec, path: Path, device: torch.device, embedder: Encoder | None = None) -> None:
        super().__init__(spec, device)
        if (embedder is None) != (spec.pooling == "class_area"):
            problem = "pooling class_area needs no embedder, and every other pooling needs one"
            raise CheckpointError(f"backbone {spec.name!r}: {problem}")
        self.embedder = embedder
        self.trunk_width = 0 if embedder is None else embedder.trunk_width
        self.network = load_network(spec, path).to(device)
        self.colours = torch.from_numpy(ADE20K_COLOURS).to(device)

    def class_map(self, batch: torch.Tensor) -> torch.Tensor:
        """float32 (B, 3, S, S) -> class of each pixel, int64 (B, S, S)."""
        with self.precision():
            scores = class_scores(self.network, batch)  # (B, K, h, w), mostly h = w = S/4
        if scores.shape[1] != self.spec.n_classes:
            problem = f"the network has {scores.shape[1]} classes and the specification says {self.spec.n_classes}"
            raise CheckpointError(f"backbone {self.spec.name!r}: {problem}; correct n_classes")
        # Scores at full size are 150 planes of floats for each picture, so only a few pictures at a time.
        at_once = max(1, SCORES_AT_ONCE // (scores.shape[1] * batch.shape[-1] * batch.shape[-2]))
        enlarge = partial(interpolate, size=batch.shape[-2:], mode="bilinear", align_corners=False)
        return torch.cat([enlarge(part).argmax(dim=1) for part in scores.float().split(at_once)])

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """float32 (B, 3, S, S) -> (B, D)."""
        classes = self.class_map(batch)
        if self.embedder is None:
            return class_areas(classes, self.spec.n_classes)
        pictures = preprocessing.resize_batch(self.colours[classes], self.embedder.spec)
        normalized = self.embedder.normalize(pictures)
        with self.embedder.precision():
            return self.embedder.forward(normalized)


def class_areas(classes: torch.Tensor, n_classes: int) -> torch.Tensor:
    """Class map (B, H, W) -> share of the pixels of each class, float32 (B, n_classes); each row sums to one."""
    counts = torch.stack([torch.bincount(one.flatten(), minlength=n_classes) for one in classes])
    return counts.to(torch.float32) / classes[0].numel()


def class_scores(network: torch.nn.Module, batch: torch.Tensor) -> torch.Tensor:
    """Scores of each class on the network's own grid, float32 (B, K, h, w)."""
    if isinstance(network, HighResolutionSegmenter):
        return network(batch)
    output = network(pixel_values=batch)
    if hasattr(output, "logits"):
        return output.logits
    # Mask2Former gives masks, each with a class: a class's score is the sum over masks (Cheng et al. 2022, section 3.1),
    # on the fixed grid that its library's processor uses.
    masks = interpolate(output.masks_queries_logits, size=(384, 384), mode="bilinear", align_corners=False).sigmoid()
    classes = output.class_queries_logits.softmax(dim=-1)[..., :-1]
    return torch.einsum("bqc,bqhw->bchw", classes, masks)


def _model_class(model_type: str) -> Any:
    import transformers

    if model_type in ("mask2former", "maskformer"):
        return transformers.AutoModelForUniversalSegmentation
    return transformers.AutoModelForSemanticSegmentation


def load_network(spec: BackboneSpec, path: Path) -> torch.nn.Module:
    """The segmentation network of a specification, in evaluation mode."""
    if spec.model_id != HRNET_MODEL_ID:
        check_processor(path, spec)
        return load_pretrained(_model_class(load_config(path, spec).model_type), path, spec)
    model = HighResolutionSegmenter(spec.n_classes, spec.architecture)
    try:
        load_published(model, *(read_weights(file) for file in weights_files(spec, path)))
    except (OSError, ValueError, RuntimeError, AttributeError, UnpicklingError) as error:
        problem = f"is not HRNetV2 with a C1 head: {first_line(error)}; restore it from its source"
        raise checkpoint_error(spec, path, problem) from error
    return model.eval().requires_grad_(False)


ENCODER = SegmentationEncoder


def write_seeded(spec: BackboneSpec, folder: Path) -> None:
    """Write a segmentation network with random weights, in the layout of transformers or, for HRNet, MIT CSAIL's."""
    if spec.model_id == HRNET_MODEL_ID:
        hrnet = HighResolutionSegmenter(spec.n_classes, spec.architecture)
        redraw(hrnet, spec.initial_std)
        settle_batch_norms(hrnet, hrnet, spec)
        for name, part in zip(HRNET_FILES, (hrnet.encoder, hrnet.decoder), strict=True):
            torch.save(part.state_dict(), folder / name)
        return
    import transformers

    settings: dict[str, Any] = dict(spec.architecture)
    config = transformers.AutoConfig.for_model(settings.pop("model_type"), **settings)
    model = _model_class(config.model_type).from_config(config)
    redraw(model, spec.initial_std)
    settle_batch_norms(model, lambda pictures: model(pixel_values=pictures), spec)
    silence_transformers()
    model.save_pretrained(folder)
    transformers.SegformerImageProcessor(**processor_settings(spec)).save_pretrained(folder)

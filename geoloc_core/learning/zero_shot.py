"""CLIP without training: which region's name lies nearest to the photo in the space that images and texts share.

The vectors of the names come from the text tower of the same checkpoint as those of the images; what comes out is an
ordinary head, one more row in every table.
"""

from collections.abc import Sequence

import numpy as np
import torch

from geoloc_core.errors import InputError
from geoloc_core.geography.cells import ROOT
from geoloc_core.learning.posterior import Head
from geoloc_core.learning.recipes import HeadSpec

SUBJECTS = ("photo taken", "photo of a place", "photo of everyday life", "landscape", "street")
TEMPLATES = tuple(f"a {subject} in {{}}" for subject in SUBJECTS)
"""Sentences around a region's name; their vectors are averaged (Radford et al. 2021 call this prompt ensembling)."""


def sentences(names: Sequence[str]) -> list[str]:
    """Every template with every name, name by name: the order that `zero_shot_head` expects."""
    return [template.format(name) for name in names for template in TEMPLATES]


def zero_shot_head(text: np.ndarray, logit_scale: float, classes: Sequence[str], level: str = ROOT) -> Head:
    """A head that was never trained: logits = logit_scale * cosine(image, name), the name averaged over the templates.

    text: float32 (K * templates, D), vectors of `sentences(names of the classes)` in the space of the image vectors;
    logit_scale: the checkpoint's own (about 100). The classes may be any regions: nothing is learned from photos.
    """
    n_templates = len(TEMPLATES)
    if text.ndim != 2 or len(text) != n_templates * len(classes):
        raise InputError(
            f"zero-shot needs {n_templates} sentences for each of {len(classes)} regions, but got vectors of shape {text.shape}"
        )
    unit = text / np.maximum(np.linalg.norm(text, axis=1, keepdims=True), 1e-12)
    mean = unit.reshape(len(classes), n_templates, -1).mean(axis=1)
    mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
    dimension = text.shape[1]
    # Fusion "normalised" brings an image vector to length sqrt(D).
    weight = mean * logit_scale / dimension**0.5
    return Head(
        spec=HeadSpec("linear", fusion="normalised"),
        block_dims=(dimension,),
        state={"bodies.0.weight": torch.from_numpy(weight).float(), "bodies.0.bias": torch.zeros(len(classes))},
        level=level,
        classes=list(classes),
        parents=list(classes),
        class_counts=np.ones(len(classes), dtype=np.int64),
        calibration={"stopping_source": "none"},
    )

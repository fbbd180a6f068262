"""The thesis's own figures, to stand beside ours where they mean the same: its dataset, its benchmarks, its weights.

On other photos, or with other weights, they would compare nothing, so nothing is returned there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from geoloc_core.evaluation.evaluate import Evaluation

if TYPE_CHECKING:
    from geoloc_core.features.specification import BackboneSpec

TRAINING_DATASET = "mp16"
THESIS: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
THESIS_VIT = "google/vit-large-patch16-224-in21k"
THESIS_CLIP = ("ViT-L-14", "ViT-L-14-quickgelu")


def thesis_rows(
    photos: str, training_datasets: Collection[str], features: Mapping[str, Sequence[BackboneSpec]]
) -> list[Evaluation]:
    """Rows of kind "published" for "validation" or a benchmark, for those feature sets whose weights are the thesis's.

    The thesis's validation photos were a random fifth of MP-16, ours are of other authors than the training photos: the same
    dataset, a harder question. training_datasets: what heads learned from; features: the backbones of each set, in order.
    """
    if set(training_datasets) != {TRAINING_DATASET}:
        return []
    rows = []
    for row in THESIS:
        if row["photos"] == photos and _is_of_thesis(row["features"], features.get(row["features"], ())):
            words = "thesis: " + ".".join(filter(None, (row["features"], row["head"])))
            rows.append(Evaluation(words, "published", photos, row["figures"], {}))
    return rows


def _is_of_thesis(name: str, backbones: Sequence[BackboneSpec]) -> bool:
    """Whether the backbones of a feature set are, one by one, those that the thesis names for it."""
    parts = name.split("+")
    return len(parts) == len(backbones) and all(map(_is_backbone_of_thesis, parts, backbones))


def _is_backbone_of_thesis(part: str, spec: BackboneSpec) -> bool:
    if part == "clip":
        return spec.library == "open_clip" and spec.model_id in THESIS_CLIP and spec.pretrained == "openai"
    if spec.weights_kind == "seeded":
        return False
    if part == "vit":
        return spec.library == "transformers" and spec.model_id == THESIS_VIT
    reader = spec.embedder
    return spec.library == "segmentation" and reader is not None and _is_backbone_of_thesis("vit", reader)

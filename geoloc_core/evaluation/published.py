"""The thesis's own figures, to stand beside ours where they mean the same: its dataset, its benchmarks, its weights.

On other photos, or with other weights, they would compare nothing, so nothing is returned there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from geoloc_core.evaluation.evaluate import VALIDATION, Evaluation

if TYPE_CHECKING:
    from geoloc_core.features.specification import BackboneSpec

TRAINING_DATASET = "mp16"
# Okkerman (2024), Tables 2 and 3, as far as our notes hold them; what they do not hold is left empty. The key is
# features, head ("" where the notes do not tell which) and photos. Distances of Table 3 begin at 200 km.
THESIS: dict[tuple[str, str, str], dict[str, float]] = {
    ("clip+vit", "mlp", VALIDATION): {"accuracy": 26.4, "mean_km": 4890.0, "top5": 41.5, "top10": 47.0},
    ("clip", "", VALIDATION): {"accuracy": 3.5, "top5": 6.9, "top10": 29.3},
    ("vit+segvit", "", VALIDATION): {"accuracy": 3.1},
    ("clip+vit", "mlp", "im2gps"): {"within_200": 8.4, "within_750": 23.8, "within_2500": 56.6},
    ("clip+vit", "mlp", "im2gps3k"): {"within_200": 4.4, "within_750": 20.3, "within_2500": 52.2},
    ("clip", "", "im2gps3k"): {"within_200": 2.5, "within_750": 15.4, "within_2500": 48.2},
    ("vit+segvit", "", "im2gps3k"): {"within_200": 2.7, "within_750": 10.4, "within_2500": 30.9},
}
THESIS_VIT = "google/vit-large-patch16-224-in21k"
THESIS_CLIP = ("ViT-L-14", "ViT-L-14-quickgelu")


def thesis_rows(
    photos: str, training_datasets: Collection[str], features: Mapping[str, Sequence[BackboneSpec]]
) -> list[Evaluation]:
    """Rows of kind "published" for one set of photos, for those feature sets whose weights are the thesis's.

    Args:
        photos: "validation" or a benchmark's name. The thesis's validation photos were a random fifth of MP-16, ours are
            of other authors than the training photos: the same dataset, a harder question.
        training_datasets: names of the datasets that heads learned from.
        features: the backbones of each feature set, in order.
    """
    if set(training_datasets) != {TRAINING_DATASET}:
        return []
    rows = []
    for (name, head, where), figures in THESIS.items():
        if where == photos and _is_of_thesis(name, features.get(name, ())):
            words = f"thesis: {name}.{head}" if head else f"thesis: {name}"
            rows.append(Evaluation(words, "published", photos, dict(figures), {}))
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

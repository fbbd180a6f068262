"""What training minimises; every loss takes logits, never probabilities.

(A softmax before a cross-entropy that applies its own caps the probability of the truth at e / (e + K - 1): 0.011 for
240 classes, whatever the head learns.)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from geoloc_core.geography.sphere import EARTH_RADIUS_KM, unit_vectors
from geoloc_core.learning.data import TrainingData
from geoloc_core.learning.recipes import Recipe
from geoloc_core.learning.weights import class_weights

PHOTOS_FOR_TAU = 2_000


@dataclass(frozen=True)
class Objective:
    """The loss of a recipe, with what it needs on the device.

    weights: (K,). parent_of_class: int64 (K,), the coarser cell of each class, where the loss is taken at both levels.
    For haversine label smoothing: photos (n, 3) and class anchors (K, 3) on the unit sphere, and tau in km.
    """

    weights: Tensor | None = None
    parent_of_class: Tensor | None = None
    smoothing: tuple[Tensor, Tensor, float] | None = None

    def __call__(self, logits: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
        """The loss to train on: logits (B, K), labels (B,), rows (B,) the photos' row numbers."""
        targets = labels
        if self.smoothing is not None:
            photos, anchors, tau_km = self.smoothing
            targets = haversine_targets(great_circle_km(photos[rows], anchors), labels, tau_km)
        per_photo = self._at_both_levels(cross_entropy(logits, targets, reduction="none"), logits, labels)
        if self.weights is None:
            return per_photo.mean()
        # Divided by the sum of the batch's weights, as torch does: one photo of a rare class dominates its batch.
        weights = self.weights[labels]
        return (per_photo * weights).sum() / weights.sum()

    @torch.no_grad()
    def stopping_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss that decides when to stop, summed over these photos: plain, without weights and smoothing.

        It asks how probable the head makes the truth for photos as they come, whatever the training emphasised.
        """
        return self._at_both_levels(cross_entropy(logits, labels, reduction="none"), logits, labels).sum()

    def _at_both_levels(self, per_photo: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        if self.parent_of_class is None:
            return per_photo
        return per_photo + parent_cross_entropy(logits, self.parent_of_class, self.parent_of_class[labels])


def build_objective(
    data: TrainingData,
    recipe: Recipe,
    n_classes: int,
    rows: np.ndarray,
    parents: Sequence[str] | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Objective:
    """The objective of `recipe`, fitted on `rows` of `data`; with `parents` (K,) the loss of their level is added."""
    weights = parent_of_class = smoothing = None
    if recipe.class_weights != "none":
        if data.class_weights is not None:
            values = data.class_weights[recipe.class_weights]
        else:
            values = class_weights(np.bincount(data.labels[rows], minlength=n_classes), recipe.class_weights)
        weights = torch.from_numpy(values).float().to(device)
    if parents is not None:
        parent_of_class = torch.from_numpy(np.unique(np.asarray(parents), return_inverse=True)[1]).to(device)
    if recipe.smoothing_mass > 0 and n_classes > 1:
        photos = torch.from_numpy(unit_vectors(data.latitude, data.longitude).astype(np.float32))
        labels = torch.from_numpy(data.labels)
        anchors = class_anchors(photos[rows], labels[rows], n_classes)
        sample = np.random.default_rng(seed).permutation(rows)[:PHOTOS_FOR_TAU]
        tau_km = fit_tau_km(great_circle_km(photos[sample], anchors), labels[sample], recipe.smoothing_mass)
        smoothing = photos.to(device), anchors.to(device), tau_km
    return Objective(weights, parent_of_class, smoothing)


def class_anchors(photos: Tensor, labels: Tensor, n_classes: int) -> Tensor:
    """The mean direction (K, 3) of each class's photos: unit vectors (n, 3), labels (n,)."""
    return normalize(torch.zeros((n_classes, 3)).index_add_(0, labels, photos), dim=1)


def parent_cross_entropy(logits: Tensor, parent_of_class: Tensor, parents: Tensor) -> Tensor:
    """-log of the probability of the true coarser cell, which is the sum over the classes within it, (B,).

    logits (B, K); parent_of_class int64 (K,); parents int64 (B,), the truth.
    log p(parent) = logsumexp(logits of its classes) - logsumexp(all logits), so nothing underflows.
    """
    elsewhere = parent_of_class.unsqueeze(0) != parents.unsqueeze(1)  # (B, K)
    within = torch.logsumexp(logits.masked_fill(elsewhere, float("-inf")), dim=1)
    return torch.logsumexp(logits, dim=1) - within


def great_circle_km(points: Tensor, anchors: Tensor) -> Tensor:
    """Great-circle distance (B, K) in km between unit vectors (B, 3) and (K, 3).

    The haversine is (1 - cos of the angle) / 2; in float32 the result is good to about 3 km, far below any tau.
    """
    haversine = ((1.0 - points @ anchors.T) * 0.5).clamp(0.0, 1.0)
    return 2.0 * EARTH_RADIUS_KM * torch.asin(haversine.sqrt())


def haversine_targets(distance_km: Tensor, labels: Tensor, tau_km: float) -> Tensor:
    """Soft targets (B, K) that forgive a near miss: q_k proportional to exp(-d_k / tau), sum 1.

    After PIGEON (Haas et al. 2024), with two corrections. The targets are normalised (there they sum to more than 1, so
    that dense areas take larger steps). And d is the distance from the photo to the *region*: 0 for the region that it
    lies in, the distance to the region's anchor for the others; with anchors alone a photo of Moscow would be more
    Estonian than Russian. distance_km (B, K) from photos to anchors, labels int64 (B,).
    """
    return torch.softmax(-distance_km.scatter(1, labels.unsqueeze(1), 0.0) / tau_km, dim=1)


def fit_tau_km(distance_km: Tensor, labels: Tensor, mass: float) -> float:
    """The tau at which haversine targets give `mass` (0 to 1) of the probability to other regions, on average.

    So one setting fits every level: sub-divisions lie closer together than countries and get a smaller tau. The mass
    grows with tau, so bisection finds it; bounds 1 km to 20,000 km.
    """
    low, high = 1.0, 20_000.0
    for _ in range(30):
        middle = (low * high) ** 0.5
        targets = haversine_targets(distance_km, labels, middle)
        mass_elsewhere = 1.0 - targets.gather(1, labels.unsqueeze(1)).double().mean().item()
        low, high = (middle, high) if mass_elsewhere < mass else (low, middle)
    return (low * high) ** 0.5

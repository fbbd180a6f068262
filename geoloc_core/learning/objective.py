"""The loss of one recipe at one level, with what it needs kept on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geoloc_core.geography.sphere import unit_vectors
from geoloc_core.learning import losses
from geoloc_core.learning.data import TrainingData
from geoloc_core.learning.recipes import Recipe
from geoloc_core.learning.weights import class_weights

PHOTOS_FOR_TAU = 2_000


@dataclass(frozen=True)
class Smoothing:
    """Haversine label smoothing: photos (n, 3) and anchors (K, 3) on the unit sphere, tau in km."""

    photos: Tensor
    anchors: Tensor
    tau_km: float


@dataclass(frozen=True)
class Objective:
    """weights (K,) or none; country_of_class int64 (K,) where the level is hierarchical; smoothing or none."""

    weights: Tensor | None
    divide_by: str
    country_of_class: Tensor | None
    smoothing: Smoothing | None

    def __call__(self, logits: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
        """The loss to train on: logits (B, K), labels (B,), rows (B,) the photos' numbers."""
        if self.smoothing is None:
            per_photo = losses.cross_entropy(logits, labels)
        else:
            distance = losses.great_circle_km(self.smoothing.photos[rows], self.smoothing.anchors)
            targets = losses.haversine_targets(distance, labels, self.smoothing.tau_km)
            per_photo = losses.soft_cross_entropy(logits, targets)
        return self._average(per_photo, logits, labels)

    @torch.no_grad()
    def judge(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss that decides when to stop, summed over these photos: plain, without weights and smoothing.

        It asks how probable the head makes the truth for photos as they come, whatever the training emphasised.
        """
        return self._with_country(losses.cross_entropy(logits, labels), logits, labels).sum()

    def _average(self, per_photo: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        weights = None if self.weights is None else self.weights[labels]
        return losses.average(self._with_country(per_photo, logits, labels), weights, self.divide_by)

    def _with_country(self, per_photo: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        if self.country_of_class is None:
            return per_photo
        countries = self.country_of_class[labels]
        return per_photo + losses.country_marginal_cross_entropy(logits, self.country_of_class, countries)


def build_objective(
    data: TrainingData,
    recipe: Recipe,
    parents: Sequence[str],
    level: str,
    fit: np.ndarray,
    seed: int,
    device: torch.device,
) -> Objective:
    """The objective of `recipe`, fitted on the rows `fit` of `data`."""
    n_classes = len(parents)
    weights = None
    if recipe.class_weights != "none":
        if data.class_weights is not None:
            values = np.asarray(data.class_weights[recipe.class_weights], dtype=np.float64)
        else:
            values = class_weights(np.bincount(data.labels[fit], minlength=n_classes), recipe.class_weights)
        weights = torch.from_numpy(values).float().to(device)
    country = None
    if level == "hierarchical":
        country = torch.from_numpy(np.unique(np.asarray(parents), return_inverse=True)[1]).to(device)
    smoothing = None
    if recipe.smoothing_mass > 0 and n_classes > 1:
        smoothing = _fit_smoothing(data, recipe.smoothing_mass, n_classes, fit, seed, device)
    return Objective(weights, recipe.divide_by, country, smoothing)


def _fit_smoothing(
    data: TrainingData, mass: float, n_classes: int, fit: np.ndarray, seed: int, device: torch.device
) -> Smoothing:
    photos = unit_vectors(data.latitude, data.longitude).astype(np.float32)
    labels = data.labels[fit]
    sums = np.stack([np.bincount(labels, photos[fit, axis], minlength=n_classes) for axis in range(3)], axis=1)
    length = np.linalg.norm(sums, axis=1, keepdims=True)
    anchors = torch.from_numpy((sums / np.maximum(length, 1e-12)).astype(np.float32))
    some = np.random.default_rng(seed).permutation(fit)[:PHOTOS_FOR_TAU]
    distance = losses.great_circle_km(torch.from_numpy(photos[some]), anchors)
    tau = losses.fit_tau_km(distance, torch.from_numpy(data.labels[some]), mass)
    return Smoothing(torch.from_numpy(photos).to(device), anchors.to(device), tau)

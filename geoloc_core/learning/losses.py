"""What training minimises; every loss takes logits, never probabilities.

(A softmax before a cross-entropy that applies its own caps the probability of the truth at e / (e + K - 1): 0.011 for
240 classes, whatever the head learns.)
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from geoloc_core.geography.sphere import EARTH_RADIUS_KM


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """-log softmax(logits)[label] of each photo, (B,); logits (B, K), labels int64 (B,)."""
    return functional.cross_entropy(logits, labels, reduction="none")


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """-sum_k target_k log softmax(logits)_k of each photo, (B,); targets (B, K)."""
    return -(targets * functional.log_softmax(logits, dim=1)).sum(dim=1)


def country_marginal_cross_entropy(logits: Tensor, country_of_class: Tensor, countries: Tensor) -> Tensor:
    """-log of the probability of the true country, which is the sum over that country's sub-divisions, (B,).

    logits (B, K) over sub-divisions; country_of_class int64 (K,); countries int64 (B,), the truth.
    log p(country) = logsumexp(logits of its sub-divisions) - logsumexp(all logits), so nothing underflows.
    """
    elsewhere = country_of_class.unsqueeze(0) != countries.unsqueeze(1)  # (B, K)
    within = torch.logsumexp(logits.masked_fill(elsewhere, float("-inf")), dim=1)
    return torch.logsumexp(logits, dim=1) - within


def average(per_photo: Tensor, weights: Tensor | None, divide_by: str) -> Tensor:
    """Weighted mean of losses (B,) with the weights of the photos (B,), or none.

    divide_by "weight": by the sum of the batch's weights (torch's own convention, used by the thesis: one photo of a
    rare class then owns the batch that it falls in); "count": by the batch size, which keeps each photo's pull
    independent of the company it is in.
    """
    if weights is None:
        return per_photo.mean()
    total = (per_photo * weights).sum()
    return total / (weights.sum() if divide_by == "weight" else len(weights))


def great_circle_km(points: Tensor, anchors: Tensor) -> Tensor:
    """Great-circle distance (B, K) in km between unit vectors (B, 3) and (K, 3).

    The haversine is (1 - cos of the angle) / 2; in float32 the result is good to about 3 km, far below any tau.
    """
    haversine = ((1.0 - points @ anchors.T) * 0.5).clamp(0.0, 1.0)
    return 2.0 * EARTH_RADIUS_KM * torch.asin(haversine.sqrt())


def haversine_targets(distance_km: Tensor, labels: Tensor, tau_km: float) -> Tensor:
    """Soft targets (B, K) that forgive a near miss: q_k proportional to exp(-d_k / tau), sum 1.

    After PIGEON (Haas et al. 2024), with two mends. The targets are normalised (there they sum to more than 1, so that
    dense areas take larger steps). And d is the distance from the photo to the *region*: 0 for the region that it lies
    in, the distance to the region's anchor for the others; with anchors alone a photo of Moscow would be more Estonian
    than Russian. distance_km (B, K) from photos to anchors, labels int64 (B,).
    """
    own = torch.arange(distance_km.shape[1], device=labels.device).unsqueeze(0) == labels.unsqueeze(1)
    to_region = distance_km.masked_fill(own, 0.0)
    return torch.softmax(-to_region / tau_km, dim=1)


def fit_tau_km(distance_km: Tensor, labels: Tensor, mass: float) -> float:
    """The tau at which haversine targets give away `mass` (0 to 1) of the probability on average over these photos.

    So one setting fits every level: sub-divisions lie closer together than countries and get a smaller tau. The mass
    given away grows with tau, so halving the bracket finds it; bounds 1 km to 20,000 km.
    """
    low, high = 1.0, 20_000.0
    for _ in range(30):
        middle = (low * high) ** 0.5
        targets = haversine_targets(distance_km, labels, middle)
        given_away = 1.0 - targets.gather(1, labels.unsqueeze(1)).double().mean().item()
        low, high = (middle, high) if given_away < mass else (low, middle)
    return (low * high) ** 0.5

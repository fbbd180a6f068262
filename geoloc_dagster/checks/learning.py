"""Weights that are numbers, heads that learned something."""

import dagster as dg

from geoloc_core.line.project import Project
from geoloc_dagster.assets import learning
from geoloc_dagster.checks.verdict import Verdict, asset_check


def class_weights_finite(project: Project, level: str) -> Verdict:
    """Every weight of every scheme is a positive, finite number, and every class has a photo."""
    import numpy as np

    from geoloc_core.learning.weights import CLASS_WEIGHT_SCHEMES
    from geoloc_core.photos.rows import read_rows

    table = read_rows(project.layout.class_weights(level))
    weights = table[list(CLASS_WEIGHT_SCHEMES)].to_numpy(dtype=np.float64)
    good = bool(np.isfinite(weights).all() and (weights > 0).all() and (table["n_photos"] >= 1).all())
    figures = {"classes": len(table), "smallest": float(weights.min()), "largest": float(weights.max())}
    return Verdict("" if good else "a weight is not a positive number, or a class has no photo", figures)


def head_beats_the_prior(project: Project, key: str) -> Verdict:
    """On the photos that decided when to stop, the head's log loss is below that of always answering with the class
    shares: it has learned something from the vectors.
    """
    import numpy as np

    from geoloc_core.learning.head_files import load_head

    head = load_head(project.layout.head(key))
    shares = np.asarray(head.class_counts, dtype=np.float64) / sum(head.class_counts)
    # Stopping photos follow the same shares, so the prior's expected log loss is their entropy.
    prior = float(-(shares * np.log(shares)).sum())
    loss = float(head.calibration["nll"])
    wrong = "" if loss < prior else f"the head's log loss {loss:.3f} is not below the prior's {prior:.3f}"
    return Verdict(wrong, {"log_loss": loss, "prior_log_loss": prior})


CHECKS: list[dg.AssetChecksDefinition] = [
    asset_check(learning.class_weights, "finite", class_weights_finite, blocking=True),
    asset_check(learning.heads, "beats_the_prior", head_beats_the_prior, blocking=False),
]

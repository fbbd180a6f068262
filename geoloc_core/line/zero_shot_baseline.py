"""A row of the tables that learned from no photo of ours: CLIP asked which country's name suits the picture.

One row for each backbone of the profile that shares its space with texts. It stands among the baselines: a head that is not
better than the names of the countries has learned little.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from geoloc_core.devices import pick_device
from geoloc_core.errors import CheckpointError
from geoloc_core.evaluation.predictions import continents, predictions_frame
from geoloc_core.features.text import encode_text
from geoloc_core.geography.boundaries import BoundarySet
from geoloc_core.learning.posterior import Head
from geoloc_core.learning.zero_shot import sentences, zero_shot_head
from geoloc_core.line.inputs import picture_status, read_blocks
from geoloc_core.line.layout import Layout
from geoloc_core.line.profile import Profile

ZERO_SHOT = "zero-shot"


class ZeroShot(NamedTuple):
    """Heads by the name of their row, each with its backbone; `left_out` says why a backbone has no row."""

    heads: dict[str, tuple[str, Head]]
    left_out: dict[str, str]


def zero_shot_heads(profile: Profile, checkpoints: Path, boundaries: BoundarySet) -> ZeroShot:
    """A head over all countries of the boundary set for each backbone with a text tower; nothing is trained."""
    countries = boundaries.countries.sort_values("region_id")
    ids, names = countries["region_id"].tolist(), countries["name"].tolist()
    rows = ZeroShot({}, {})
    for spec in filter(lambda spec: spec.has_text_tower, map(profile.backbone, profile.backbones())):
        try:
            text = encode_text(spec, checkpoints, sentences(names), pick_device(profile.device))
        except CheckpointError as error:
            # Weights whose tokenizer is not at hand still make good image vectors.
            rows.left_out[spec.name] = str(error)
            continue
        drawn = ", random weights" if spec.weights_kind == "seeded" else ""
        rows.heads[f"{ZERO_SHOT} {spec.name}{drawn}"] = spec.name, zero_shot_head(text.vectors, text.logit_scale, ids)
    return rows


def zero_shot_predictions(
    zero_shot: ZeroShot,
    layout: Layout,
    photos: pd.DataFrame,
    shards: tuple[str, ...],
    points: pd.DataFrame,
    boundaries: BoundarySet,
) -> dict[str, pd.DataFrame]:
    """Predictions by row. photos: with shard, which is one of `shards`; points: region_id, latitude, longitude."""
    predictions = {}
    place = points.set_index("region_id")[["latitude", "longitude"]]
    for row, (name, head) in zero_shot.heads.items():
        blocks, present = read_blocks(layout, (name,), shards, photos)
        posterior, status = head.country_posterior(blocks), picture_status(layout, photos, present)
        answers = place.loc[head.countries].to_numpy()[posterior.argmax(axis=1)]
        others: dict[str, Any] = {"continents": continents(boundaries), "status": status}
        predictions[row] = predictions_frame(photos, posterior, head.countries, answers, **others)
    return predictions

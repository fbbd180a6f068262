"""The training set of a project: every labelled shard, less what must not be learned from."""

from __future__ import annotations

import pandas as pd

from geoloc_core.line.layout import Layout
from geoloc_core.line.profile import Profile
from geoloc_core.photos.rows import read_rows
from geoloc_core.photos.splits import assemble_training
from geoloc_core.photos.warehouse import Warehouse


def collect_training(profile: Profile, layout: Layout, warehouse: Warehouse) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(rows of `TrainingPhotos`, rows of `ExcludedPhotos`); together they are the labelled photos of all training shards."""
    training, benchmarks = list(profile.training_shards()), list(profile.benchmark_names())
    return assemble_training(
        warehouse.read_table("labeled_photos", {"shard": training}),
        _manifests(layout, training),
        warehouse.read_table("labeled_photos", {"shard": benchmarks}),
        _manifests(layout, benchmarks),
        key=profile.split.key,
        validation_share=profile.split.validation_share,
        max_phash_distance=profile.split.max_phash_distance,
        min_support=profile.split.min_support,
    )


def _manifests(layout: Layout, shards: list[str]) -> pd.DataFrame:
    frames = [read_rows(layout.images(shard)).assign(shard=shard) for shard in shards]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

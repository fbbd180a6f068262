"""New shards against the photos that the heads learned from: the evidence for a retraining."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from geoloc_core.drift import Drift, country_drift, embedding_drift
from geoloc_core.line.lineage import Target, two_dimensional
from geoloc_core.line.plan import State

# Shards of the reference whose vectors are read: their mean and variance need no more.
REFERENCE_SHARDS = 3


@dataclass(frozen=True)
class ShardDrift:
    """What was found of one new shard; `version` is that of its labels and vectors."""

    shard: str
    version: str
    drifts: tuple[Drift, ...]

    @property
    def found(self) -> tuple[Drift, ...]:
        """The comparisons that show drift."""
        return tuple(drift for drift in self.drifts if drift.found)


def learned_and_new(state: State) -> tuple[list[str], list[str]]:
    """Training shards that the present heads were made from, and those that they know nothing or something else of.

    Only shards that are labelled and embedded count. Where there is no head yet, nothing is new.
    """
    profile = state.lineage.profile
    made_from: dict[str, set[str]] = {}
    for key in profile.experiment_keys():
        receipt = state.receipts.get(Target("heads", key))
        for name, version in (receipt.made_from if receipt else {}).items():
            made_from.setdefault(name, set()).add(version)
    learned: list[str] = []
    new: list[str] = []
    for shard in profile.training_shards():
        vectors = [Target("embeddings", two_dimensional(backbone=name, shard=shard)) for name in profile.backbones()]
        if not all(state.version(target) for target in (*vectors, Target("labeled_photos", shard))):
            continue
        known = all(state.version(target) in made_from.get(str(target), set()) for target in vectors)
        (learned if known else new).append(shard)
    return (learned, new) if made_from else ([], [])


def shard_drift(state: State, learned: Sequence[str], shard: str) -> ShardDrift:
    """Compare one shard with those learned from: its countries, and the mean vector of each backbone."""
    project = state.lineage.project
    columns = ["photo_id", "author_id", "country_id", "shard"]
    labels = project.warehouse().read_table("labeled_photos", {"shard": [*learned, shard]}, columns=columns)
    reference, new = labels[labels["shard"] != shard], labels[labels["shard"] == shard]
    drifts = [country_drift(reference, new)]
    for name in project.profile.backbones():
        known, known_authors = _vectors(state, name, learned[:REFERENCE_SHARDS], reference)
        theirs, their_authors = _vectors(state, name, [shard], new)
        drifts.append(embedding_drift(known, known_authors, theirs, their_authors, name=name))
    return ShardDrift(shard, state.version(Target("labeled_photos", shard)), tuple(d for d in drifts if d is not None))


def _vectors(state: State, name: str, shards: Sequence[str], labels: pd.DataFrame) -> tuple[np.ndarray, pd.Series]:
    """Vectors of one backbone (n, D), and the author of each row (n,)."""
    from geoloc_core.features.shards import read_shard

    blocks, authors = [], []
    for shard in shards:
        block, _ = read_shard(state.layout.embeddings(name, shard))
        blocks.append(block.vectors[block.ok])
        # Shard by shard: a photo's id is its own within its dataset only.
        author_of = labels[labels["shard"] == shard].set_index("photo_id")["author_id"]
        ids = pd.Series(block.photo_ids, dtype=object)[block.ok]
        authors.append(ids.map(author_of).fillna(""))
    return np.concatenate(blocks), pd.concat(authors, ignore_index=True)

"""The training set: every labelled photo, less what must not be learned from."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from geoloc_core.errors import InputError
from geoloc_core.geography.cells import LEVELS, ROOT, id_column
from geoloc_core.photos.perceptual import FLAT_HASH, hash_bits, near_any
from geoloc_core.photos.rows import read_rows
from geoloc_core.photos.schemas import ExcludedPhotos, TrainingPhotos
from geoloc_core.photos.settings import Split
from geoloc_core.photos.splits import TRAIN, photo_identities, split_by_author
from geoloc_core.photos.warehouse import Warehouse
from geoloc_core.tables import column_names, validate

_FACTS = ["shard", "photo_id", "status", "phash"]


def collect_training(
    warehouse: Warehouse, training: Mapping[str, Path], benchmarks: Mapping[str, Path], split: Split
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`assemble_training` of labelled photos in the warehouse; `training` and `benchmarks` map shards to their manifests."""

    def tables(shards: Mapping[str, Path]) -> tuple[pd.DataFrame, pd.DataFrame]:
        manifests = [read_rows(path, _FACTS[1:]).assign(shard=shard) for shard, path in shards.items()]
        facts = pd.concat(manifests, ignore_index=True) if manifests else pd.DataFrame(columns=_FACTS)
        return warehouse.read_table("labeled_photos", {"shard": list(shards)}), facts

    return assemble_training(*tables(training), *tables(benchmarks), split)


def assemble_training(
    labeled: pd.DataFrame,
    manifests: pd.DataFrame,
    benchmark_labeled: pd.DataFrame,
    benchmark_manifests: pd.DataFrame,
    split: Split,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The photos to learn from (`TrainingPhotos`) and those left out (`ExcludedPhotos`); together they are `labeled`.

    `labeled` and `benchmark_labeled` are `LabeledPhotos` of any number of shards; the manifests are the `ImageManifest`
    of the same shards, with a column `shard` added. A photo is left out for the first reason that applies to it:

    - `no_label`: it lies in no region and near none; `image_not_usable`: its picture is missing or broken;
    - `benchmark_photo`, `benchmark_author`: a benchmark has the same photo (`photo_identities`) or non-empty author;
    - `near_duplicate_of_benchmark`: its perceptual hash, if it has one, is within `max_phash_distance` bits of one
      there;
    - `duplicate_photo`: an earlier shard, in alphabetical order, has the same photo; `below_min_support`: see
      `apply_min_support`. The order of rows is by shard and photo id.
    """
    photos = labeled.sort_values(["shard", "photo_id"], kind="stable", ignore_index=True)
    status, phash = _image_facts(photos, manifests)
    reason = np.full(len(photos), "", dtype=object)

    def leave_out(condition: np.ndarray, code: str) -> None:
        reason[(reason == "") & condition] = code

    authors = set(benchmark_labeled["author_id"]) - {""}
    leave_out((photos["label_quality"] == "none").to_numpy(), "no_label")
    leave_out(photo_identities(photos).isin(photo_identities(benchmark_labeled)), "benchmark_photo")
    leave_out(photos["author_id"].isin(authors).to_numpy(), "benchmark_author")
    leave_out(status != "ok", "image_not_usable")
    hashed = (reason == "") & (phash != FLAT_HASH)
    comparable = (benchmark_manifests["status"] == "ok") & (benchmark_manifests["phash"] != FLAT_HASH)
    benchmark_hashes = hash_bits(benchmark_manifests.loc[comparable, "phash"])
    near = np.zeros(len(photos), dtype=bool)
    near[hashed] = near_any(hash_bits(pd.Series(phash[hashed])), benchmark_hashes, split.max_phash_distance)
    leave_out(near, "near_duplicate_of_benchmark")
    copies = np.zeros(len(photos), dtype=bool)
    copies[reason == ""] = photo_identities(photos)[reason == ""].duplicated(keep="first")
    leave_out(copies, "duplicate_photo")

    usable = photos[reason == ""]
    sides = split_by_author(usable["author_id"], usable["photo_id"], split.key, split.validation_share)
    training, rare = apply_min_support(usable.assign(split=sides), split.min_support)
    reason[np.flatnonzero(reason == "")[rare]] = "below_min_support"
    excluded = photos[reason != ""].assign(reason=reason[reason != ""])
    return (
        validate(TrainingPhotos, training[column_names(TrainingPhotos)], "the training photos"),
        validate(ExcludedPhotos, excluded[column_names(ExcludedPhotos)], "the excluded photos"),
    )


def apply_min_support(training: pd.DataFrame, min_support: int) -> tuple[pd.DataFrame, np.ndarray]:
    """`training` without regions of too few photos to learn from, and which of its rows (n,) are left out.

    Support is counted on the training side of the split: it is what a head can learn from.

    - A region of the highest level below `min_support`: its training photos are left out.
    - A region of a finer level below it: its training photos stay with the labels of the levels above.

    Validation photos stay as they are in both cases and count as wrong, as a head cannot name their region: what was left
    out of the classes is not left out of the score.
    """
    rare = low_support(training, min_support)
    is_train = (training["split"] == TRAIN).to_numpy()
    of_rare = {
        level: training[id_column(level)].isin(rare.loc[rare["level"] == level, "region_id"]).to_numpy() & is_train
        for level in LEVELS
    }
    finer = {id_column(level): training[id_column(level)].mask(of_rare[level], "") for level in LEVELS if level != ROOT}
    left_out = of_rare[ROOT]
    return training.assign(**finer)[~left_out], left_out


def low_support(training: pd.DataFrame, min_support: int) -> pd.DataFrame:
    """Regions of `TrainingPhotos` with fewer than `min_support` training photos: level, region_id, n_train, n_photos."""
    parts = []
    for level in LEVELS:
        labelled = training[training[id_column(level)] != ""]
        region = labelled[id_column(level)]
        counts = pd.DataFrame(
            {"n_train": (labelled["split"] == TRAIN).groupby(region).sum(), "n_photos": region.value_counts()}
        )
        rare = counts[counts["n_train"] < min_support].astype(np.int64).sort_index()
        parts.append(rare.rename_axis("region_id").reset_index().assign(level=level))
    return pd.concat(parts, ignore_index=True)[["level", "region_id", "n_train", "n_photos"]]


def _image_facts(photos: pd.DataFrame, manifests: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Status and perceptual hash of each photo's picture, (n,) of str each, in the order of `photos`."""
    if photos.empty:
        return np.empty(0, dtype=object), np.empty(0, dtype=object)
    facts = manifests[_FACTS].astype(object)
    facts = photos[["shard", "photo_id"]].merge(facts, on=["shard", "photo_id"], how="left", validate="one_to_one")
    lost = facts[facts["status"].isna()]
    if len(lost):
        shard, photo = lost[["shard", "photo_id"]].iloc[0]
        raise InputError(f"photo {photo} of shard {shard} is not in its image manifest; make the shard's images again")
    return facts["status"].to_numpy(dtype=object), facts["phash"].to_numpy(dtype=object)

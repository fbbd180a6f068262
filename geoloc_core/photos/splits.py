"""Which photos are learned from, and which are kept to see how well it went.

The split is by author, because photos of one person share places, cameras and days: a random split would test on what
was learned. It is decided by a keyed hash of the author's id alone, so that a new shard never moves an author across.
Photos of a benchmark, of a benchmark's authors, and near-duplicates of a benchmark's photos are left out of training.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd

from geoloc_core.errors import InputError, ProfileError
from geoloc_core.photos.perceptual import FLAT_HASH, hash_bits, near_any
from geoloc_core.photos.schemas import ExcludedPhotos, TrainingPhotos, column_names, validate
from geoloc_core.photos.support import apply_min_support

TRAIN, VALIDATION = "train", "validation"


def split_by_author(
    author_id: pd.Series | np.ndarray, photo_id: pd.Series | np.ndarray, key: str, validation_share: float = 0.2
) -> np.ndarray:
    """The side of each photo, "train" or "validation", (n,) of str.

    An author's 64-bit BLAKE2b hash under `key`, read as a fraction of 2^64, is below `validation_share` or it is not;
    all photos of an author fall on the same side, in every run, whatever other photos there are. A photo without
    author ("") stands for itself. Another `key` gives another, independent split.
    """
    if not 0.0 <= validation_share < 1.0:
        raise ProfileError(f"validation_share is a share from 0 to below 1, not {validation_share}")
    authors = np.asarray(author_id, dtype=object)
    photos = np.asarray(photo_id, dtype=object)
    # The prefixes keep an author's id from meeting a photo's.
    owners = np.where(authors == "", "photo:" + photos, "author:" + authors)
    codes, unique = pd.factorize(owners)
    secret = hashlib.sha256(key.encode("utf-8")).digest()
    fractions = np.array([_fraction(owner, secret) for owner in unique], dtype=np.float64)
    return np.where(fractions < validation_share, VALIDATION, TRAIN).astype(object)[codes]


def _fraction(owner: str, secret: bytes) -> float:
    digest = hashlib.blake2b(owner.encode("utf-8"), digest_size=8, key=secret).digest()
    return int.from_bytes(digest, "big") / 2.0**64


def assemble_training(
    labeled: pd.DataFrame,
    manifests: pd.DataFrame,
    benchmark_labeled: pd.DataFrame,
    benchmark_manifests: pd.DataFrame,
    key: str,
    validation_share: float = 0.2,
    max_phash_distance: int = 4,
    min_support: int = 1,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The photos to learn from (`TrainingPhotos`) and those left out (`ExcludedPhotos`); together they are `labeled`.

    `labeled` and `benchmark_labeled` are `LabeledPhotos` of any number of shards; the manifests are the `ImageManifest`
    of the same shards, with a column `shard` added. A photo is left out for the first reason that applies to it:

    - `no_label`: it lies in no country and near none;
    - `benchmark_photo`, `benchmark_author`: a benchmark has the same photo, or the same (non-empty) author;
    - `image_not_usable`: its picture is missing or broken;
    - `near_duplicate_of_benchmark`: its perceptual hash is within `max_phash_distance` bits of a benchmark picture's
      (pictures of a single colour have no hash to compare);
    - `duplicate_photo`: an earlier shard, in alphabetical order, has the same photo;
    - `below_min_support`: it is on the training side and its country has fewer than `min_support` photos there (see
      `support`, also for what happens to sub-divisions).

    Photo ids made of digits are Flickr's and mean the same photo in every dataset; other ids only within their dataset.
    The order of rows is by shard and photo id, whatever the order of `labeled`.
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
    open_rows = np.flatnonzero((reason == "") & (phash != FLAT_HASH))
    near = np.zeros(len(photos), dtype=bool)
    near[open_rows] = near_any(
        hash_bits(pd.Series(phash[open_rows])), _benchmark_hashes(benchmark_manifests), max_phash_distance
    )
    leave_out(near, "near_duplicate_of_benchmark")
    leave_out(_later_copies(photos, reason == ""), "duplicate_photo")

    kept = photos[reason == ""]
    training = kept.assign(split=split_by_author(kept["author_id"], kept["photo_id"], key, validation_share))
    training, rare = apply_min_support(training, min_support)
    reason[np.flatnonzero(reason == "")[rare]] = "below_min_support"
    excluded = photos[reason != ""].assign(reason=reason[reason != ""])
    return (
        validate(TrainingPhotos, training[column_names(TrainingPhotos)], "the training photos"),
        validate(ExcludedPhotos, excluded[column_names(ExcludedPhotos)], "the excluded photos"),
    )


def _image_facts(photos: pd.DataFrame, manifests: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Status and perceptual hash of each photo's image, (n,) of str each, in the order of `photos`."""
    if photos.empty:
        return np.empty(0, dtype=object), np.empty(0, dtype=object)
    facts = manifests[["shard", "photo_id", "status", "phash"]] if len(manifests) else _NO_FACTS
    found = photos[["shard", "photo_id"]].merge(facts, on=["shard", "photo_id"], how="left", validate="one_to_one")
    lost = found[found["status"].isna()]
    if len(lost):
        shard, photo = lost[["shard", "photo_id"]].iloc[0]
        raise InputError(f"photo {photo} of shard {shard} is not in its image manifest; make the shard's images again")
    return found["status"].to_numpy(dtype=object), found["phash"].to_numpy(dtype=object)


_NO_FACTS = pd.DataFrame({name: pd.Series(dtype=object) for name in ("shard", "photo_id", "status", "phash")})


def _benchmark_hashes(manifests: pd.DataFrame) -> np.ndarray:
    if manifests.empty:
        return np.empty(0, dtype=np.uint64)
    comparable = (manifests["status"] == "ok") & (manifests["phash"] != FLAT_HASH)
    return hash_bits(manifests.loc[comparable, "phash"])


def _later_copies(photos: pd.DataFrame, usable: np.ndarray) -> np.ndarray:
    """Whether an earlier usable row is the same photo, (n,) bool."""
    later = np.zeros(len(photos), dtype=bool)
    later[np.flatnonzero(usable)] = photo_identities(photos)[usable].duplicated(keep="first")
    return later


def photo_identities(photos: pd.DataFrame) -> pd.MultiIndex:
    """What makes two rows the same photo, (n,): the id, and the dataset unless the id is Flickr's."""
    flickr = photos["photo_id"].str.fullmatch("[0-9]+").to_numpy(dtype=bool)
    return pd.MultiIndex.from_arrays(
        [np.where(flickr, "", photos["dataset"].to_numpy(dtype=object)), photos["photo_id"].to_numpy(dtype=object)]
    )

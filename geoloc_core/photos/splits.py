"""The split of photos into those to learn from and those to validate on.

By author, as photos of one person share places, cameras and days: a random split would test on what was learned. By a
keyed hash of the author's id alone, so that a new shard never moves an author across.
"""

import hashlib

import numpy as np
import pandas as pd

from geoloc_core.photos.schemas import SPLITS
from geoloc_core.photos.settings import Split as Split

TRAIN, VALIDATION = SPLITS


def split_by_author(
    author_id: pd.Series | np.ndarray, photo_id: pd.Series | np.ndarray, key: str, validation_share: float = 0.2
) -> np.ndarray:
    """The side of each photo, "train" or "validation", (n,) of str.

    An author's 64-bit BLAKE2b hash under `key`, read as a fraction of 2^64, is below `validation_share` or it is not;
    all photos of an author fall on the same side, in every run, whatever other photos there are. A photo without
    author ("") is its own owner. Another `key` gives another, independent split.
    """
    authors = np.asarray(author_id, dtype=object)
    photos = np.asarray(photo_id, dtype=object)
    # The prefixes keep an author's id from meeting a photo's.
    owners = np.where(authors == "", "photo:" + photos, "author:" + authors)
    codes, unique = pd.factorize(owners)
    secret = hashlib.sha256(key.encode("utf-8")).digest()
    fractions = np.array([_fraction(owner, secret) for owner in unique], dtype=np.float64)
    return np.where(fractions < validation_share, VALIDATION, TRAIN).astype(object)[codes]


def belongs_to_share(value: str, key: str, share: float) -> bool:
    """Whether a keyed hash puts a value (an author, a place) into the share of values that is held out."""
    return _fraction(value, hashlib.sha256(key.encode("utf-8")).digest()) < share


def _fraction(owner: str, secret: bytes) -> float:
    digest = hashlib.blake2b(owner.encode("utf-8"), digest_size=8, key=secret).digest()
    return int.from_bytes(digest, "big") / 2.0**64


def photo_identities(photos: pd.DataFrame) -> pd.MultiIndex:
    """What makes two rows the same photo, (n,): the id, and the dataset unless the id is Flickr's."""
    flickr = photos["photo_id"].str.fullmatch("[0-9]+").to_numpy(dtype=bool)
    return pd.MultiIndex.from_arrays(
        [np.where(flickr, "", photos["dataset"].to_numpy(dtype=object)), photos["photo_id"].to_numpy(dtype=object)]
    )

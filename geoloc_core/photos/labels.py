"""From coordinates to regions: the labels that a model learns and is judged by."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pandas as pd

from geoloc_core.geography.boundaries import read_boundaries
from geoloc_core.geography.locate import RegionLocator
from geoloc_core.photos.schemas import LabeledPhotos, validate


def locator_of(regions: Path, near_cap_km: float, cache: Path | None = None) -> RegionLocator:
    """The locator for a boundary set that `write_boundaries` wrote, made once for as long as the file stays the same.

    cache: a folder where its index of cells is kept for later processes.
    """
    status = regions.stat() if regions.is_file() else None
    return _made(regions, (status.st_size, status.st_mtime_ns) if status else None, near_cap_km, cache)


@functools.lru_cache(maxsize=2)
def _made(regions: Path, content: object, near_cap_km: float, cache: Path | None) -> RegionLocator:
    # `content` is part of the key alone: a file that was written anew is read anew.
    return RegionLocator(read_boundaries(regions), near_cap_km=near_cap_km)


def label_photos(photos: pd.DataFrame, shard: str, locator: RegionLocator) -> pd.DataFrame:
    """Rows of `LabeledPhotos` for rows of `RawPhotos`, in the same order.

    A photo outside every polygon takes the nearest region within the locator's cap (`near`); beyond that it has no label
    (`none`), and stays in the table.
    """
    boundaries = locator.boundaries
    located = locator.locate(longitude=photos["longitude"].to_numpy(), latitude=photos["latitude"].to_numpy())
    frame = photos[["photo_id", "dataset", "author_id", "latitude", "longitude"]].copy()
    frame.insert(2, "shard", shard)
    frame["country_id"] = ids_at(boundaries.countries["region_id"].to_numpy(), located.country_index)
    frame["subdivision_id"] = ids_at(boundaries.subdivisions["region_id"].to_numpy(), located.subdivision_index)
    frame["label_quality"] = located.quality
    frame["label_distance_km"] = located.distance_km
    return validate(LabeledPhotos, frame, "labeled_photos")


def ids_at(ids: np.ndarray, index: np.ndarray) -> np.ndarray:
    """`ids[index]`, with an empty text where the index is -1."""
    return np.where(index >= 0, ids[np.maximum(index, 0)], "")

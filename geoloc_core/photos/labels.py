"""From coordinates to regions: the labels that a model learns and is judged by."""

from __future__ import annotations

import numpy as np
import pandas as pd

from geoloc_core.geography.boundaries import BoundarySet
from geoloc_core.geography.locate import RegionLocator
from geoloc_core.photos.schemas import LabeledPhotos, validate


def label_photos(photos: pd.DataFrame, shard: str, boundaries: BoundarySet, near_cap_km: float) -> pd.DataFrame:
    """Rows of `LabeledPhotos` for rows of `RawPhotos`, in the same order.

    A photo outside every polygon takes the nearest region within `near_cap_km` kilometres (`near`); beyond that it has no
    label (`none`), and stays in the table.
    """
    located = RegionLocator(boundaries, near_cap_km=near_cap_km).locate(
        longitude=photos["longitude"].to_numpy(), latitude=photos["latitude"].to_numpy()
    )
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

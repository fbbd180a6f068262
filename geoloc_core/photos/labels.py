"""From coordinates to regions: the labels that a model learns and is judged by."""

import functools
from pathlib import Path

import pandas as pd

from geoloc_core.geography.boundaries import read_boundaries
from geoloc_core.geography.cells import LEVELS, id_column
from geoloc_core.geography.locate import RegionLocator
from geoloc_core.photos.schemas import LabeledPhotos
from geoloc_core.tables import column_names, validate


def locator_of(regions: Path, near_cap_km: float) -> RegionLocator:
    """The locator for a boundary set that `write_boundaries` wrote, built once for as long as the file stays the same."""
    status = regions.stat() if regions.is_file() else None
    return _locator(regions, (status.st_size, status.st_mtime_ns) if status else None, near_cap_km)


@functools.lru_cache(maxsize=2)
def _locator(regions: Path, content: object, near_cap_km: float) -> RegionLocator:
    # `content` is only part of the key: a file that was written anew is read anew.
    return RegionLocator(read_boundaries(regions), near_cap_km=near_cap_km)


def label_photos(photos: pd.DataFrame, shard: str, locator: RegionLocator) -> pd.DataFrame:
    """Rows of `LabeledPhotos` for rows of `RawPhotos`, in the same order.

    A photo outside every polygon takes the nearest region within the locator's cap (`near`); beyond that it has no label
    (`none`), and stays in the table.
    """
    located = locator.locate(longitude=photos["longitude"].to_numpy(), latitude=photos["latitude"].to_numpy())
    labels = {id_column(level): locator.boundaries.ids(level, located.index[level]) for level in LEVELS}
    labeled = photos.assign(shard=shard, **labels, label_quality=located.quality, label_distance_km=located.distance_km)
    return validate(LabeledPhotos, labeled[column_names(LabeledPhotos)], "labeled_photos")

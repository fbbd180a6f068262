"""Where the probability of a region lies: all of it at its anchor, or spread as its training photos are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from geoloc_core.errors import InputError


@dataclass(frozen=True)
class Mass:
    """Where the probability of each region lies: m weighted places.

    Attributes:
        latitude, longitude: (m,) degrees.
        region: (m,) position of the place's region among the classes of the posterior.
        weight: (m,) share of its region's probability; the weights of each region sum to 1.
        n_regions: K, the number of classes.
    """

    latitude: np.ndarray
    longitude: np.ndarray
    region: np.ndarray
    weight: np.ndarray
    n_regions: int

    def __post_init__(self) -> None:
        """A region without mass would cost nothing anywhere and so distort every decision."""
        total = np.bincount(self.region, self.weight, minlength=self.n_regions)
        if len(total) != self.n_regions or not np.allclose(total, 1.0):
            raise InputError("every class of the posterior needs places whose weights sum to 1; add an anchor for it")


def mass_at_anchors(latitude: np.ndarray, longitude: np.ndarray) -> Mass:
    """All probability of each of K regions at its one anchor; (K,) degrees, in the order of the posterior's classes."""
    n_regions = len(latitude)
    return Mass(
        np.asarray(latitude, dtype=np.float64),
        np.asarray(longitude, dtype=np.float64),
        np.arange(n_regions),
        np.ones(n_regions),
        n_regions,
    )


def photo_cells(photos: pd.DataFrame, cell_degrees: float = 0.5) -> pd.DataFrame:
    """Where the photos of each region are: region_id, latitude, longitude, photos; one row for each occupied cell.

    Args:
        photos: region_id, latitude, longitude (degrees).
        cell_degrees: photos of one region within one cell of this size become one place, their mean. Four million photos
            become some ten thousand places, which is what a model carries with it.
    """
    cells = pd.DataFrame(
        {
            "region_id": photos["region_id"],
            "row": np.floor(photos["latitude"] / cell_degrees),
            "column": np.floor(photos["longitude"] / cell_degrees),
            "latitude": photos["latitude"],
            "longitude": photos["longitude"],
        }
    )
    places = cells.groupby(["region_id", "row", "column"], sort=True).agg(
        latitude=("latitude", "mean"), longitude=("longitude", "mean"), photos=("latitude", "size")
    )
    return places.reset_index()[["region_id", "latitude", "longitude", "photos"]]


def mass_of_cells(cells: pd.DataFrame, classes: Sequence[str], anchors: pd.DataFrame) -> Mass:
    """The probability of each region spread as its training photos are.

    Args:
        cells: what `photo_cells` made of the training photos; those of other regions are not used.
        classes: the K region ids of the posterior, in its order.
        anchors: region_id, latitude, longitude: where the mass of a region without photos lies.
    """
    position = {name: index for index, name in enumerate(classes)}
    region = cells["region_id"].map(position)
    places = cells.loc[region.notna(), ["latitude", "longitude", "photos"]]
    places = places.assign(region=region.dropna().astype(np.int64))
    without = sorted(set(range(len(classes))) - set(places["region"]))
    if without:
        point = (
            anchors.drop_duplicates("region_id").set_index("region_id").reindex([classes[index] for index in without])
        )
        if point["latitude"].isna().any():
            name = point.index[int(point["latitude"].isna().argmax())]
            raise InputError(f"region {name!r} has neither training photos nor an anchor; add an anchor for it")
        extra = pd.DataFrame(
            {"region": without, "latitude": point["latitude"].array, "longitude": point["longitude"].array, "photos": 1}
        )
        places = pd.concat([places, extra], ignore_index=True)
    index = places["region"].to_numpy(dtype=np.int64)
    count = places["photos"].to_numpy(dtype=np.float64)
    return Mass(
        places["latitude"].to_numpy(dtype=np.float64),
        places["longitude"].to_numpy(dtype=np.float64),
        index,
        count / np.bincount(index, count)[index],
        len(classes),
    )


def mass_of_photos(
    photos: pd.DataFrame, classes: Sequence[str], anchors: pd.DataFrame, cell_degrees: float = 0.5
) -> Mass:
    """`mass_of_cells` of `photo_cells`: from training photos with region_id, latitude and longitude."""
    return mass_of_cells(photo_cells(photos, cell_degrees), classes, anchors)

"""What a kind of cells is, and the kind whose cells are a level of the boundary set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    # Everybody who reads a profile asks which levels there are; that shall not cost a second.
    import pandas as pd
    from geopandas import GeoDataFrame
    from numpy.typing import NDArray

CELL_COLUMNS = ("region_id", "parent_id", "name", "geometry")


class Levels(Protocol):
    """What a kind needs of a `BoundarySet`."""

    def level(self, name: str) -> GeoDataFrame:
        """The regions of one level."""


class CellKind(Protocol):
    """A way of dividing the earth; `geoloc_core.geography.cells` explains how to add one."""

    @property
    def name(self) -> str:
        """What `level:` of an experiment names."""

    def cells(self, boundaries: Levels, photos: pd.DataFrame) -> GeoDataFrame:
        """The table of cells, one row for each: CELL_COLUMNS, sorted by `region_id`."""

    def of_photos(self, cells: GeoDataFrame, photos: pd.DataFrame) -> NDArray[np.object_]:
        """The `region_id` of each photo's cell (n,), "" where it lies in none."""


@dataclass(frozen=True)
class BoundaryLevel:
    """Cells that are polygons of the boundary set; the exact locator has labelled every photo with them.

    columns: those of the level's frame in a boundary set, in this order.
    """

    name: str
    columns: tuple[str, ...]

    def cells(self, boundaries: Levels, photos: pd.DataFrame) -> GeoDataFrame:
        """The level's rows in the boundary set; `photos` play no part."""
        frame = boundaries.level(self.name)
        if "parent_id" not in frame.columns:
            frame = frame.assign(parent_id="")
        return frame[list(CELL_COLUMNS)]

    def of_photos(self, cells: GeoDataFrame, photos: pd.DataFrame) -> NDArray[np.object_]:
        """The label that each photo already has."""
        return photos[id_column(self.name)].to_numpy(dtype=object)


def id_column(level: str) -> str:
    """The column of a table of photos that holds each photo's cell of a boundary level."""
    return f"{level}_id"

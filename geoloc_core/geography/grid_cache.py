"""The grid's tables on disk, so that they are made once for each boundary set."""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path

import numpy as np

from geoloc_core import storage
from geoloc_core.geography.grid import RegionGrid
from geoloc_core.geography.grid_build import GRID_VERSION

_FIELDS = [field.name for field in dataclasses.fields(RegionGrid)]


def grid_file(folder: Path, identity: str, by_subdivision: bool) -> Path:
    """Where the grid of the boundary set with this identity lies: another content or version has another name."""
    level = "subdivision" if by_subdivision else "country"
    return Path(folder) / f"grid-{level}-{identity[:24]}-v{GRID_VERSION}.npz"


def save_grid(path: Path, grid: RegionGrid) -> None:
    """Write the tables, atomically."""
    with storage.replacing(path) as file:
        np.savez(file, **{name: getattr(grid, name) for name in _FIELDS})


def load_grid(path: Path) -> RegionGrid | None:
    """The tables, or None where there is no such file or it is damaged (the archive holds a checksum of each table)."""
    try:
        with np.load(path, allow_pickle=False) as tables:
            return RegionGrid(**{name: tables[name] for name in _FIELDS})
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
        return None

"""Which polygons to use: a short specification, in code or in a YAML file beside the polygons.

    name: gadm41
    layout: gadm
    subdivisions: gadm_410-levels.gpkg
    countries: gadm_410-levels.gpkg

Paths are relative to the YAML file. Layouts and their columns are explained in docs/regions.md.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from geoloc_core.errors import InputError, ProfileError

LAYOUTS = ("gadm", "geoboundaries", "natural_earth", "columns", "embedded")
COLUMN_ROLES = ("country_id", "country_name", "iso_a2", "continent", "subdivision_id", "subdivision_name")


@dataclass(frozen=True)
class BoundarySpec:
    """Polygons of a published layout, or of any layout with a mapping of columns; or the embedded ones, reassigned.

    `subdivisions` and `countries` are files that geopandas reads (GeoPackage, Shapefile, GeoJSON, TopoJSON, GeoParquet,
    zipped or not); one of them may be "", both for "embedded". A layer need be named only where its file has several and
    their names do not tell. `columns` (layout "columns" only) maps roles of COLUMN_ROLES to columns of the file.
    `assign` moves regions to another country before anything else is made of them: region_id of a country or of a
    sub-division -> country's region_id; it is how a view of the world other than the file's is taken.
    """

    name: str
    layout: str
    subdivisions: str = ""
    countries: str = ""
    subdivision_layer: str = ""
    country_layer: str = ""
    attribution: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    assign: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.layout not in LAYOUTS:
            raise ProfileError(f"boundaries {self.name!r}: layout {self.layout!r} is none of {', '.join(LAYOUTS)}.")
        if bool(self.subdivisions or self.countries) == (self.layout == "embedded"):
            raise ProfileError(
                f"boundaries {self.name!r}: name a file under `subdivisions`, `countries` or both; layout 'embedded' "
                "takes none."
            )
        if (self.layout == "columns") != bool(self.columns):
            raise ProfileError(f"boundaries {self.name!r}: `columns` goes with layout 'columns', and with no other.")
        strange = sorted(set(self.columns) - set(COLUMN_ROLES))
        if strange:
            raise ProfileError(
                f"boundaries {self.name!r}: `columns` knows no {strange[0]!r}, only {', '.join(COLUMN_ROLES)}."
            )

    def files(self) -> list[Path]:
        """The files that the set is made from, each once."""
        return [Path(name) for name in dict.fromkeys((self.subdivisions, self.countries)) if name]


def read_boundary_spec(path: str | os.PathLike[str]) -> BoundarySpec:
    """The specification in the YAML file at `path`; ProfileError where a key is unknown or missing."""
    path = Path(path)
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"boundary specification {path} cannot be read ({error}): check the path.") from error
    except yaml.YAMLError as error:
        raise ProfileError(f"boundary specification {path} is not YAML ({error}).") from error
    known = {item.name for item in fields(BoundarySpec)}
    if not isinstance(content, dict) or not {"name", "layout"} <= set(content):
        raise ProfileError(f"boundary specification {path} must be a mapping with at least `name` and `layout`.")
    strange = sorted(set(map(str, content)) - known)
    if strange:
        raise ProfileError(f"boundary specification {path} has the key {strange[0]!r}; known are {sorted(known)}.")
    for key in ("subdivisions", "countries"):
        if content.get(key):
            content[key] = str(path.parent / content[key])
    return BoundarySpec(**content)

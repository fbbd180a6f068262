"""The ways of dividing the earth. Each is a *kind of cells*; a classifier's classes are the cells of one kind.

To add a kind, write one file here and list it once in `KINDS`; an experiment then names it: `level: s2`. The file
defines `KIND`, an object with a `name` and two methods (`geoloc_core.geography.cell_kind.CellKind`):

    cells(boundaries, photos) -> GeoDataFrame

        One row for each cell, sorted by `region_id`: region_id (text, unique within the kind, the same for the same
        input), parent_id (the cell of another kind that contains it, or ""), name (what a person reads), geometry (its
        polygon in WGS 84 degrees, cut at the antimeridian; None where the cell is a set of members, which further
        columns then list).

        `boundaries` is the `BoundarySet` in use. `photos` are those of the training split only, with latitude,
        longitude and one label for each boundary level (`id_column`, "" for none). Cells are a function of these two:
        fix any seed.

    of_photos(cells, photos) -> (n,) ids

        The cell of each photo, "" for none, from the same columns, for any place on earth; `cells` is what `cells`
        returned.

Everything after that goes by `region_id`: anchors, class weights, heads and metrics. `LEVELS` are the kinds that come
with the boundary set: they are nested, and the exact locator labels every photo with each, in a column of the photos
table. No module outside `geography/` lists them: it takes a level's name, or loops over `LEVELS`.
"""

from geoloc_core.geography.cell_kind import BoundaryLevel, CellKind, id_column
from geoloc_core.geography.cells import country, subdivision

__all__ = ["BOUNDARY_LEVELS", "FINEST", "KINDS", "LEVELS", "ROOT", "id_column"]

KINDS: dict[str, CellKind] = {kind.name: kind for kind in (country.KIND, subdivision.KIND)}

# The boundary set's levels, coarsest first: a cell lies within one cell of the level before.
BOUNDARY_LEVELS = {name: kind for name, kind in KINDS.items() if isinstance(kind, BoundaryLevel)}
LEVELS = tuple(BOUNDARY_LEVELS)
# The level that an answer begins with.
ROOT = LEVELS[0]
FINEST = LEVELS[-1]

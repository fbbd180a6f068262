"""Countries: the boundary set's coarsest level."""

from geoloc_core.geography.cell_kind import BoundaryLevel

KIND = BoundaryLevel("country", columns=("region_id", "name", "iso_a2", "continent", "geometry"))

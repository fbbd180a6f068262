"""First-level sub-divisions, each of which lies within one country."""

from geoloc_core.geography.cell_kind import BoundaryLevel

KIND = BoundaryLevel("subdivision", columns=("region_id", "parent_id", "name", "geometry"))

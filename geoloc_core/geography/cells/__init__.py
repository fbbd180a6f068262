"""The ways of dividing the earth, each a *level*; what a photo is labelled with is a *cell* of each level.

The one place that says which levels there are. Every other module takes a level's name, or goes over `LEVELS`.
"""

from __future__ import annotations

# Coarsest first; a cell lies within one cell of the level before.
LEVELS = ("country", "subdivision")
# The level that an answer begins with.
ROOT = LEVELS[0]
FINEST = LEVELS[-1]


def id_column(level: str) -> str:
    """The column of a table of photos that holds each photo's cell of a level."""
    return f"{level}_id"

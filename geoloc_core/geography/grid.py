"""A grid of cells that answers, for almost every point, without asking a polygon.

Two levels. Coarse cells of 1/8 degree that lie wholly inside one region (or none) hold its index; the others point to a
block of 8 x 8 fine cells of 1/64 degree (1.7 km). Fine cells that no border crosses hold an index too. A fine cell that
borders cross holds their edges, and the point is decided by them:

    Walk from the cell's lower left corner, whose regions are known, up the left side to the point's height, then right
    to the point. Each edge met on the way changes, for the regions that it bounds, inside into outside or back.

So the regions are bits of a mask, and the answer is the corner's mask XOR the masks of the edges met; the lowest bit
left is the lowest region index. Comparisons of heights are exact. Which side of an edge a point lies on is the sign of a
determinant; where rounding could matter, that is within 1e-10 of zero (a millimetre from an edge of ten kilometres),
and where a point is at the very height of a vertex, the point is not decided here but given back, and shapely is asked.
Nothing is approximated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CELLS_PER_DEGREE = 64
BLOCK = 8
BLOCK_BITS = 3  # BLOCK == 1 << BLOCK_BITS
COLUMNS, ROWS = 360 * CELLS_PER_DEGREE, 180 * CELLS_PER_DEGREE
COARSE_COLUMNS, COARSE_ROWS = COLUMNS // BLOCK, ROWS // BLOCK

# What a cell holds: a region index from 0 on, or one of these; from FIRST_REFERENCE down, FIRST_REFERENCE - value is
# the number of a block (coarse level) or of a border cell (fine level).
NO_REGION, ASK_SHAPELY, FIRST_REFERENCE = -1, -2, -3
MOST_REGIONS = 8  # bits of a border cell's mask

# A determinant this near to zero does not decide a side. Rounding, of the determinant and of an edge's cut at a cell's
# side, stays below 4e-11 for the longest possible edge (360 degrees) and far below for real ones.
UNDECIDED = 1e-10

_LOWEST_BIT = np.array([0, *((value & -value).bit_length() - 1 for value in range(1, 256))], np.int64)


@dataclass(frozen=True)
class RegionGrid:
    """The tables; made by `geoloc_core.geography.grid_build.build_grid`.

    coarse (COARSE_ROWS * COARSE_COLUMNS,) and blocks (b * BLOCK * BLOCK,) int32 hold the values explained above.
    Border cell c has the edges edge_start[c]:edge_start[c+1] of `edges` (m, 4), rows x_a, y_a, y_b, x_b - x_a with
    y_a <= y_b, and `edge_mask` (m,) uint8; its corner's mask is corner_mask[c] uint8; bit s of a mask stands for the
    region slots[slot_start[c] + s], which ascend.
    """

    coarse: NDArray[np.int32]
    blocks: NDArray[np.int32]
    edge_start: NDArray[np.int64]
    edges: NDArray[np.float64]
    edge_mask: NDArray[np.uint8]
    corner_mask: NDArray[np.uint8]
    slot_start: NDArray[np.int64]
    slots: NDArray[np.int32]

    def find(self, longitude: NDArray[np.float64], latitude: NDArray[np.float64]) -> NDArray[np.int32]:
        """For points (n,) the region index, NO_REGION, or ASK_SHAPELY; longitude in [-180, 180], no NaN."""
        column = np.minimum(((longitude + 180.0) * CELLS_PER_DEGREE).astype(np.int32), COLUMNS - 1)
        row = np.minimum(((latitude + 90.0) * CELLS_PER_DEGREE).astype(np.int32), ROWS - 1)
        found = self.coarse.take((row >> BLOCK_BITS) * COARSE_COLUMNS + (column >> BLOCK_BITS))
        fine = np.flatnonzero(found <= FIRST_REFERENCE)
        if len(fine):
            place = (row.take(fine) & (BLOCK - 1)) * BLOCK + (column.take(fine) & (BLOCK - 1))
            value = self.blocks.take((FIRST_REFERENCE - found.take(fine)).astype(np.int64) * (BLOCK * BLOCK) + place)
            border = np.flatnonzero(value <= FIRST_REFERENCE)
            if len(border):
                point = fine.take(border)
                cell = FIRST_REFERENCE - value.take(border)
                value[border] = self._decide(cell, longitude.take(point), latitude.take(point))
            found[fine] = value
        return found

    def _decide(self, cell: NDArray[np.int32], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.int32]:
        """Region index, NO_REGION or ASK_SHAPELY for points (n,) that lie in the border cells `cell` (n,)."""
        first = self.edge_start.take(cell)
        count = self.edge_start.take(cell + 1) - first
        begin = np.cumsum(count) - count  # where each point's pairs begin; every border cell has an edge
        edge = np.arange(begin[-1] + count[-1]) + np.repeat(first - begin, count)
        x_a, y_a, y_b, x_run = self.edges.take(edge, axis=0).T
        x_pair, y_pair = np.repeat(x, count), np.repeat(y, count)
        above = y_pair - y_a
        straddle = above * (y_pair - y_b)  # negative where the point's height is between the edge's ends
        side = (x_pair - x_a) * (y_b - y_a) - above * x_run  # positive where the edge passes left of the point
        between = straddle < 0
        met = np.where(between & (side > 0), self.edge_mask.take(edge), np.uint8(0))
        mask = self.corner_mask.take(cell) ^ np.bitwise_xor.reduceat(met, begin)
        slot = self.slot_start.take(cell) + _LOWEST_BIT.take(mask)
        found = np.where(mask > 0, self.slots.take(slot, mode="clip"), np.int32(NO_REGION))
        unsure = np.flatnonzero((straddle == 0) | (between & (np.abs(side) <= UNDECIDED)))
        if len(unsure):
            found[np.searchsorted(begin, unsure, side="right") - 1] = ASK_SHAPELY
        return found

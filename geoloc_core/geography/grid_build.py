"""How the grid of `geoloc_core.geography.grid` is made from polygons.

All is done on arrays of edges. "Cell" is a fine cell where coarse is not said; cells are numbered row * COLUMNS + column
from the south-west. A cell is taken wider than it is by a margin of 1e-9 degree (a tenth of a millimetre), so that a
point which rounding puts into the next cell is still decided rightly, and so that a corner hardly ever lies on an edge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoloc_core.geography.exact import ExactRegions
from geoloc_core.geography.grid import (
    ASK_SHAPELY,
    BLOCK,
    CELLS_PER_DEGREE,
    COARSE_COLUMNS,
    COARSE_ROWS,
    COLUMNS,
    FIRST_REFERENCE,
    MOST_REGIONS,
    NO_REGION,
    ROWS,
    RegionGrid,
)
from geoloc_core.geography.sphere import ring_edges

GRID_VERSION = 1  # part of the key of the cache: raise it when the tables change
MARGIN = 1e-9
_DOUBT = 1e-11  # an edge that passes a corner within this many degrees leaves it in doubt
_FAR_UP = 1000.0  # degrees: beyond every point
_COUNTER = 1 << 40  # in running sums over a row of cells: the place of "how many regions", above the sum of numbers
_SEVERAL = -2  # regions at one corner; only while building

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Edges:
    """Distinct edges, from the lower end a to the upper end b (from left to right where level).

    xa, ya, xb, yb (m,) in degrees; edge i bounds the regions region[start[i]:start[i+1]].
    """

    xa: Floats
    ya: Floats
    xb: Floats
    yb: Floats
    start: Ints
    region: Ints

    def regions_of(self, edge: Ints) -> tuple[Ints, Ints]:
        """For edges (n,): the positions in `edge`, repeated for every region of each, and those regions."""
        count = self.start[edge + 1] - self.start[edge]
        return np.repeat(np.arange(len(edge)), count), self.region[_ranges(self.start[edge], count)]


@dataclass(frozen=True)
class Corners:
    """Which regions hold the lower left corners of cells.

    In row[i] of cells the corners of the columns begin[i] to end[i] - 1 are inside region[i]; sorted by row. `doubtful`
    lists the cells whose corner is too near to an edge to tell.
    """

    row: Ints
    begin: Ints
    end: Ints
    region: Ints
    doubtful: Ints


def build_grid(geometries: NDArray[np.object_]) -> RegionGrid:
    """The grid of valid polygons (k,) in degrees, longitudes within [-180, 180]; they may overlap."""
    edges = distinct_edges(geometries)
    cell, edge = cells_of_edges(edges)
    corners = corners_of_cells(edges)
    touched = _distinct(np.concatenate([cell, corners.doubtful]))
    coarse, blocks, place = plain_labels(touched, corners, ExactRegions(geometries))

    entry = np.searchsorted(touched, cell)  # which touched cell each (cell, edge) pair belongs to
    corner = blocks[place].astype(np.int64)
    ask = np.isin(touched, corners.doubtful) | (corner == _SEVERAL)
    row, edge, kept_ends, new_doubt = cut_at_left_side(edges, touched[entry], edge)
    entry = entry[row]
    ask[entry[new_doubt]] = True
    ask |= _regions_per_cell(edges, entry, edge, corner) > MOST_REGIONS

    keep = ~ask[entry]
    entry, edge, kept_ends = entry[keep], edge[keep], kept_ends[keep]
    order = np.argsort(entry, kind="stable")
    entry, edge, kept_ends = entry[order], edge[order], kept_ends[order]
    begin = np.flatnonzero(_is_new(entry))
    border, count = entry[begin], np.diff(np.append(begin, len(entry)))
    number = np.repeat(np.arange(len(border)), count)
    slot_start, slots, corner_mask, edge_mask = _masks(edges, number, edge, corner[border])

    value = np.where(ask, ASK_SHAPELY, corner)
    value[border] = FIRST_REFERENCE - np.arange(len(border))
    blocks[place] = value
    return RegionGrid(
        coarse=coarse,
        blocks=blocks,
        edge_start=np.concatenate([[0], np.cumsum(count)]),
        edges=np.ascontiguousarray(kept_ends),
        edge_mask=edge_mask,
        corner_mask=corner_mask,
        slot_start=slot_start,
        slots=slots,
    )


def distinct_edges(geometries: NDArray[np.object_]) -> Edges:
    """All edges of all rings, those that neighbours share taken together; edges of no length are left out."""
    start, end, region = ring_edges(geometries)
    ends = np.concatenate([start, end], axis=1) + 0.0  # -0.0 becomes 0.0
    upside_down = (ends[:, 1] > ends[:, 3]) | ((ends[:, 1] == ends[:, 3]) & (ends[:, 0] > ends[:, 2]))
    ends[upside_down] = ends[upside_down][:, [2, 3, 0, 1]]
    real = (ends[:, 0] != ends[:, 2]) | (ends[:, 1] != ends[:, 3])
    ends, region = ends[real], region[real].astype(np.int64)
    order = np.lexsort((region, *ends.T))
    ends, region = ends[order], region[order]
    first = np.flatnonzero(_is_new(ends))
    xa, ya, xb, yb = np.ascontiguousarray(ends[first].T)
    return Edges(xa, ya, xb, yb, np.append(first, len(ends)), region)


def cells_of_edges(edges: Edges) -> tuple[Ints, Ints]:
    """Every (cell, edge) pair where the edge passes through the cell widened by two margins: two arrays, by cell."""
    wide = 2 * MARGIN
    low = _index(edges.ya - wide + 90, ROWS)
    high = _index(edges.yb + wide + 90, ROWS)
    edge = np.repeat(np.arange(len(low)), high - low + 1)
    row = _ranges(low, high - low + 1)
    # The stretch of the edge within the row, widened: its ends where it crosses the row's sides.
    xa, ya, xb, yb = edges.xa[edge], edges.ya[edge], edges.xb[edge], edges.yb[edge]
    bottom = row / CELLS_PER_DEGREE - 90 - wide
    level = ya == yb
    slope = (xb - xa) / np.where(level, 1.0, yb - ya)
    x_bottom = np.where(level, xa, xa + (np.clip(bottom, ya, yb) - ya) * slope)
    x_top = np.where(level, xb, xa + (np.clip(bottom + 1 / CELLS_PER_DEGREE + 2 * wide, ya, yb) - ya) * slope)
    left = _index(np.minimum(x_bottom, x_top) - wide + 180, COLUMNS)
    right = _index(np.maximum(x_bottom, x_top) + wide + 180, COLUMNS)
    cell = np.repeat(row * COLUMNS, right - left + 1) + _ranges(left, right - left + 1)
    edge = np.repeat(edge, right - left + 1)
    order = np.argsort(cell, kind="stable")
    return cell[order], edge[order]


def corners_of_cells(edges: Edges) -> Corners:
    """Cross every row's lower side with the edges, and pair the crossings of each region from left to right."""
    low = np.maximum(_index(edges.ya + 90, ROWS), 0)
    high = _index(edges.yb + MARGIN + 90, ROWS)
    edge = np.repeat(np.arange(len(low)), high - low + 1)
    row = _ranges(low, high - low + 1)
    height = row / CELLS_PER_DEGREE - 90 - MARGIN
    crosses = (edges.ya[edge] <= height) & (height < edges.yb[edge])
    edge, row, height = edge[crosses], row[crosses], height[crosses]
    slope = (edges.xb[edge] - edges.xa[edge]) / (edges.yb[edge] - edges.ya[edge])
    x = edges.xa[edge] + (height - edges.ya[edge]) * slope
    # The corner of column c is at c / CELLS_PER_DEGREE - 180 - MARGIN.
    column = (x + MARGIN + 180) * CELLS_PER_DEGREE
    next_column = np.ceil(column).astype(np.int64)
    nearest = np.rint(column)
    close = np.abs(column - nearest) <= _DOUBT * CELLS_PER_DEGREE * (1 + np.abs(slope))
    doubtful = row[close] * COLUMNS + np.clip(nearest[close].astype(np.int64), 0, COLUMNS - 1)

    which, region = edges.regions_of(edge)
    row, next_column, x = row[which], next_column[which], x[which]
    order = np.lexsort((x, region, row))
    row, region, begin_or_end = row[order], region[order], np.clip(next_column[order], 0, COLUMNS)
    if len(row) % 2 or (row[::2] != row[1::2]).any() or (region[::2] != region[1::2]).any():
        raise AssertionError("a ring is not closed")  # shapely builds no such ring
    return Corners(row[::2], begin_or_end[::2], begin_or_end[1::2], region[::2], _distinct(doubtful))


def plain_labels(
    touched: Ints, corners: Corners, exact: ExactRegions
) -> tuple[NDArray[np.int32], NDArray[np.int32], Ints]:
    """The coarse table, the blocks with the label of every cell's corner, and the place of each touched cell in them.

    Where no edge passes, the label of the corner is that of the cell. Where regions overlap, shapely is asked which
    comes first; touched cells then keep _SEVERAL.
    """
    row, column = np.divmod(touched, COLUMNS)
    coarse_of_touched = (row // BLOCK) * COARSE_COLUMNS + column // BLOCK
    divided = _distinct(coarse_of_touched)
    coarse = np.full(COARSE_ROWS * COARSE_COLUMNS, NO_REGION, np.int32)
    cells = np.empty((len(divided), BLOCK, BLOCK), np.int32)
    strip_of_block = divided // COARSE_COLUMNS
    first_block = np.searchsorted(strip_of_block, np.arange(COARSE_ROWS + 1))
    first_interval = np.searchsorted(corners.row, np.arange(COARSE_ROWS + 1) * BLOCK)
    for strip in range(COARSE_ROWS):
        mine = slice(first_interval[strip], first_interval[strip + 1])
        my_blocks = slice(first_block[strip], first_block[strip + 1])
        if mine.start == mine.stop:
            cells[my_blocks] = NO_REGION
            continue
        # +1 region at the begin of each interval, -1 at its end, and the running sum along the row.
        change = np.zeros((BLOCK, COLUMNS + 1), np.int64)
        local, token = corners.row[mine] - strip * BLOCK, corners.region[mine] + 1 + _COUNTER
        np.add.at(change, (local, corners.begin[mine]), token)
        np.subtract.at(change, (local, corners.end[mine]), token)
        running = np.cumsum(change, axis=1)[:, :COLUMNS].reshape(BLOCK, COARSE_COLUMNS, BLOCK)
        coarse[strip * COARSE_COLUMNS : (strip + 1) * COARSE_COLUMNS] = _label(running[0, :, 0])
        columns = divided[my_blocks] - strip * COARSE_COLUMNS
        cells[my_blocks] = _label(running[:, columns, :]).transpose(1, 0, 2)

    coarse[divided] = FIRST_REFERENCE - np.arange(len(divided), dtype=np.int32)
    blocks = cells.ravel()
    place = np.searchsorted(divided, coarse_of_touched) * (BLOCK * BLOCK) + (row % BLOCK) * BLOCK + column % BLOCK

    several = np.flatnonzero(coarse == _SEVERAL)
    coarse[several] = _ask_at_centres(exact, *np.divmod(several, COARSE_COLUMNS), BLOCK / CELLS_PER_DEGREE)
    untouched = np.ones(len(blocks), bool)
    untouched[place] = False
    several = np.flatnonzero((blocks == _SEVERAL) & untouched)
    block, inner = np.divmod(several, BLOCK * BLOCK)
    cell_row = divided[block] // COARSE_COLUMNS * BLOCK + inner // BLOCK
    cell_column = divided[block] % COARSE_COLUMNS * BLOCK + inner % BLOCK
    blocks[several] = _ask_at_centres(exact, cell_row, cell_column, 1 / CELLS_PER_DEGREE)
    return coarse, blocks, place


def cut_at_left_side(edges: Edges, cell: Ints, edge: Ints) -> tuple[Ints, Ints, Floats, Ints]:
    """What the walk of `RegionGrid` is to meet in a cell, for pairs (cell, edge) (n,).

    An edge that crosses the cell's left side is cut there; what lies left is replaced by an upright edge, far to the
    left of the cell, from the height of the crossing up to beyond every point: the walk meets it when it has passed the
    crossing on its way up. Returned are, for each edge kept or made: the position of its pair (m,), its edge (m,), its
    row of `RegionGrid.edges` (m, 4); and the positions of pairs that cross the side too near to the corner to tell.
    """
    row, column = np.divmod(cell, COLUMNS)
    side = column / CELLS_PER_DEGREE - 180 - MARGIN
    bottom = row / CELLS_PER_DEGREE - 90 - MARGIN
    xa, ya, xb, yb = edges.xa[edge], edges.ya[edge], edges.xb[edge], edges.yb[edge]
    a_left, b_left = xa < side, xb < side
    cut = a_left != b_left
    steepness = np.zeros(len(cell))
    steepness[cut] = (yb[cut] - ya[cut]) / (xb[cut] - xa[cut])
    crossing = np.clip(ya + (side - xa) * steepness, ya, yb)
    xa, ya = np.where(cut & a_left, side, xa), np.where(cut & a_left, crossing, ya)
    xb, yb = np.where(cut & b_left, side, xb), np.where(cut & b_left, crossing, yb)

    right = np.flatnonzero(~(a_left & b_left))
    passed = np.flatnonzero(cut & (crossing > bottom))
    doubtful = np.flatnonzero(cut & (np.abs(crossing - bottom) <= _DOUBT * (1 + np.abs(steepness))))
    upright = np.stack(
        [side[passed] - 1.0, crossing[passed], np.full(len(passed), _FAR_UP), np.zeros(len(passed))], axis=1
    )
    rows = np.concatenate([np.stack([xa, ya, yb, xb - xa], axis=1)[right], upright])
    position = np.concatenate([right, passed])
    return position, edge[position], rows, np.flatnonzero(np.isin(position, doubtful))


def _regions_per_cell(edges: Edges, entry: Ints, edge: Ints, corner: Ints) -> Ints:
    """How many regions meet in each touched cell (t,): those of its edges and that of its corner."""
    which, region = edges.regions_of(edge)
    held = np.flatnonzero(corner >= 0)
    pairs = _distinct(np.concatenate([entry[which], held]) << 32 | np.concatenate([region, corner[held]]))
    return np.bincount(pairs >> 32, minlength=len(corner))


def _masks(
    edges: Edges, number: Ints, edge: Ints, corner: Ints
) -> tuple[Ints, NDArray[np.int32], NDArray[np.uint8], NDArray[np.uint8]]:
    """Of the border cells, to which entries (n,) belong by `number`: slot_start, slots, corner_mask and edge_mask."""
    which, region = edges.regions_of(edge)
    held = np.flatnonzero(corner >= 0)
    keys = np.concatenate([number[which] << 32 | region, held << 32 | corner[held]])
    pairs = _distinct(keys)
    pair = np.searchsorted(pairs, keys)
    start = np.searchsorted(pairs >> 32, np.arange(len(corner) + 1))
    bit = np.uint8(1) << (pair - start[keys >> 32]).astype(np.uint8)
    edge_mask = np.zeros(len(edge), np.uint8)
    np.bitwise_xor.at(edge_mask, which, bit[: len(which)])
    corner_mask = np.zeros(len(corner), np.uint8)
    corner_mask[held] = bit[len(which) :]
    return start, (pairs & 0xFFFFFFFF).astype(np.int32), corner_mask, edge_mask


def _label(running: Ints) -> NDArray[np.int32]:
    """From running sums to labels: the region's index, NO_REGION, or _SEVERAL."""
    count = running // _COUNTER
    return np.where(count > 1, _SEVERAL, running % _COUNTER - 1).astype(np.int32)


def _ask_at_centres(exact: ExactRegions, row: Ints, column: Ints, size: float) -> NDArray[np.int32]:
    """What shapely says of the middles of cells (n,) of `size` degrees."""
    longitude, latitude = (np.asarray((number + 0.5) * size, np.float64) for number in (column, row))
    return exact.find_on_plane(longitude - 180, latitude - 90)


def _index(degrees: Floats, length: int) -> Ints:
    """The number of the row or column at so many degrees from the first one's side."""
    return np.clip(np.floor(degrees * CELLS_PER_DEGREE).astype(np.int64), 0, length - 1)


def _distinct(values: Ints) -> Ints:
    """The distinct values, ascending. (np.unique hashes, which is slow for numbers as regular as those of cells.)"""
    values = np.sort(values, kind="stable")
    return values[_is_new(values)]


def _is_new(values: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Which of these (n,) or (n, k) differ from the one before; the first does."""
    new = np.ones(len(values), bool)
    differs = values[1:] != values[:-1]
    new[1:] = differs.any(axis=1) if differs.ndim == 2 else differs
    return new


def _ranges(start: Ints, count: Ints) -> Ints:
    """start[0], start[0] + 1, ... (count[0] numbers), then start[1], ... and so on."""
    begin = np.cumsum(count) - count
    return np.repeat(start - begin, count) + np.arange(int(count.sum()))

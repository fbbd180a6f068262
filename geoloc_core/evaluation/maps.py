"""Maps as PNG, each below 100 kB: where photos are, where answers went wrong, where countries are recognised.

World maps are drawn in the Equal Earth projection (Savric, Patterson and Jenny, 2018): shaded areas are read as amounts, so
every square kilometre has the same size. On the Agg canvas, so that no display and no global state is touched.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import compress, cycle
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyproj
import shapely
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from PIL import Image

from geoloc_core.errors import InputError
from geoloc_core.evaluation.predictions import ANSWERED
from geoloc_core.geography.anchors import polygon_centroids

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from geoloc_core.geography.boundaries import BoundarySet

MAXIMUM_BYTES = 100_000
MAXIMUM_LINES = 400
# A world map of 1,200 pixels shows 0.3 degree in a pixel: finer shore lines cost time and show nothing.
WORLD_TOLERANCE_DEGREES = 0.15
SEA, LAND, BORDER, INK = "#eef3f7", "#d9d5cb", "#ffffff", "#1c2833"
TRUTH, ANSWER, NO_DATA = "#1a7f5a", "#c0392b", "#c9cdd2"
SUBDIVISION_COLOURS = ("#b9d3c7", "#cfe0b8", "#e8dcb2", "#e6c7b0", "#c9c3dd", "#b5cfe0")
# On a sphere of radius 1, where the world is about 5.41 wide and 2.63 high; `+over` leaves 180 degrees at the right edge.
EQUAL_EARTH = pyproj.Proj("+proj=eqearth +R=1 +over")
SPHERE = pyproj.Geod(a=1.0, b=1.0)
# Projected shore lines of the last boundary set by its identity: a report draws many maps of one set.
_last_rings: dict[str, tuple[list[np.ndarray], np.ndarray]] = {}


def coverage_map(photos: pd.DataFrame, boundaries: BoundarySet, title: str) -> bytes:
    """Where the photos are: hexagonal cells shaded by their number of photos, on a logarithmic scale."""
    figure, axes = _world(boundaries, title)
    if len(photos):
        x, y = EQUAL_EARTH(photos["longitude"].to_numpy(), photos["latitude"].to_numpy())
        extent, scale = (-2.70663, 2.70663, -1.32, 1.32), LogNorm()
        cells = axes.hexbin(x, y, gridsize=120, extent=extent, mincnt=1, norm=scale, cmap="viridis_r", zorder=3)
        _colour_bar(figure, axes, cells, "photos in a cell")
    return png_bytes(figure)


def error_map(predictions: pd.DataFrame, boundaries: BoundarySet, title: str) -> bytes:
    """A line from each photo's true place to its answer; of too many, every so many-th in order of photo_id."""
    answered = predictions[predictions["status"] == ANSWERED].sort_values("photo_id", kind="stable")
    shown = answered.iloc[:: max(1, -(-len(answered) // MAXIMUM_LINES))]
    missing = len(predictions) - len(answered)
    without = f"; {missing:,} without an answer" if missing else ""
    figure, axes = _world(boundaries, f"{title}\n{len(shown):,} of {len(answered):,} answered photos{without}")
    ends = shown[["longitude", "latitude", "predicted_longitude", "predicted_latitude"]].to_numpy(dtype=np.float64)
    pieces = [piece for row in ends.tolist() for piece in great_circle(row[:2], row[2:])]
    lines = [np.column_stack(EQUAL_EARTH(piece[:, 0], piece[:, 1])) for piece in pieces]
    axes.add_collection(LineCollection(lines, colors=INK, linewidths=0.5, alpha=0.35, zorder=3))
    for column, colour, label in ((0, TRUTH, "truth"), (2, ANSWER, "answer")):
        x, y = EQUAL_EARTH(ends[:, column], ends[:, column + 1])
        axes.scatter(x, y, s=9 + 4 * column, color=colour, linewidths=0, zorder=4 + column, label=label)
    axes.legend(loc="lower left", frameon=True, fontsize=8)
    return png_bytes(figure)


def country_value_map(values: pd.Series, boundaries: BoundarySet, title: str, label: str) -> bytes:
    """Countries shaded by a value from 0 to 100 (index country region_id); those without, or with NaN, are grey."""
    figure, axes = _world(boundaries, title)
    rings, country = _world_rings(boundaries)
    value = values.reindex(country).to_numpy(dtype=np.float64)
    finite = np.isfinite(value)
    style: dict[str, Any] = {"edgecolors": BORDER, "linewidths": 0.3, "zorder": 2}
    axes.add_collection(PolyCollection(list(compress(rings, ~finite)), facecolor=NO_DATA, **style))
    if finite.any():
        shaded = PolyCollection(list(compress(rings, finite)), array=value[finite], cmap="viridis", **style)
        shaded.set_norm(Normalize(0.0, 100.0))
        axes.add_collection(shaded)
        _colour_bar(figure, axes, shaded, f"{label} (grey: no photo of the country)")
    return png_bytes(figure)


def country_map(boundaries: BoundarySet, country_id: str, photos: pd.DataFrame | None = None) -> bytes:
    """One country with its first-level sub-divisions, their names and their centroids; `photos` as dots where given.

    The frame holds the largest part and those within 3 degrees of it; overseas parts lie outside of it.
    """
    units = boundaries.subdivisions[boundaries.subdivisions["parent_id"] == country_id]
    country = boundaries.countries[boundaries.countries["region_id"] == country_id]
    if units.empty:
        raise InputError(f"the boundary set {boundaries.name!r} has no sub-divisions of {country_id!r}; choose another")
    west, south, east, north = _frame(shapely.union_all(country.geometry.to_numpy()))
    frame = shapely.box(west, south, east, north)
    stretch = 1.0 / np.cos(np.radians((south + north) / 2.0))
    height = min(9.0, max(4.0, 7.0 * (north - south) * stretch / (east - west)))
    figure = Figure(figsize=(7.0, height), dpi=120)
    axes = figure.add_axes((0.02, 0.02, 0.96, 0.9))
    tolerance = max(east - west, north - south) / 2000.0
    world = boundaries.countries.geometry.to_numpy()
    neighbours = world[shapely.intersects(world, frame)]
    for geometry in shapely.simplify(neighbours, tolerance):
        _fill(axes, geometry, "#ece9e1", "#bdb8ab")
    for geometry, colour in zip(shapely.simplify(units.geometry.to_numpy(), tolerance), cycle(SUBDIVISION_COLOURS)):
        _fill(axes, geometry, colour, BORDER)
    if photos is not None:
        axes.scatter(photos["longitude"], photos["latitude"], s=3, color=ANSWER, alpha=0.4, linewidths=0, zorder=4)
    centroids = polygon_centroids(units)
    latitude, longitude = centroids["latitude"].to_numpy(), centroids["longitude"].to_numpy()
    shown = shapely.intersects_xy(frame, longitude, latitude)
    axes.scatter(longitude[shown], latitude[shown], s=14, color=INK, zorder=5)
    axes.set(xlim=(west, east), ylim=(south, north), aspect=stretch, xticks=[], yticks=[], facecolor=SEA)
    largest_first = [i for i in np.argsort(-shapely.area(units.geometry.to_numpy()), kind="stable") if shown[i]]
    label_points(figure, axes, [(units["name"].iloc[i], longitude[i], latitude[i]) for i in largest_first])
    outside = f" ({len(units) - int(shown.sum())} outside this frame)" if not shown.all() else ""
    words = f"{country['name'].iloc[0]}: {len(units)} sub-divisions and their centroids{outside}"
    axes.set_title(words, fontsize=11, color=INK)
    return png_bytes(figure)


def great_circle(start: Sequence[float], end: Sequence[float], points: int = 40) -> list[np.ndarray]:
    """The shortest way between two places (longitude, latitude), as (m, 2); two pieces across the antimeridian."""
    way = np.array([start, *SPHERE.npts(start[0], start[1], end[0], end[1], points - 2), end])
    pieces = np.split(way, np.flatnonzero(np.abs(np.diff(way[:, 0])) > 180.0) + 1)
    return [piece for piece in pieces if len(piece) > 1]


def _world(boundaries: BoundarySet, title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(10.0, 5.5), dpi=120)
    axes = figure.add_axes((0.01, 0.02, 0.98, 0.87))
    latitude = np.concatenate([np.linspace(-90.0, 90.0, 91), np.linspace(90.0, -90.0, 91)])
    axes.fill(*EQUAL_EARTH(np.repeat([-180.0, 180.0], 91), latitude), color=SEA, zorder=0)
    rings, _ = _world_rings(boundaries)
    axes.add_collection(PolyCollection(rings, facecolors=LAND, edgecolors=BORDER, linewidths=0.3, zorder=1))
    axes.set(xlim=(-2.72, 2.72), ylim=(-1.33, 1.33), aspect="equal")
    axes.set_axis_off()
    axes.set_title(title, fontsize=11, color=INK)
    return figure, axes


def _world_rings(boundaries: BoundarySet) -> tuple[list[np.ndarray], np.ndarray]:
    """Projected outer rings of all countries, largest first, and the country of each; no specks beside a larger part.

    Holes are filled by the smaller country that is drawn later (Lesotho after South Africa).
    """
    if boundaries.identity not in _last_rings:
        parts, country = shapely.get_parts(boundaries.countries.geometry.to_numpy(), return_index=True)
        area = shapely.area(parts)
        largest = np.zeros(len(boundaries.countries))
        np.maximum.at(largest, country, area)
        visible = np.flatnonzero((area > 4 * WORLD_TOLERANCE_DEGREES**2) | (area == largest[country]))
        visible = visible[np.argsort(-area[visible], kind="stable")]
        shores = shapely.get_exterior_ring(shapely.simplify(parts[visible], WORLD_TOLERANCE_DEGREES))
        rings = [np.column_stack(EQUAL_EARTH(*shapely.get_coordinates(ring).T)) for ring in shores]
        _last_rings.clear()
        _last_rings[boundaries.identity] = rings, boundaries.countries["region_id"].to_numpy()[country[visible]]
    return _last_rings[boundaries.identity]


def _frame(country: shapely.Geometry) -> tuple[float, float, float, float]:
    """West, south, east, north of the largest part of a country and the parts near it, with a margin."""
    parts = shapely.get_parts(country)
    main = parts[int(np.argmax(shapely.area(parts)))]
    west, south, east, north = shapely.total_bounds(parts[shapely.distance(parts, main) < 3.0])
    margin = 0.03 * max(east - west, north - south) + 0.02
    return float(west - margin), float(south - margin), float(east + margin), float(north + margin)


def _fill(axes: Axes, geometry: shapely.Geometry, colour: str, edge: str) -> None:
    rings = [shapely.get_coordinates(ring) for ring in shapely.get_exterior_ring(shapely.get_parts(geometry)) if ring]
    axes.add_collection(PolyCollection(rings, facecolors=colour, edgecolors=edge, linewidths=0.6, zorder=2))


def label_points(figure: Figure, axes: Axes, labels: list[tuple[str, float, float]]) -> None:
    """Write names above points, in the order given; a name that would cover another is left out."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes: list[Bbox] = []
    for name, x, y in labels:
        style: dict[str, Any] = {"ha": "center", "fontsize": 7, "color": INK, "zorder": 6}
        text = axes.annotate(name, (x, y), (0, 5), textcoords="offset points", **style)
        box = text.get_window_extent(renderer)
        if box.count_overlaps(boxes):
            text.remove()
        else:
            boxes.append(box)


def _colour_bar(figure: Figure, axes: Axes, layer: Any, label: str) -> None:
    bar = figure.colorbar(layer, cax=axes.inset_axes((0.42, 0.105, 0.28, 0.025)), orientation="horizontal")
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=7)


def png_bytes(figure: Figure) -> bytes:
    """A figure as PNG, with fewer colours and smaller where it would pass MAXIMUM_BYTES; deterministic."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    for scale, colours in ((1.0, 0), (1.0, 256), (1.0, 64), (0.8, 64), (0.6, 32), (0.4, 32)):
        size = (round(picture.width * scale), round(picture.height * scale))
        reduced = picture.resize(size, Image.Resampling.LANCZOS)
        if colours:
            # This method keeps rare colours (a red dot) apart that a median cut would merge with the common ones.
            reduced = reduced.quantize(colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        file = io.BytesIO()
        reduced.save(file, "PNG", optimize=True)
        if file.tell() <= MAXIMUM_BYTES:
            break
    return file.getvalue()

"""Maps as PNG, each below 100 kB: where photos are, where answers went wrong, where countries are recognised.

Drawn with matplotlib's object interface on the Agg canvas, so that no display and no global state is touched.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import shapely
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from PIL import Image

from geoloc_core.errors import InputError
from geoloc_core.evaluation.predictions import ANSWERED
from geoloc_core.evaluation.projection import equal_earth, great_circle
from geoloc_core.geography.anchors import polygon_centroids

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from geoloc_core.geography.boundaries import BoundarySet

MAXIMUM_BYTES = 100_000
MAXIMUM_LINES = 400
EXACT_COLOURS = 12
# A world map of 1,200 pixels shows 0.3 degree in a pixel: finer shore lines cost time and show nothing.
WORLD_TOLERANCE_DEGREES = 0.15
SEA, LAND, BORDER, INK = "#eef3f7", "#d9d5cb", "#ffffff", "#1c2833"
TRUTH, ANSWER, NO_DATA = "#1a7f5a", "#c0392b", "#c9cdd2"
# Projected shore lines by the identity of their boundary set; see `_world_rings`.
_last_rings: dict[str, tuple[list[np.ndarray], list[str]]] = {}


def coverage_map(latitude: np.ndarray, longitude: np.ndarray, boundaries: BoundarySet, title: str) -> bytes:
    """Where the photos are: hexagonal cells shaded by their number of photos, on a logarithmic scale."""
    figure, axes = _world(boundaries, title)
    x, y = equal_earth(np.asarray(latitude, dtype=np.float64), np.asarray(longitude, dtype=np.float64))
    if len(x):
        width = equal_earth(np.zeros(1), np.array([180.0]))[0][0]
        cells = axes.hexbin(
            x,
            y,
            gridsize=120,
            extent=(-width, width, -1.32, 1.32),
            mincnt=1,
            norm=LogNorm(),
            cmap="viridis_r",
            zorder=3,
        )
        _colour_bar(figure, axes, cells, "photos in a cell")
    return png_bytes(figure)


def error_map(
    predictions: pd.DataFrame, boundaries: BoundarySet, title: str, maximum_lines: int = MAXIMUM_LINES
) -> bytes:
    """A line from each photo's true place to its answer; of too many, every so many-th in order of photo_id."""
    answered = predictions[predictions["status"] == ANSWERED].sort_values("photo_id", kind="stable")
    step = max(1, -(-len(answered) // maximum_lines))
    shown = answered.iloc[::step]
    missing = len(predictions) - len(answered)
    note = f"{len(shown):,} of {len(answered):,} answered photos" + (
        f"; {missing:,} without an answer" if missing else ""
    )
    figure, axes = _world(boundaries, f"{title}\n{note}")
    ends = shown[["latitude", "longitude", "predicted_latitude", "predicted_longitude"]].to_numpy(dtype=np.float64)
    ways = [np.column_stack(equal_earth(*great_circle(*row))) for row in ends]
    pieces = [piece for way in ways for piece in _without_gaps(way)]
    axes.add_collection(LineCollection(pieces, colors=INK, linewidths=0.5, alpha=0.35, zorder=3))
    for column, colour, label in ((0, TRUTH, "truth"), (2, ANSWER, "answer")):
        x, y = equal_earth(ends[:, column], ends[:, column + 1])
        axes.scatter(x, y, s=9 + 4 * column, color=colour, linewidths=0, zorder=4 + column, label=label)
    axes.legend(loc="lower left", frameon=True, fontsize=8)
    return png_bytes(figure)


def country_value_map(
    values: pd.Series, boundaries: BoundarySet, title: str, label: str, low: float = 0.0, high: float = 100.0
) -> bytes:
    """Countries shaded by a value, for example recall in per cent; those that `values` does not name are grey.

    Args:
        values: index country region_id; NaN counts as not named.
        low, high: the ends of the colour scale.
    """
    figure, axes = _world(boundaries, title)
    known = values.dropna()
    rings, of_country = _world_rings(boundaries)
    number = np.array([known.get(name, np.nan) for name in of_country], dtype=np.float64)
    named = np.isfinite(number)
    for mask, colours in ((~named, {"facecolor": NO_DATA}), (named, {"array": number[named], "cmap": "viridis"})):
        shapes = [ring for ring, take in zip(rings, mask, strict=True) if take]
        layer = PolyCollection(shapes, edgecolors=BORDER, linewidths=0.3, zorder=2, **colours)
        if colours.get("cmap"):
            layer.set_norm(Normalize(low, high))
        axes.add_collection(layer)
    if named.any():
        _colour_bar(figure, axes, layer, f"{label} (grey: no photo of the country)")
    return png_bytes(figure)


def country_map(
    boundaries: BoundarySet, country_id: str, title: str | None = None, photos: pd.DataFrame | None = None
) -> bytes:
    """One country with its first-level sub-divisions, their names and their centroids; `photos` as dots where given.

    The frame holds the largest part and those within 3 degrees of it; overseas parts lie outside of it.
    """
    units = boundaries.subdivisions[boundaries.subdivisions["parent_id"] == country_id]
    country = boundaries.countries[boundaries.countries["region_id"] == country_id]
    if units.empty or country.empty:
        raise InputError(
            f"the boundary set {boundaries.name!r} has no country {country_id!r} with sub-divisions; choose another"
        )
    west, south, east, north = _frame(shapely.union_all(country.geometry.to_numpy()))
    stretch = 1.0 / np.cos(np.radians((south + north) / 2.0))
    size = 7.0
    figure = Figure(figsize=(size, min(9.0, max(4.0, size * (north - south) * stretch / (east - west)))), dpi=120)
    axes = figure.add_axes((0.02, 0.02, 0.96, 0.9))
    tolerance = max(east - west, north - south) / 2000.0
    window = shapely.box(west, south, east, north)
    neighbours = boundaries.countries.geometry.to_numpy()
    for geometry in shapely.simplify(neighbours[shapely.intersects(neighbours, window)], tolerance):
        _fill(axes, geometry, "#ece9e1", "#bdb8ab")
    palette = ("#b9d3c7", "#cfe0b8", "#e8dcb2", "#e6c7b0", "#c9c3dd", "#b5cfe0")
    for number, geometry in enumerate(shapely.simplify(units.geometry.to_numpy(), tolerance)):
        _fill(axes, geometry, palette[number % len(palette)], BORDER)
    if photos is not None and len(photos):
        axes.scatter(photos["longitude"], photos["latitude"], s=3, color=ANSWER, alpha=0.4, linewidths=0, zorder=4)
    centroids = polygon_centroids(units)
    latitude, longitude = centroids["latitude"].to_numpy(), centroids["longitude"].to_numpy()
    shown = (longitude >= west) & (longitude <= east) & (latitude >= south) & (latitude <= north)
    axes.scatter(longitude[shown], latitude[shown], s=14, color=INK, zorder=5)
    axes.set(xlim=(west, east), ylim=(south, north), aspect=stretch, xticks=[], yticks=[], facecolor=SEA)
    largest_first = [int(i) for i in np.argsort(-shapely.area(units.geometry.to_numpy()), kind="stable") if shown[i]]
    names = units["name"].to_numpy(dtype=object)
    label_points(figure, axes, [(names[i], longitude[i], latitude[i]) for i in largest_first])
    outside = f" ({len(units) - int(shown.sum())} outside this frame)" if not shown.all() else ""
    words = f"{country['name'].iloc[0]}: {len(units)} sub-divisions and their centroids{outside}"
    axes.set_title(title or words, fontsize=11, color=INK)
    return png_bytes(figure)


def _world(boundaries: BoundarySet, title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(10.0, 5.5), dpi=120)
    axes = figure.add_axes((0.01, 0.02, 0.98, 0.87))
    rings, _ = _world_rings(boundaries)
    edge_lat = np.linspace(-90.0, 90.0, 91)
    outline = [equal_earth(edge_lat, np.full(91, side)) for side in (-180.0, 180.0)]
    axes.fill(
        np.concatenate([outline[0][0], outline[1][0][::-1]]),
        np.concatenate([outline[0][1], outline[1][1][::-1]]),
        color=SEA, zorder=0,
    )  # fmt: skip
    axes.add_collection(PolyCollection(rings, facecolors=LAND, edgecolors=BORDER, linewidths=0.3, zorder=1))
    axes.set(xlim=(-2.72, 2.72), ylim=(-1.33, 1.33), aspect="equal")
    axes.set_axis_off()
    axes.set_title(title, fontsize=11, color=INK)
    return figure, axes


def _world_rings(boundaries: BoundarySet) -> tuple[list[np.ndarray], list[str]]:
    """Projected outer rings of all countries, largest first, and the country of each.

    Holes are filled by the smaller country that is drawn later (Lesotho after South Africa). Specks are left out unless
    they are all that there is of a country. The last boundary set's rings are kept: a report draws many maps of one set.
    """
    if boundaries.identity in _last_rings:
        return _last_rings[boundaries.identity]
    parts, country = shapely.get_parts(boundaries.countries.geometry.to_numpy(), return_index=True)
    area = shapely.area(parts)
    largest = np.zeros(len(boundaries.countries))
    np.maximum.at(largest, country, area)
    kept = np.flatnonzero((area > 4 * WORLD_TOLERANCE_DEGREES**2) | (area == largest[country]))
    kept = kept[np.argsort(-area[kept], kind="stable")]
    generalised = shapely.get_exterior_ring(shapely.simplify(parts[kept], WORLD_TOLERANCE_DEGREES))
    rings = []
    for ring in generalised:
        corners = shapely.get_coordinates(ring)
        rings.append(np.column_stack(equal_earth(corners[:, 1], corners[:, 0])))
    ids = boundaries.countries["region_id"].to_numpy()
    _last_rings.clear()
    _last_rings[boundaries.identity] = rings, [str(name) for name in ids[country[kept]]]
    return _last_rings[boundaries.identity]


def _frame(country: shapely.Geometry) -> tuple[float, float, float, float]:
    """West, south, east, north of the largest part of a country and the parts near it, with a margin."""
    parts = shapely.get_parts(country)
    main = parts[int(np.argmax(shapely.area(parts)))]
    near = parts[shapely.distance(parts, main) < 3.0]
    west, south, east, north = shapely.total_bounds(near)
    margin = 0.03 * max(east - west, north - south) + 0.02
    return float(west - margin), float(south - margin), float(east + margin), float(north + margin)


def _fill(axes: Axes, geometry: shapely.Geometry, colour: str, edge: str) -> None:
    rings = [shapely.get_coordinates(ring) for ring in shapely.get_exterior_ring(shapely.get_parts(geometry)) if ring]
    axes.add_collection(PolyCollection(rings, facecolors=colour, edgecolors=edge, linewidths=0.6, zorder=2))


def label_points(figure: Figure, axes: Axes, labels: list[tuple[str, float, float]]) -> None:
    """Write names above points, in the order given; a name that would cover another is left out."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    taken: list[Bbox] = []
    for name, x, y in labels:
        text = axes.annotate(
            name, (x, y), (0, 5), textcoords="offset points", ha="center", fontsize=7, color=INK, zorder=6
        )
        box = text.get_window_extent(renderer)
        if box.count_overlaps(taken):
            text.remove()
        else:
            taken.append(box)


def _without_gaps(way: np.ndarray) -> list[np.ndarray]:
    """A line cut where it holds NaN."""
    gaps = np.flatnonzero(np.isnan(way[:, 0]))
    pieces = np.split(way, gaps)
    return [piece[~np.isnan(piece[:, 0])] for piece in pieces if (~np.isnan(piece[:, 0])).sum() > 1]


def _colour_bar(figure: Figure, axes: Axes, layer: Any, label: str) -> None:
    bar = figure.colorbar(layer, cax=axes.inset_axes((0.42, 0.105, 0.28, 0.025)), orientation="horizontal")
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=7)


def png_bytes(figure: Figure) -> bytes:
    """A figure as PNG of 256 colours, fewer and smaller where it would pass MAXIMUM_BYTES; deterministic."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    for scale, colours in ((1.0, 0), (1.0, 256), (1.0, 64), (0.8, 64), (0.6, 32), (0.4, 32)):
        size = (round(picture.width * scale), round(picture.height * scale))
        smaller = picture if scale == 1.0 else picture.resize(size, Image.Resampling.LANCZOS)
        file = io.BytesIO()
        reduced = _with_fewer_colours(smaller, colours) if colours else smaller
        reduced.save(file, "PNG", optimize=True)
        if file.tell() <= MAXIMUM_BYTES:
            break
    return file.getvalue()


def _with_fewer_colours(picture: Image.Image, colours: int) -> Image.Image:
    """Half of the palette are the commonest colours as they are (sea, land), half such that rare ones (a red dot) stay."""
    counted = sorted(picture.getcolors(picture.width * picture.height) or [], key=lambda entry: (-entry[0], entry[1]))
    common = [value for _, value in counted[: colours // 2]]
    spread = picture.quantize(colours // 2, Image.Quantize.MAXCOVERAGE).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.concatenate([np.array(common, dtype=np.uint8).ravel(), np.array(spread, np.uint8)]).tolist())
    reduced = np.array(picture.quantize(palette=palette, dither=Image.Dither.NONE))
    # Pillow finds the nearest colour by approximation; the broad surfaces are set right by hand.
    packed = np.asarray(picture, dtype=np.int64) @ np.array([1 << 16, 1 << 8, 1])
    for index, value in enumerate(common[:EXACT_COLOURS]):
        reduced[packed == np.array(value) @ np.array([1 << 16, 1 << 8, 1])] = index
    result = Image.fromarray(reduced, "P")
    result.putpalette(palette.getpalette() or [])
    return result

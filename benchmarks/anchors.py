"""How far a perfect classifier gets with each kind of cells and of anchor.

    python benchmarks/anchors.py [FILE] [--data ../shared/data]

Every photo of FILE (a CSV with LAT and LON, as im2gps_places365.csv, the default) is given its true region, and the
cell of each kind answers with its anchor; what is measured is what the anchors alone cost. Anchors are fitted on
mp16_like_coordinates_100k.csv and yfcc26k_half_places365.csv; FILE itself is left out of the fit. A cell without
training photos answers with its centroid; a photo without a region counts as wrong. Prints a Markdown table and writes
.bench/anchors.json with keys like im2gps/country/centroid@200, in per cent.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from geopandas import GeoDataFrame

from geoloc_core.errors import GeolocError, InputError
from geoloc_core.geography.anchors import ANCHOR_KINDS, region_anchors
from geoloc_core.geography.boundaries import load_boundaries
from geoloc_core.geography.cells import KINDS, LEVELS, id_column
from geoloc_core.geography.locate import RegionLocator
from geoloc_core.geography.sphere import haversine_km
from geoloc_core.storage import write_json

ROOT = Path(__file__).resolve().parents[1]
RADII_KM = (1, 25, 200, 750, 2500)
TRAINING = ("mp16_like_coordinates_100k.csv", "yfcc26k_half_places365.csv")
# The centroid as a flat map has it, which is what GIS tools give and what the thesis will have used.
FLAT_CENTROID = "flat_centroid"


def main() -> None:
    """Fit, test, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shared = Path(os.environ.get("GEOLOC_SHARED_DATA", ROOT.parent / "shared" / "data"))
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--data", type=Path, default=shared)
    arguments = parser.parse_args()
    folder = arguments.data / "benchmarks"
    file = arguments.file or folder / "im2gps_places365.csv"
    label = arguments.file.stem if arguments.file else "im2gps"

    test = read_coordinates(file)
    names = [name for name in TRAINING if (folder / name).resolve() != file.resolve()]
    training = pd.concat([read_coordinates(folder / name) for name in names], ignore_index=True)
    boundaries = load_boundaries()
    locator = RegionLocator(boundaries)
    training, test = (labelled(frame, locator) for frame in (training, test))

    results: dict[str, float] = {}
    for name, kind in KINDS.items():
        cells = kind.cells(boundaries, training)
        points = anchor_points(training.assign(region_id=kind.of_photos(cells, training)), cells)
        position = pd.Index(cells["region_id"]).get_indexer(kind.of_photos(cells, test))
        for anchor, (latitude, longitude) in points.items():
            answer = np.append(latitude, np.nan)[position], np.append(longitude, np.nan)[position]
            distance = haversine_km(test["latitude"], test["longitude"], *answer)
            for radius in RADII_KM:
                results[f"{label}/{name}/{anchor}@{radius}"] = float(100 * (distance <= radius).mean())

    print(f"A perfect classifier on {len(test):,} photos of {label}, anchors from {len(training):,} others\n")
    print("| cells | anchor | " + " | ".join(f"≤ {radius} km" for radius in RADII_KM) + " |")
    print("|---|---|" + "---:|" * len(RADII_KM))
    for name in KINDS:
        for anchor in (FLAT_CENTROID, *ANCHOR_KINDS):
            figures = (f"{results[f'{label}/{name}/{anchor}@{radius}']:.1f}" for radius in RADII_KM)
            print(f"| {name} | {anchor} | " + " | ".join(figures) + " |")
    write_json(ROOT / ".bench" / "anchors.json", results)


def read_coordinates(path: Path) -> pd.DataFrame:
    """Columns latitude and longitude of a CSV with LAT and LON."""
    if not path.is_file():
        raise InputError(f"{path} is missing: name a CSV file with the columns LAT and LON.")
    frame = pd.read_csv(path)
    if not {"LAT", "LON"} <= set(frame.columns):
        raise InputError(f"{path} has no columns LAT and LON; it has {', '.join(map(str, frame.columns[:10]))}.")
    return frame[["LAT", "LON"]].astype(float).rename(columns={"LAT": "latitude", "LON": "longitude"})


def labelled(photos: pd.DataFrame, locator: RegionLocator) -> pd.DataFrame:
    """The photos with their region_id at every boundary level."""
    index = locator.locate(photos["longitude"], photos["latitude"]).index
    return photos.assign(**{id_column(level): locator.boundaries.ids(level, index[level]) for level in LEVELS})


def anchor_points(photos: pd.DataFrame, cells: GeoDataFrame) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For each kind the latitudes and longitudes of all cells (k,), centroids where a cell has no photos."""
    anchors = region_anchors(photos, cells).set_index(["kind", "region_id"])
    order = cells["region_id"]
    flat = cells.geometry.set_crs(None, allow_override=True).centroid
    points = {FLAT_CENTROID: (flat.y.to_numpy(), flat.x.to_numpy())}
    centroid = anchors.loc["centroid"].reindex(order)
    for kind in ANCHOR_KINDS:
        own = anchors.loc[kind].reindex(order)
        points[kind] = tuple(own[name].fillna(centroid[name]).to_numpy() for name in ("latitude", "longitude"))
    return points


if __name__ == "__main__":
    try:
        main()
    except GeolocError as error:
        sys.exit(f"error: {error}")

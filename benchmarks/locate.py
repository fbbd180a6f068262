"""How many photos a second find their region, side by side with geopandas.

    python benchmarks/locate.py [--photos 1000000] [--repeats 3] [--data ../shared/data]

Points are drawn from MP-16's distribution (mp16_like_coordinates_100k.csv) and jittered by 0.02 degree. All methods get
the same points, in one run on one machine; the median of the repeats counts. Prints a Markdown table and writes
.bench/locate.json.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
from peak_memory import peak_bytes

from geoloc_core.errors import GeolocError, InputError
from geoloc_core.geography.boundaries import import_boundaries, load_boundaries
from geoloc_core.geography.boundary_formats import BoundarySpec
from geoloc_core.geography.locate import RegionLocator
from geoloc_core.storage import write_json

ROOT = Path(__file__).resolve().parents[1]
JITTER_DEGREES = 0.02
MEMORY_PHOTOS = 10_000_000

Points = tuple[np.ndarray, np.ndarray]  # longitude (n,), latitude (n,) in degrees


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shared = Path(os.environ.get("GEOLOC_SHARED_DATA", ROOT.parent / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=shared)
    parser.add_argument("--photos", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peak-memory-only", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak_memory_only:
        RegionLocator(load_boundaries()).locate(*draw_points(arguments.data, MEMORY_PHOTOS))
        print(peak_bytes() / 2**30)
        return

    points = draw_points(arguments.data, arguments.photos)
    countries_file = str(arguments.data / "boundaries" / "ne_10m_admin_0_countries.gpkg")
    countries = import_boundaries(BoundarySpec("ne_10m", "natural_earth", countries=countries_file))
    results: dict[str, float | bool] = {"photos": arguments.photos, "agree": True}
    print("| polygons | method | million photos/s | index, s |\n|---|---|---:|---:|")
    for boundaries in (countries, load_boundaries()):
        level = boundaries.finest
        regions = boundaries.level(level)
        start = time.perf_counter()
        locator = RegionLocator(boundaries)
        results[f"{level}_index_s"] = build = time.perf_counter() - start
        inside_only = RegionLocator(boundaries, near_cap_km=0)
        answers = {}
        for method, work in {
            "near": lambda p, run=locator, level=level: run.locate(*p).index[level],
            "inside": lambda p, run=inside_only, level=level: run.locate(*p).index[level],
            "sjoin": lambda p, regions=regions: sjoin(regions, p),
        }.items():
            answers[method], seconds = timed(work, points, arguments.repeats)
            results[f"{level}_{method}_photos_per_s"] = arguments.photos / seconds
            name = {"near": "geoloc: inside, near or none", "inside": "geoloc: inside only", "sjoin": "geopandas.sjoin"}
            index = "" if method == "sjoin" else f"{build:.1f}"
            print(f"| {len(regions):,} ({level}) | {name[method]} | {arguments.photos / seconds / 1e6:.2f} | {index} |")
        results["agree"] = bool(results["agree"] and (answers["inside"] == answers["sjoin"]).all())

    command = [sys.executable, __file__, "--data", str(arguments.data), "--peak-memory-only"]
    results["peak_gib_10m"] = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(f"\nAll agree on every photo: {results['agree']}. 10 M photos: peak {results['peak_gib_10m']:.2f} GiB.")
    write_json(ROOT / ".bench" / "locate.json", results)


def draw_points(data: Path, n: int) -> Points:
    """Points from MP-16's distribution, jittered; the same ones at every run."""
    path = data / "benchmarks" / "mp16_like_coordinates_100k.csv"
    if not path.is_file():
        raise InputError(f"{path} is missing: name the folder of real data with --data.")
    places = pd.read_csv(path)
    rng = np.random.default_rng(0)
    pick = rng.integers(0, len(places), n)
    longitude = places["LON"].to_numpy()[pick] + rng.uniform(-JITTER_DEGREES, JITTER_DEGREES, n)
    latitude = places["LAT"].to_numpy()[pick] + rng.uniform(-JITTER_DEGREES, JITTER_DEGREES, n)
    return (longitude + 180) % 360 - 180, latitude.clip(-90, 90)


def timed(work: Callable[[Points], np.ndarray], points: Points, repeats: int) -> tuple[np.ndarray, float]:
    """The answer and the median of the seconds taken; a small first run makes lazy indices."""
    work((points[0][:1000], points[1][:1000]))
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        answer = work(points)
        seconds.append(time.perf_counter() - start)
    return answer, statistics.median(seconds)


def sjoin(regions: gpd.GeoDataFrame, points: Points) -> np.ndarray:
    """The lowest region index within which each point lies, -1 for none, by geopandas."""
    frame = gpd.GeoDataFrame(geometry=gpd.points_from_xy(*points), crs="EPSG:4326")
    joined = gpd.sjoin(frame, regions[["geometry"]], predicate="within", how="inner")
    return joined.groupby(level=0)["index_right"].min().reindex(frame.index, fill_value=-1).to_numpy()


if __name__ == "__main__":
    try:
        main()
    except GeolocError as error:
        sys.exit(f"error: {error}")

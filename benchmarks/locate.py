"""How many photos a second find their region, side by side with geopandas and with prepared polygons.

    python benchmarks/locate.py [--photos 1000000] [--repeats 3] [--data ../shared/data]

Points are drawn from MP-16's distribution (mp16_like_coordinates_100k.csv) and jittered by 0.02 degree. All methods get
the same points, in one run on one machine; the middle of the repeats counts. Prints a Markdown table and writes
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
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from peak_memory import peak_bytes

from geoloc_core.errors import GeolocError, InputError
from geoloc_core.geography.boundaries import BoundarySet, load_boundaries
from geoloc_core.geography.boundary_import import import_boundaries
from geoloc_core.geography.boundary_spec import BoundarySpec
from geoloc_core.geography.locate import RegionLocator
from geoloc_core.storage import write_json

ROOT = Path(__file__).resolve().parents[1]
JITTER_DEGREES = 0.02
MEMORY_PHOTOS = 10_000_000


@dataclass(frozen=True)
class Points:
    """Coordinates in degrees, both (n,)."""

    longitude: np.ndarray
    latitude: np.ndarray

    def first(self, n: int) -> Points:
        return Points(self.longitude[:n], self.latitude[:n])


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
        print(peak_memory_gib(arguments.data))
        return

    points = draw_points(arguments.data, arguments.photos)
    countries = read_countries(arguments.data)
    subdivisions = load_boundaries()
    rows: list[tuple[str, str, float, float]] = []
    results: dict[str, float | bool] = {"agree": True}
    for level, boundaries, regions in (
        ("country", countries, countries.countries),
        ("subdivision", subdivisions, subdivisions.subdivisions),
    ):
        start = time.perf_counter()
        locator = RegionLocator(boundaries).prepare()
        build = time.perf_counter() - start
        inside_only = RegionLocator(boundaries, near_cap_km=0)
        inside_only._grid = locator._grid
        answers = {}
        for method, work in {
            "geoloc: inside, near or none": lambda p, run=locator: _index(run, p),
            "geoloc: inside only": lambda p, run=inside_only: _index(run, p),
            "geopandas.sjoin, within": lambda p, frame=regions: sjoin(frame, p),
            "prepared parts, tree of points": lambda p, frame=regions: prepared_parts(frame, p),
        }.items():
            answers[method], seconds = timed(work, points, arguments.repeats)
            rows.append((level, method, arguments.photos / seconds, build if method.startswith("geoloc") else 0.0))
        ours = answers["geoloc: inside only"]
        agree = all((ours == answers[method]).all() for method in list(answers)[2:])
        results["agree"] = bool(results["agree"] and agree)
        results[f"{level}_build_s"] = build

    rate = {(level, method): value for level, method, value, _ in rows}
    for level, prefix in (("country", ""), ("subdivision", "subdivision_")):
        results[f"{prefix}photos_per_s"] = rate[level, "geoloc: inside, near or none"]
        results[f"{prefix}inside_photos_per_s"] = rate[level, "geoloc: inside only"]
        results[f"sjoin_{prefix}photos_per_s"] = rate[level, "geopandas.sjoin, within"]
        results[f"prepared_{prefix}photos_per_s"] = rate[level, "prepared parts, tree of points"]
    results["build_s"] = max(results["country_build_s"], results["subdivision_build_s"])
    results["photos"], results["threads"] = arguments.photos, len(os.sched_getaffinity(0))
    command = [sys.executable, __file__, "--data", str(arguments.data), "--peak-memory-only"]
    results["peak_gib_10m"] = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    print(f"{arguments.photos:,} photos, {results['threads']} threads; the middle of {arguments.repeats} runs\n")
    print("| polygons | method | million photos/s | index, s |\n|---|---|---:|---:|")
    names = {"country": f"{len(countries.countries)} countries", "subdivision": "4,556 sub-divisions"}
    for level, method, per_second, build in rows:
        print(f"| {names[level]} | {method} | {per_second / 1e6:.2f} | {f'{build:.1f}' if build else ''} |")
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
    return Points((longitude + 180) % 360 - 180, latitude.clip(-90, 90))


def read_countries(data: Path) -> BoundarySet:
    """Natural Earth's 1:10m countries, the one invalid ring repaired."""
    path = data / "boundaries" / "ne_10m_admin_0_countries.gpkg"
    return import_boundaries(BoundarySpec("ne_10m", "natural_earth", countries=str(path)))


def timed(work: Callable[[Points], np.ndarray], points: Points, repeats: int) -> tuple[np.ndarray, float]:
    """The answer and the middle of the seconds taken; a small first run makes lazy indices."""
    work(points.first(1000))
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        answer = work(points)
        seconds.append(time.perf_counter() - start)
    return answer, statistics.median(seconds)


def sjoin(regions: gpd.GeoDataFrame, points: Points) -> np.ndarray:
    """The lowest region index within which each point lies, -1 for none, by geopandas."""
    frame = gpd.GeoDataFrame(geometry=gpd.points_from_xy(points.longitude, points.latitude), crs="EPSG:4326")
    joined = gpd.sjoin(frame, regions[["geometry"]], predicate="within", how="inner")
    return _lowest(len(frame), joined.index.to_numpy(), joined["index_right"].to_numpy())


def prepared_parts(regions: gpd.GeoDataFrame, points: Points) -> np.ndarray:
    """The same by the parts of the polygons, prepared, against a tree of the points."""
    parts, owner = shapely.get_parts(regions.geometry.to_numpy(), return_index=True)
    tree = shapely.STRtree(shapely.points(points.longitude, points.latitude))
    part, point = tree.query(parts, predicate="intersects")
    return _lowest(len(points.longitude), point, owner[part])


def peak_memory_gib(data: Path) -> float:
    """Peak resident memory of this process after it has labelled ten million photos with sub-divisions."""
    points = draw_points(data, MEMORY_PHOTOS)
    RegionLocator(load_boundaries()).locate(points.longitude, points.latitude)
    return peak_bytes() / 2**30


def _index(locator: RegionLocator, points: Points) -> np.ndarray:
    located = locator.locate(points.longitude, points.latitude)
    return located.subdivision_index if len(locator.boundaries.subdivisions) else located.country_index


def _lowest(n: int, point: np.ndarray, region: np.ndarray) -> np.ndarray:
    lowest = np.full(n, np.iinfo(np.int64).max)
    np.minimum.at(lowest, point, region)
    return np.where(lowest == np.iinfo(np.int64).max, -1, lowest)


if __name__ == "__main__":
    try:
        main()
    except GeolocError as error:
        sys.exit(f"error: {error}")

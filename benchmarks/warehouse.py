"""How the warehouse grows: labelled rows written, a shard replaced, all summarised, from 1 M to 10 M rows.

    python benchmarks/warehouse.py [--rows 1 2 5 10] [--output .bench/warehouse.json]

Each size runs in a process of its own, so that its peak memory is its own; making the rows is not timed. The rows are
drawn: countries with MP-16's kind of imbalance, Flickr-like ids. Prints a Markdown table and writes the figures as
flat JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from peak_memory import peak_bytes

from geoloc_core.photos.warehouse import Warehouse
from geoloc_core.storage import write_json

ROWS_PER_SHARD = 500_000
COUNTRIES = 219
LIMIT_MIB = 2048


def shard_of(number: int) -> pd.DataFrame:
    """`ROWS_PER_SHARD` labelled rows; the share of the r-th country falls as 1 / r."""
    rng = np.random.default_rng(number)
    n = ROWS_PER_SHARD
    shares = 1.0 / np.arange(1, COUNTRIES + 1)
    country = rng.choice(COUNTRIES, size=n, p=shares / shares.sum())
    codes = np.array([f"C{index:02X}" for index in range(COUNTRIES)], dtype=object)
    units = np.array([f"C{index % COUNTRIES:02X}-{index:04d}" for index in range(20 * COUNTRIES)], dtype=object)
    authors = np.array([f"{index:08d}@N00" for index in range(20_000)], dtype=object)
    return pd.DataFrame(
        {
            "photo_id": [f"{number * n + index + 2_000_000_000}" for index in range(n)],
            "dataset": "mp16",
            "shard": f"mp16-{number:02d}",
            "author_id": authors[rng.integers(0, authors.size, n)],
            "latitude": rng.uniform(-60, 75, n),
            "longitude": rng.uniform(-180, 180, n),
            "country_id": codes[country],
            "subdivision_id": units[country + COUNTRIES * rng.integers(0, 20, n)],
            "label_quality": "inside",
            "label_distance_km": np.zeros(n, dtype=np.float32),
        }
    )


def measure(millions: int, folder: Path) -> dict[str, float]:
    """The figures of one size, in this process."""
    warehouse = Warehouse(folder / "photos.duckdb")
    shards = millions * 1_000_000 // ROWS_PER_SHARD
    write_s = 0.0
    for number in range(shards):
        frame = shard_of(number)
        start = time.perf_counter()
        warehouse.replace_shard("labeled_photos", frame["shard"].iloc[0], frame)
        write_s += time.perf_counter() - start
    start = time.perf_counter()
    warehouse.replace_shard("labeled_photos", frame["shard"].iloc[0], frame)
    replace_s = time.perf_counter() - start
    start = time.perf_counter()
    counts = warehouse.count_by("labeled_photos", "country_id")
    summary_s = time.perf_counter() - start
    start = time.perf_counter()
    units = warehouse.count_by("labeled_photos", "country_id", "subdivision_id", "label_quality")
    units_s = time.perf_counter() - start
    rows = millions * 1_000_000
    if counts["n"].sum() != rows or units["n"].sum() != rows or len(counts) != COUNTRIES:
        raise SystemExit(f"the warehouse has {counts['n'].sum()} rows of {len(counts)} countries, not {rows}")
    return {
        "write_s": write_s,
        "replace_shard_s": replace_s,
        "summary_s": summary_s,
        "subdivision_summary_s": units_s,
        "file_mib": warehouse.path.stat().st_size / 2**20,
        "peak_mib": peak_bytes() / 2**20,
    }


def measure_apart(millions: int) -> dict[str, float]:
    """The figures of one size, measured in a new process."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--one", str(millions), "--folder", folder]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def main() -> None:
    """Measure every size, print the table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 2, 5, 10], help="millions of rows")
    parser.add_argument("--output", type=Path, default=Path(".bench/warehouse.json"))
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.folder)))
        return

    flat: dict[str, float | bool] = {}
    print("| rows | write s | rows/s | replace a shard s | by country s | by sub-division s | file MiB | peak MiB |")
    print("|---:|---:|---:|---:|---:|---:|---:|---:|")
    for millions in options.rows:
        f = measure_apart(millions)
        per_s = millions * 1_000_000 / f["write_s"]
        print(
            f"| {millions} M | {f['write_s']:.1f} | {per_s:,.0f} | {f['replace_shard_s']:.2f} | {f['summary_s']:.3f}"
            f" | {f['subdivision_summary_s']:.3f} | {f['file_mib']:.0f} | {f['peak_mib']:.0f} |",
            flush=True,
        )
        flat |= {f"{name}_{millions}m": round(value, 4) for name, value in f.items()}
        flat[f"rows_per_s_{millions}m"] = round(per_s)
    largest, smallest = max(options.rows), min(options.rows)
    flat["peak_mib"] = flat[f"peak_mib_{largest}m"]
    flat["within_2_gib"] = bool(flat["peak_mib"] <= LIMIT_MIB)
    flat["rows_ratio"] = largest / smallest
    for name in ("write_s", "summary_s"):
        flat[f"{name}_ratio"] = round(float(flat[f"{name}_{largest}m"]) / float(flat[f"{name}_{smallest}m"]), 2)
    print(
        f"\n{flat['rows_ratio']:.0f} times the rows take {flat['write_s_ratio']} times as long to write and"
        f" {flat['summary_s_ratio']} times as long to summarise; peak {flat['peak_mib']:.0f} MiB of {LIMIT_MIB}."
    )
    write_json(options.output, flat)


if __name__ == "__main__":
    main()

"""The line after the embeddings at MP-16's kind of size: labels, training set, anchors, a head, reports, results.

    python benchmarks/scale.py [--photos 1000000] [--output .bench/scale.json]

Places are those of `../shared/data/benchmarks/mp16_like_coordinates_100k.csv`, jittered. Pictures and vectors are made up: the
vectors are noisy functions of the place, so that a head has something to learn; its scores mean nothing. Each step runs
in a process of its own, so that its peak memory is its own. Prints a Markdown table and writes the figures as flat JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from peak_memory import peak_bytes

from geoloc_core.geography.cells import LEVELS
from geoloc_core.line.layout import Layout
from geoloc_core.line.profile import Profile, parse_profile
from geoloc_core.line.project import Project
from geoloc_core.line.steps import Job, evaluation, learning, photos
from geoloc_core.photos.warehouse import Warehouse
from geoloc_core.storage import write_json

PHOTOS_PER_SHARD = 100_000
BENCHMARK_PHOTOS = 3_000
PHOTOS_PER_AUTHOR = 30
DIMENSION = 768
BACKBONE = "tiny-vit"  # lends its name; its pictures are never embedded (and it has no text tower to be asked)
EXPERIMENT = "clip.linear.hierarchical.default"
JITTER_DEGREES = 0.02


@dataclass(frozen=True)
class Place:
    """A project on disk."""

    profile: Profile
    layout: Layout
    coordinates: Path

    @property
    def project(self) -> Project:
        """The same as steps want it."""
        return Project(self.profile, Path("scale.yaml"), self.layout)

    @property
    def warehouse(self) -> Warehouse:
        """Its tables."""
        return Warehouse(self.layout.warehouse)


def profile_of(photos: int) -> Profile:
    """Training shards of `PHOTOS_PER_SHARD`, one benchmark, one experiment."""
    dataset = {"name": "made", "metadata": "none", "images": "none", "rows_per_shard": PHOTOS_PER_SHARD}
    return parse_profile(
        {
            "name": "scale",
            "notice": "Pictures and vectors are made up; the scores mean nothing.",
            "features": {"clip": [BACKBONE]},
            "experiments": [EXPERIMENT],
            "training": [{**dataset, "shards": photos // PHOTOS_PER_SHARD}],
            "benchmarks": [{**dataset, "name": "bench"}],
        }
    )


def make_shard(place: Place, shard: str, seed: int) -> None:
    """Rows, labels, manifest and vectors of one shard."""
    from geoloc_core.features.backbones import backbone
    from geoloc_core.features.checkpoints import open_checkpoint
    from geoloc_core.features.extract import EmbeddingBlock
    from geoloc_core.features.shards import write_shard
    from geoloc_core.photos.labels import label_photos, locator_of
    from geoloc_core.photos.rows import write_rows

    rng = np.random.default_rng(seed)
    n = BENCHMARK_PHOTOS if shard == "bench" else PHOTOS_PER_SHARD
    known = pd.read_csv(place.coordinates, keep_default_na=False)[["LAT", "LON"]].to_numpy(dtype=np.float64)
    points = known[rng.integers(0, len(known), n)] + rng.normal(0, JITTER_DEGREES, (n, 2))
    latitude, longitude = points[:, 0].clip(-90, 90), points[:, 1].clip(-180, 180)
    ids = (10**9 + seed * PHOTOS_PER_SHARD + np.arange(n)).astype(str)
    raw = pd.DataFrame(
        {
            "photo_id": ids,
            "dataset": shard,
            "author_id": [f"{shard}-{author}" for author in rng.integers(0, n // PHOTOS_PER_AUTHOR + 1, n)],
            "latitude": latitude,
            "longitude": longitude,
            "image_path": ids,
            "image_url": "",
            "row_number": np.arange(1, n + 1),
        }
    )
    labeled = label_photos(raw, shard, locator_of(place.layout.regions, 25.0))
    place.warehouse.replace_shard("labeled_photos", shard, labeled)
    hashes = [f"{value:016x}" for value in rng.integers(0, 2**63, n)]
    facts = {"status": "ok", "detail": "", "bytes": 1, "width": 32, "height": 32, "sha256": [4 * h for h in hashes]}
    write_rows(raw[["photo_id", "image_path"]].assign(**facts, phash=hashes), place.layout.images(shard))

    phi, lam = np.radians(latitude), np.radians(longitude)
    on_sphere = np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=1)
    waves = np.random.default_rng(0).normal(0, 12, (3, DIMENSION))  # the same for all shards
    vectors = np.sin(on_sphere @ waves) + rng.normal(0, 1.0, (n, DIMENSION))
    identity = replace(open_checkpoint(backbone(BACKBONE), place.layout.checkpoints).identity, dimension=DIMENSION)
    block = EmbeddingBlock(ids.tolist(), vectors.astype(np.float16), ["ok"] * n, [4 * h for h in hashes])
    write_shard(place.layout.embeddings(BACKBONE, shard), block, identity)


def prepare(place: Place) -> None:
    """All shards; what is timed is what comes after."""
    from geoloc_core.features.backbones import backbone
    from geoloc_core.features.checkpoints import open_checkpoint
    from geoloc_core.geography.boundaries import load_boundaries, write_boundaries

    write_boundaries(load_boundaries("embedded"), place.layout.regions)
    open_checkpoint(backbone(BACKBONE), place.layout.checkpoints)
    for seed, shard in enumerate(place.profile.shards()):
        make_shard(place, shard, seed)


def training_photos(place: Place) -> None:
    """The training set, without benchmark authors and near-duplicates, split by author."""
    photos.training_photos(Job(place.project, ""))


def class_tables(place: Place) -> None:
    """Class distribution, class weights, anchors of both levels."""
    photos.class_distribution(Job(place.project, ""))
    for level in LEVELS:
        learning.class_weights(Job(place.project, level))
        learning.region_anchors(Job(place.project, level))


def head(place: Place) -> None:
    """One head of sub-divisions."""
    learning.heads(Job(place.project, EXPERIMENT))


def reports(place: Place) -> None:
    """Predictions and scores on the validation photos and the benchmark."""
    evaluation.validation_report(Job(place.project, EXPERIMENT))
    evaluation.benchmark_report(Job(place.project, f"bench|{EXPERIMENT}"))


def results(place: Place) -> None:
    """Tables, maps and the HTML report."""
    evaluation.results(Job(place.project, ""))


STEPS: dict[str, Callable[[Place], None]] = {
    step.__name__: step for step in (prepare, training_photos, class_tables, head, reports, results)
}


def measure_apart(step: str, photos: int, folder: Path, coordinates: Path) -> dict[str, float]:
    """Seconds and peak GiB of one step, in a new process."""
    command = [sys.executable, __file__, "--photos", str(photos), "--step", step]
    command += ["--folder", str(folder), "--coordinates", str(coordinates)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> None:
    """Measure every step, print the table, write the figures."""
    shared = Path(os.environ.get("GEOLOC_SHARED_DATA", "../shared/data"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=1_000_000, help=f"a multiple of {PHOTOS_PER_SHARD:,}")
    parser.add_argument("--output", type=Path, default=Path(".bench/scale.json"))
    parser.add_argument("--coordinates", type=Path, default=next(shared.rglob("mp16_like_coordinates_100k.csv"), None))
    parser.add_argument("--step", choices=list(STEPS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.coordinates is None:
        parser.error("mp16_like_coordinates_100k.csv is not in ../shared/data; name it with --coordinates")
    if options.photos < PHOTOS_PER_SHARD or options.photos % PHOTOS_PER_SHARD:
        parser.error(f"--photos must be a multiple of {PHOTOS_PER_SHARD:,}")
    if options.step:
        place = Place(profile_of(options.photos), Layout(options.folder), options.coordinates)
        start = time.perf_counter()
        STEPS[options.step](place)
        seconds = time.perf_counter() - start
        print(json.dumps({"s": seconds, "peak_gib": peak_bytes() / 2**30}))
        return

    flat: dict[str, float | str] = {"photos": options.photos, "dimension": DIMENSION, "experiment": EXPERIMENT}
    print(
        f"{options.photos:,} photos, {DIMENSION} numbers each, {EXPERIMENT}\n\n| step | s | peak GiB |\n|---|---:|---:|"
    )
    with tempfile.TemporaryDirectory(prefix="geoloc-scale-") as folder:
        for step in STEPS:
            figures = measure_apart(step, options.photos, Path(folder), options.coordinates)
            print(f"| {step} | {figures['s']:.1f} | {figures['peak_gib']:.2f} |", flush=True)
            flat |= {f"{step}_s": round(figures["s"], 2), f"{step}_peak_gib": round(figures["peak_gib"], 3)}
    write_json(options.output, flat)


if __name__ == "__main__":
    main()

"""110 shards: more upstream partitions than the 100 at which Dagster's own stale status gives up."""

import csv
import time
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
import yaml
from PIL import Image

from geoloc_core.line.artifacts import Target, partitions
from geoloc_core.line.make import make
from geoloc_core.line.project import Project, open_project
from geoloc_core.line.staleness import State, make_plan
from geoloc_core.line.steps import Job
from geoloc_dagster.build import synchronise
from geoloc_dagster.requests import request_runs
from tests.dagster.tiny_line import carry_out

SHARDS = 110
CITIES = [(52.37, 4.9), (48.86, 2.35), (35.68, 139.69), (-33.87, 151.21), (40.71, -74.01), (-1.29, 36.82)]
MADE_BEFORE = ("regions", "deliveries", "raw_photos", "images", "labeled_photos", "training_photos")
LOOKED_AT = (*MADE_BEFORE, "class_distribution", "class_weights", "region_anchors")
REPORTS = ("validation_report", "benchmark_report", "results", "champion")


def write_metadata(path: Path, number: int, moved: bool = False) -> None:
    """Two photos of two authors in two cities."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["IMG_ID", "AUTHOR", "LAT", "LON"])
        for row in range(2):
            latitude, longitude = CITIES[(number + row + 3 * moved) % len(CITIES)]
            writer.writerow([f"{number:03d}-{row}.jpg", f"author-{number}-{row}", latitude, longitude])


def write_pictures(folder: Path) -> None:
    """A picture of its own for every photo: noise, so that none is a near-duplicate of another."""
    rng = np.random.default_rng(0)
    for number in range(SHARDS):
        for row in range(2):
            pixels = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((64, 64), Image.Resampling.NEAREST).save(folder / f"{number:03d}-{row}.jpg")


def many(folder: Path, shards: int = SHARDS) -> Project:
    """A project of that many deliveries, of one shard each."""
    folder.mkdir(parents=True, exist_ok=True)
    training = []
    for number in range(shards):
        path = folder / f"d{number:03d}.csv"
        if not path.exists():
            write_metadata(path, number)
        training.append({"name": f"d{number:03d}", "metadata": str(path), "images": str(folder)})
    profile = {
        "name": "many",
        "training": training,
        "drawn": None,
        "benchmarks": [training.pop(0) | {"name": "bench"}],
        "features": {"a": ["tiny-clip"], "b": ["tiny-vit", "tiny-segvit"]},
        "experiments": ["a.linear.country.thesis", "b.linear.country.thesis"],
    }
    path = folder / f"many-{shards}.yaml"
    path.write_text(yaml.safe_dump(profile))
    return open_project(str(path), folder / "home")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The photos' assets of all shards, made without Dagster."""
    project = many(tmp_path_factory.mktemp("many"))
    write_pictures(project.layout.home.parent)
    for name in MADE_BEFORE:
        for key in partitions(project.profile, name):
            make(Job(project, key), name, run_id="before")
    return project


def make_all(project: Project, instance: dg.DagsterInstance) -> list[Target]:
    """Make what is stale in the photos' and the learning rooms by real runs, wave after wave, as the sensor does."""
    synchronise(instance, project.profile)
    done: list[Target] = []
    while True:
        state = State(project)
        requests = request_runs(state, instance, make_plan(state), LOOKED_AT).runs
        if not requests:
            return done
        for request in requests:
            assert carry_out(request, instance)
            done.append(Target(request.asset_selection[0].path[-1], request.partition_key or ""))


@pytest.mark.slow
def test_of_many_shards_only_what_changed_is_made(made: Project, instance: dg.DagsterInstance) -> None:
    """Cases a, b, k and l, one after another, by real runs against an instance that knows nothing at first."""
    whole = {"training_photos", "class_distribution", "class_weights", "region_anchors"}
    first = make_all(made, instance)
    assert {target.asset for target in first} == whole - {"training_photos"}

    made.layout.receipt("raw_photos", "d037").unlink()
    assert make_all(made, instance) == [Target("raw_photos", "d037")]

    write_metadata(made.layout.home.parent / "d037.csv", 37, moved=True)
    changed = make_all(made, instance)
    of_shards = [target for target in changed if target.partition.startswith("d")]
    assert of_shards == [Target(asset, "d037") for asset in ("deliveries", "raw_photos", "images", "labeled_photos")]
    assert {target.asset for target in changed if target not in of_shards} == whole
    assert len(changed) == 4 + 2 + 2 + 2

    before = len(made.warehouse().read_table("labeled_photos", columns=["photo_id"]))
    fewer = many(made.layout.home.parent, SHARDS - 1)
    state = State(fewer)
    orphans = state.orphans()
    assert {target.partition for target in orphans} == {f"d{SHARDS - 1:03d}"}
    for target in orphans:
        state.remove(target)
    assert len(made.warehouse().read_table("labeled_photos", columns=["photo_id"])) == before - 2
    after = make_all(fewer, instance)
    assert {target.asset for target in after} == whole
    began = time.process_time()
    plan = make_plan(State(fewer))
    assert time.process_time() - began <= 2.0, "a tick of a sensor plans all 784 targets"
    assert {step.target.asset for step in plan.steps} == {"backbones", "embeddings", "heads", *REPORTS}
    assert sum(step.target.asset == "embeddings" for step in plan.steps) == 3 * (SHARDS - 1)

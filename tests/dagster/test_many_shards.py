"""200 shards: twice the number of upstream partitions at which Dagster's own stale status gives up."""

import csv
import time
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import numpy as np
import pytest
import yaml
from PIL import Image

from geoloc_core.line.lineage import CODE_VERSIONS, Lineage, Target
from geoloc_core.line.plan import State, make_plan
from geoloc_core.line.project import Project, open_project
from geoloc_core.line.receipts import Receipt, Stamp, write_receipt
from geoloc_dagster.assets import geography, photos
from geoloc_dagster.automation.requests import ask
from geoloc_dagster.definitions import defs
from geoloc_dagster.partitions import synchronise
from geoloc_dagster.refresh import Outcome, remove_orphans
from geoloc_dagster.resources import ProjectResource

SHARDS = 200
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
    """The photos' assets of 200 shards, made by calling their functions: what a run does, less the run."""
    project = many(tmp_path_factory.mktemp("many"))
    write_pictures(project.layout.home.parent)
    resource = ProjectResource(profile=str(project.profile_path), home=str(project.layout.home))
    for name in MADE_BEFORE:
        asset = getattr(geography if name == "regions" else photos, name)
        for partition in Lineage(project).partitions(name):
            context = SimpleNamespace(
                partition_key=partition, has_partition_key=bool(partition), asset_key=asset.key, run_id="before"
            )
            asset.op.compute_fn.decorated_fn(context, resource)
    return project


def carry_out(project: Project, instance: dg.DagsterInstance) -> list[Target]:
    """Make what is out of date in the photos' and the learning rooms by real runs, wave after wave, as the sensor does."""
    synchronise(instance, project.profile)
    job = defs.resolve_implicit_global_asset_job_def()
    done: list[Target] = []
    while True:
        lineage = Lineage(project)
        state = State(lineage)
        requests = ask(state, instance, make_plan(lineage, state=state), LOOKED_AT).requests
        if not requests:
            return done
        for request in requests:
            (key,) = request.asset_selection or ()
            result = job.get_subset(asset_selection={key}, asset_check_selection=set()).execute_in_process(
                run_config=request.run_config,
                partition_key=request.partition_key,
                instance=instance,
                tags=dict(request.tags),
            )
            assert result.success
            done.append(Target(key.path[-1], request.partition_key or ""))


@pytest.mark.slow
def test_of_200_shards_only_what_changed_is_made(made: Project, instance: dg.DagsterInstance) -> None:
    """Cases a, b, k and l, one after another, by real runs against an instance that knows nothing at first."""
    whole = {"training_photos", "class_distribution", "class_weights", "region_anchors"}
    first = carry_out(made, instance)
    assert {target.asset for target in first} == whole - {"training_photos"}

    made.layout.receipt("raw_photos", "d137").unlink()
    assert carry_out(made, instance) == [Target("raw_photos", "d137")]

    write_metadata(made.layout.home.parent / "d137.csv", 137, moved=True)
    changed = carry_out(made, instance)
    of_shards = [target for target in changed if target.partition.startswith("d")]
    assert of_shards == [Target(asset, "d137") for asset in ("deliveries", "raw_photos", "images", "labeled_photos")]
    assert {target.asset for target in changed if target not in of_shards} == whole
    assert len(changed) == 4 + 2 + 2 + 2

    before = len(made.warehouse().read_table("labeled_photos", columns=["photo_id"]))
    fewer = many(made.layout.home.parent, SHARDS - 1)
    outcome = Outcome()
    lineage = Lineage(fewer)
    remove_orphans(lineage, State(lineage), outcome, lambda event, target, detail: None)
    assert {target.partition for target in outcome.removed} == {"d199"}
    assert len(made.warehouse().read_table("labeled_photos", columns=["photo_id"])) == before - 2
    after = carry_out(fewer, instance)
    assert {target.asset for target in after} == whole
    plan = make_plan(Lineage(fewer))
    assert {step.target.asset for step in plan.steps} == {"backbones", "embeddings", "heads", *REPORTS}
    assert sum(step.target.asset == "embeddings" for step in plan.steps) == 3 * (SHARDS - 1)


def test_200_shards_of_3_backbones_are_planned_in_3_seconds(tmp_path: Path) -> None:
    """1,421 targets, all with receipts; the time is the processor's, as other tests may run beside this one."""
    project = many(tmp_path)
    write_all_receipts(project)
    began = time.process_time()
    lineage = Lineage(project)
    plan = make_plan(lineage)
    seconds = time.process_time() - began
    assert not plan
    assert len(lineage.partitions("embeddings")) == 3 * SHARDS
    assert seconds <= 3.0


def write_all_receipts(project: Project) -> None:
    """A receipt and a small file for every target, as if all had been made."""
    state = State(Lineage(project))
    for number, target in enumerate(state.lineage.targets()):
        file = project.layout.home / "files" / f"{number}.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"content")
        made_from = {str(item): state.version(item) for item in state.lineage.inputs(target)}
        stamps = {f"files/{number}.bin": Stamp.of(file)}
        receipt = Receipt(target, CODE_VERSIONS[target.asset], f"{number:064x}", made_from, stamps)
        write_receipt(project.layout, receipt)
        state.receipts[target] = receipt

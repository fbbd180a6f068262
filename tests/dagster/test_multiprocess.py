"""Every step in a process of its own, two at a time: the same bytes as the line that was made in one process."""

import dagster as dg
import pytest
from dagster._core.definitions.reconstruct import ReconstructableRepository

from geoloc_core.storage import TEMPORARY_PREFIX
from geoloc_dagster.project import SOURCE_ROOT, Project
from geoloc_dagster.receipts import all_receipts, remove_receipt
from geoloc_dagster.refresh import run_config

HEAD = "clip.linear.country.thesis"
# Assets of one partition go into one run, so that steps meet; each room is there, the expensive steps above all.
RUNS = (
    ("sample-01", ("deliveries", "raw_photos", "images", "labeled_photos")),
    ("", ("training_photos",)),
    ("country", ("class_weights", "region_anchors")),
    ("tiny-clip|sample-01", ("embeddings",)),
    (HEAD, ("heads", "validation_report")),
    (f"bench-a|{HEAD}", ("benchmark_report",)),
)


def contents(project: Project) -> dict[str, str]:
    """The version of every target and the hash of every file."""
    found = {}
    for receipt in all_receipts(project.layout):
        found[str(receipt.target)] = receipt.data_version
        # How fast pictures were embedded, and when a champion was chosen, is never the same.
        files = {
            name: stamp for name, stamp in receipt.files.items() if not name.startswith(("embeddings/", "champion"))
        }
        found.update({name: stamp.sha256 for name, stamp in files.items()})
    return found


@pytest.mark.slow
def test_two_processes_give_the_same_bytes_as_one(
    copy: Project, own_instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`copy` was made in one process; what is forgotten of it is made again in many."""
    before = contents(copy)
    forgotten = {(asset, partition) for partition, assets in RUNS for asset in assets}
    for receipt in list(all_receipts(copy.layout)):
        if (receipt.target.asset, receipt.target.partition) in forgotten:
            for name in receipt.files:
                (copy.layout.home / name).unlink()
            remove_receipt(copy.layout, receipt.target)
    monkeypatch.setenv("GEOLOC_EXECUTOR", "multiprocess")
    monkeypatch.setenv("GEOLOC_PROCESSES", "2")
    repository = ReconstructableRepository.for_module("geoloc_dagster.definitions", "defs", str(SOURCE_ROOT))
    job = repository.get_reconstructable_job("__ASSET_JOB")
    workers: list[int] = []
    for partition, assets in RUNS:
        result = dg.execute_job(
            job,
            instance=own_instance,
            run_config=run_config(copy),
            tags={"dagster/partition": partition} if partition else {},
            asset_selection=[dg.AssetKey(asset) for asset in assets],
        )
        assert result.success, assets
        events = [entry.dagster_event for entry in own_instance.all_logs(result.run_id) if entry.dagster_event]
        workers += [
            int(str(event.event_specific_data.metadata["pid"].value))  # type: ignore[union-attr]
            for event in events
            if event.event_type == dg.DagsterEventType.STEP_WORKER_STARTED
        ]
    # Checks are steps, too: more processes than targets, and none did two steps.
    assert len(set(workers)) == len(workers) > len(forgotten)
    assert contents(copy) == before
    assert not list(copy.layout.home.rglob(f"{TEMPORARY_PREFIX}*"))

"""Every step in a process of its own, two at a time: the same bytes as the line that was made in one process."""

import dagster as dg
import pytest
from dagster._core.definitions.reconstruct import ReconstructableRepository

from geoloc_core.line.artifacts import Target
from geoloc_core.line.project import SOURCE_ROOT
from geoloc_core.storage import TEMPORARY_PREFIX
from geoloc_dagster.refresh import run_config
from tests.dagster.tiny_line import contents, forget

RUNS = {"labeled_photos": "sample-01", "embeddings": "tiny-clip|sample-01", "heads": "clip.linear.country.thesis"}


@pytest.mark.slow
def test_two_processes_give_the_same_bytes_as_one(copy, own_instance, monkeypatch):
    """`copy` was made in one process; what is forgotten of it is made again in many."""
    before = contents(copy)
    wanted = {Target(asset, partition) for asset, partition in RUNS.items()}
    forgotten = forget(copy, lambda target: target in wanted)
    assert forgotten == wanted
    monkeypatch.setenv("GEOLOC_EXECUTOR", "multiprocess")
    monkeypatch.setenv("GEOLOC_PROCESSES", "2")
    repository = ReconstructableRepository.for_module("geoloc_dagster.definitions", "defs", str(SOURCE_ROOT))
    job = repository.get_reconstructable_job("__ASSET_JOB")
    workers: list[int] = []
    for asset, partition in RUNS.items():
        result = dg.execute_job(
            job,
            instance=own_instance,
            run_config=run_config(copy),
            tags={"dagster/partition": partition},
            asset_selection=[dg.AssetKey(asset)],
        )
        assert result.success, asset
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

"""The daemon itself, with its sensors on: a metadata file laid into the landing folder becomes labelled shards."""

import csv
import os
import shutil
import signal
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.freshness import FreshnessState

from geoloc_core.line.artifacts import Target
from geoloc_core.line.project import Project, open_project
from geoloc_core.line.receipts import read_receipt
from geoloc_dagster.refresh import open_instance
from tests.dagster.kill_experiment import end_group, pids
from tests.dagster.tiny_line import WORKSPACE, log_of, start, start_sensors
from tests.servers import wait_until


def lay_down(project: Project) -> Path:
    """A delivery of the first usable rows of a shard, as a tool would copy it: old enough to be complete."""
    source = project.layout.delivery("sample-01")
    landing = project.layout.landing
    landing.mkdir(parents=True, exist_ok=True)
    with (source / "metadata.csv").open(newline="") as file:
        rows = list(csv.reader(file))[:13]
    for row in rows[1:]:
        if (source / "images" / row[0]).is_file():
            target = landing / row[0]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / "images" / row[0], target)
    path = landing / "news.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.mark.slow
def test_a_file_in_the_landing_folder_becomes_labelled_photos_though_a_run_is_killed(copy: Project) -> None:
    """A killed run is started once more by Dagster's run monitoring and run retries: the sensor would wait for other inputs.

    The freshness of the results is told, too. Heads are left alone (`retraining: asked`), as they take longest.
    """
    profile = copy.profile_path
    profile.write_text(profile.read_text() + "retraining: asked\n")
    project = open_project(str(profile), copy.layout.home)
    log, landed = log_of(project), Target("labeled_photos", "news")
    succeeded = [dg.DagsterRunStatus.SUCCESS]
    again = dg.RunsFilter(statuses=succeeded, tags={"dagster/retry_number": "1"})
    well = dg.RunsFilter(statuses=succeeded, tags={"geoloc/target": str(landed)})
    with open_instance(project.layout) as instance:
        start_sensors(project, "--start-all")
        lay_down(project)
        daemon = start(project, "dagster._daemon", "run", *WORKSPACE)
        try:
            os.kill(wait_until(lambda: pids(instance)["worker"], daemon, log, 120)[0], signal.SIGKILL)
            wait_until(lambda: instance.get_runs(again), daemon, log, 180)
            wait_until(lambda: instance.get_runs(well), daemon, log, 180)
            wait_until(lambda: fresh(instance) is FreshnessState.PASS, daemon, log, 60)
        finally:
            end_group(daemon)
        retried = instance.get_runs(again)[0]
        killed = instance.get_run_by_id(retried.parent_run_id or "")
        assert killed is not None
        assert killed.status is dg.DagsterRunStatus.FAILURE
        assert killed.tags["geoloc/target"] == retried.tags["geoloc/target"] == "deliveries[news]"
        (run,) = instance.get_runs(well)
        assert run.tags["geoloc/reason"] == "not made yet"
        assert "news" in instance.get_dynamic_partitions("shards")
    assert read_receipt(project.layout, landed) is not None
    assert project.warehouse().rows_by_shard("labeled_photos")["news"] >= 8


def fresh(instance: dg.DagsterInstance) -> FreshnessState | None:
    key = dg.AssetKey("results")
    record = instance.get_freshness_state_records([key]).get(key)
    return record.freshness_state if record else None

"""Each sensor and the schedule by its tick, against a real project and a real instance."""

import dataclasses
import datetime

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData

from geoloc_core.line.artifacts import LINE, Target
from geoloc_core.line.project import Project
from geoloc_core.line.receipts import Receipt, read_receipt, record_verdict, remove_receipt, write_receipt
from geoloc_core.line.staleness import State, make_plan
from geoloc_dagster import sensors
from geoloc_dagster.definitions import defs
from geoloc_dagster.refresh import project_plan, refresh_lock, remake
from geoloc_dagster.requests import ATTEMPT_TAG, MOST_ATTEMPTS, REASON_TAG, TARGET_TAG, request_runs
from geoloc_dagster.resources import ProjectResource
from geoloc_dagster.sensors import drift_tick, weekly_retraining
from tests.dagster.tiny_line import carry_out

NEWEST = "sample-02"


def resource(project: Project) -> ProjectResource:
    return ProjectResource(profile=str(project.profile_path), home=str(project.layout.home))


def asked(data: SensorExecutionData) -> dict[str, str]:
    """Target -> run key of the runs that a tick asks for."""
    return {
        str(Target(request.asset_selection[0].path[-1], request.partition_key or "")): request.run_key
        for request in data.run_requests or ()
    }


@dataclasses.dataclass
class Daemon:
    """What Dagster's daemon does, one thing at a time."""

    instance: dg.DagsterInstance

    def tick(self, sensor: dg.SensorDefinition, project: Project) -> SensorExecutionData:
        """Evaluate the sensor once, where the instance's partitions are known."""
        context = dg.build_sensor_context(
            instance=self.instance, repository_def=defs.get_repository_def(), resources={"project": resource(project)}
        )
        with dg.partition_loading_context(dynamic_partitions_store=self.instance):
            return sensor.evaluate_tick(context)

    def run(self, data: SensorExecutionData, only: str = "") -> list[bool]:
        """Run what a tick asked for, one after another; whether each went well."""
        requests = [request for request in data.run_requests or () if only in request.tags[TARGET_TAG]]
        return [carry_out(request, self.instance) for request in requests]


@pytest.fixture
def daemon(own_instance: dg.DagsterInstance) -> Daemon:
    return Daemon(own_instance)


def test_every_sensor_and_schedule_is_off_until_switched_on() -> None:
    assert {sensor.name for sensor in defs.sensors or ()} == {
        "deliveries", "refresh", "removals", "drift", "champion", "failures",
    }  # fmt: skip
    assert all(sensor.default_status == dg.DefaultSensorStatus.STOPPED for sensor in defs.sensors or ())
    assert weekly_retraining.default_status == dg.DefaultScheduleStatus.STOPPED


def test_a_current_project_asks_for_nothing_and_a_tick_waits_while_a_person_refreshes(copy, daemon):
    data = daemon.tick(sensors.refresh, copy)
    assert data.run_requests == []
    assert data.skip_message == "nothing is stale"
    # What a check refused is not tried for ever.
    record_verdict(copy.layout, Target("class_weights", "country"), "finite", "a weight is not a positive number")
    data = daemon.tick(sensors.refresh, copy)
    assert data.run_requests == []
    assert "class_weights[country]: refused by its check finite: a weight is not a positive number" in data.skip_message

    copy.layout.regions.unlink()
    with refresh_lock(copy.layout):
        data = daemon.tick(sensors.refresh, copy)
    assert data.run_requests == []
    assert "`geoloc refresh` is at work" in data.skip_message


def test_refresh_asks_only_for_what_can_be_made_now_and_runs_until_all_is_current(copy, daemon):
    copy.layout.receipt("images", "sample-01").unlink()
    copy.layout.embeddings("tiny-vit", "sample-01").unlink()
    copy.layout.embeddings("tiny-vit", "sample-02").unlink()
    first = daemon.tick(sensors.refresh, copy)
    # The vectors of sample-01 wait for its pictures, which may turn out to be others.
    assert set(asked(first)) == {"images[sample-01]", "embeddings[tiny-vit|sample-02]"}
    request = first.run_requests[0]
    assert {key.name for key in request.asset_check_keys} == {"contract", "complete"}
    assert request.tags[REASON_TAG] == "not made yet"
    assert all(daemon.run(first))
    second = daemon.tick(sensors.refresh, copy)
    assert set(asked(second)) == {"embeddings[tiny-vit|sample-01]"}
    assert all(daemon.run(second))
    # The same pictures came out, so the same vectors, so nothing further.
    assert asked(daemon.tick(sensors.refresh, copy)) == {}


def test_a_failing_target_is_tried_once_for_each_state_of_its_inputs_and_says_what_to_mend(
    copy, daemon, edit, tmp_path
):
    metadata = tmp_path / "mine.csv"
    broken = edit(copy, benchmarks=[{"name": "mine", "metadata": str(metadata), "images": str(tmp_path)}])
    first = daemon.tick(sensors.refresh, broken)
    assert set(asked(first)) == {"deliveries[mine]"}
    assert daemon.run(first) == [False]
    sensors.failures(failure_context(broken, daemon.instance))
    (line,) = broken.layout.failures.read_text().splitlines()
    run = daemon.instance.get_runs(limit=1)[0]
    assert f"FAILED deliveries[mine] (run {run.run_id[:8]}): InputError: the metadata of 'mine', " in line
    assert "mine.csv, does not exist; correct `metadata` in the profile" in line
    assert line.endswith("or at once by `geoloc run deliveries --partition 'mine'`")

    again = daemon.tick(sensors.refresh, broken)
    # The same key: the daemon starts no second run for it.
    assert asked(again) == asked(first)
    metadata.write_text("IMG_ID,AUTHOR,LAT,LON\nno-such.jpg,a,52.0,5.0\n")
    mended = daemon.tick(sensors.refresh, broken)
    assert asked(mended)["deliveries[mine]"] != asked(first)["deliveries[mine]"]
    assert daemon.run(mended) == [True]
    assert set(asked(daemon.tick(sensors.refresh, broken))) == {"raw_photos[mine]"}


def failure_context(project: Project, instance: dg.DagsterInstance) -> dg.RunFailureSensorContext:
    """What the daemon gives the sensor `failures` after the newest run."""
    run = instance.get_runs(limit=1)[0]
    record = instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE).records[0]
    event = record.event_log_entry.dagster_event
    assert event is not None
    return dg.build_run_status_sensor_context(
        sensor_name="failures",
        dagster_instance=instance,
        dagster_run=run,
        dagster_event=event,
        resources={"project": resource(project)},
        repository_def=defs.get_repository_def(),
    ).for_run_failure()


def test_content_a_b_a_is_done_again(copy, daemon, edit):
    keys, target = [], "labeled_photos[sample-00]"
    for cap in (20.0, 25.0, 20.0):
        data = daemon.tick(sensors.refresh, edit(copy, near_cap_km=cap))
        keys.append(asked(data).get(target))
        assert daemon.run(data, only=target) == [True]
    assert None not in keys
    assert len(set(keys)) == 3


def test_a_target_that_stays_stale_though_its_runs_end_well_is_held_back(copy: Project, daemon: Daemon) -> None:
    """As when the runs write to another folder than the one that the sensor looks at."""
    copy.layout.receipt("regions", "").unlink()
    attempt = daemon.tick(sensors.refresh, copy).run_requests[0].tags[ATTEMPT_TAG]
    job = defs.get_job_def("tidy")
    for earlier in range(MOST_ATTEMPTS):
        if earlier == MOST_ATTEMPTS - 1:
            assert set(asked(daemon.tick(sensors.refresh, copy))) == {"regions"}
        daemon.instance.create_run_for_job(job, status=dg.DagsterRunStatus.SUCCESS, tags={ATTEMPT_TAG: attempt})
    data = daemon.tick(sensors.refresh, copy)
    assert asked(data) == {}
    assert "regions: made 5 times within a day from the same inputs and still stale" in data.skip_message


def test_a_lost_receipt_is_another_state_than_one_that_never_was(copy: Project, daemon: Daemon) -> None:
    """The sensor was off, its cursor is lost, a file is gone beside an instance that remembers: nothing is forgotten."""
    keys = set()
    for _ in range(2):
        copy.layout.receipt("regions", "").unlink()
        copy.layout.regions.unlink()
        data = daemon.tick(sensors.refresh, copy)
        keys.add(asked(data)["regions"])
        daemon.run(data)
    assert len(keys) == 2


def test_a_tick_makes_partitions_and_known_artifacts_known(copy: Project, instance: dg.DagsterInstance) -> None:
    data = Daemon(instance).tick(sensors.refresh, copy)
    assert data.run_requests == []
    assert set(instance.get_dynamic_partitions("shards")) == {"sample-00", "sample-01", "sample-02", "bench-a"}
    assert not project_plan(copy, instance)


def test_the_champion_waits_for_the_results_and_moves_by_its_own_sensor(copy, daemon, monkeypatch):
    monkeypatch.setitem(LINE, "champion", dataclasses.replace(LINE["champion"], version="next"))
    assert asked(daemon.tick(sensors.refresh, copy)) == {}
    assert set(asked(daemon.tick(sensors.champion, copy))) == {"champion"}
    copy.layout.receipt("results", "").unlink()
    waiting = daemon.tick(sensors.champion, copy)
    assert asked(waiting) == {}
    assert waiting.skip_message == "1 wait for what they are made from"


def test_a_shard_that_the_profile_no_longer_names_is_tidied_away(copy, daemon, edit):
    assert daemon.tick(sensors.removals, copy).run_requests == []
    drawn = {"seed": 11, "shards": 2, "photos_per_shard": 40, "benchmarks": {"bench-a": 24}}
    assert daemon.tick(sensors.removals, edit(copy, drawn=drawn)).run_requests == []
    fewer = edit(copy, drawn=drawn, orphans="remove")
    (request,) = daemon.tick(sensors.removals, fewer).run_requests
    done = defs.get_job_def("tidy").execute_in_process(run_config=request.run_config, instance=daemon.instance)
    assert done.success
    assert sorted(fewer.warehouse().rows_by_shard("labeled_photos")) == ["bench-a", "sample-00", "sample-01"]
    assert not copy.layout.images("sample-02").exists()
    assert daemon.tick(sensors.removals, fewer).run_requests == []


def test_heads_are_left_alone_where_retraining_is_asked_for(copy, daemon, edit, monkeypatch):
    patient = edit(copy, retraining="asked")
    monkeypatch.setitem(LINE, "heads", dataclasses.replace(LINE["heads"], version="next"))
    assert asked(daemon.tick(sensors.refresh, patient)) == {}
    assert set(asked(daemon.tick(sensors.refresh, copy))) == {
        "heads[clip.linear.country.thesis]", "heads[clip+vit.linear.hierarchical.default]",
    }  # fmt: skip
    context = dg.build_schedule_context(
        instance=daemon.instance,
        repository_def=defs.get_repository_def(),
        resources={"project": resource(patient)},
        scheduled_execution_time=datetime.datetime(2026, 3, 2, 3, tzinfo=datetime.UTC),
    )
    with dg.partition_loading_context(dynamic_partitions_store=daemon.instance):
        requests = weekly_retraining.evaluate_tick(context).run_requests
    assert {request.partition_key for request in requests} == set(patient.profile.experiment_keys())
    assert all(request.tags[REASON_TAG].startswith("weekly retraining; code version: ") for request in requests)


def test_a_target_made_while_a_tick_was_looking_is_not_asked_for_again(copy: Project, daemon: Daemon) -> None:
    """As it happened under the daemon: half of all targets were made twice, each by a run key of its own."""
    target = Target("class_weights", "country")
    remove_receipt(copy.layout, target)
    looked = State(copy)
    plan = make_plan(looked)
    before = request_runs(looked, daemon.instance, plan, ["class_weights"])
    assert [request.tags[TARGET_TAG] for request in before.runs] == [str(target)]

    assert remake(copy, daemon.instance, defs, target.asset, [target.partition]).well
    late = request_runs(looked, daemon.instance, plan, ["class_weights"])
    assert not late.runs
    assert late.held == {target: "made while this tick was looking"}


def unlearn(project: Project) -> None:
    """Heads as they would be had they been trained before the shard came."""
    for key in project.profile.experiment_keys():
        receipt = read_receipt(project.layout, Target("heads", key))
        assert receipt is not None
        rest = {name: version for name, version in receipt.made_from.items() if f"|{NEWEST}]" not in name}
        write_receipt(project.layout, Receipt(**{**vars(receipt), "made_from": rest}))


def move_away(project: Project) -> None:
    """Photos of this shard were all taken in one far country, by twenty people."""
    rows = project.warehouse().read_table("labeled_photos", {"shard": NEWEST})
    rows["country_id"] = "FJI"
    rows["author_id"] = [f"traveller{row % 20}" for row in range(len(rows))]
    project.warehouse().replace_shard("labeled_photos", NEWEST, rows)


def test_drift_requests_the_heads_only_where_the_profile_leaves_them_to_it(copy, daemon, edit):
    tick = drift_tick(copy, daemon.instance, [])
    assert isinstance(tick, dg.SkipReason)
    assert tick.skip_message == "no shard is new to the heads"

    unlearn(copy)
    move_away(copy)
    tick = drift_tick(edit(copy, retraining="always"), daemon.instance, [])
    assert isinstance(tick, dg.SkipReason)
    assert f"{NEWEST}: " in str(tick.skip_message)
    assert "nats of drift between" in str(tick.skip_message)

    project = edit(copy, retraining="asked")
    # The same state keeps its run keys.
    ticks = [drift_tick(project, daemon.instance, []) for _ in range(2)]
    requests, again = [tick.run_requests or [] for tick in ticks if isinstance(tick, dg.SensorResult)]
    assert {request.partition_key for request in requests} == set(project.profile.experiment_keys())
    assert all(request.tags["geoloc/reason"].startswith(f"drift: {NEWEST}: ") for request in requests)
    assert [request.run_key for request in again] == [request.run_key for request in requests]

"""The deployed topology over a tiny sample: PostgreSQL, MLflow, code server, webserver and daemon, asked by GraphQL alone.

The sensors do the work, as they would on a server; the test only switches them on and looks at the databases afterwards.
"""

import json
import os
import shutil
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from geoloc_core.line.artifacts import Target
from geoloc_core.line.project import Project
from geoloc_core.line.staleness import make_plan
from geoloc_dagster.stack.postgres import find_binaries
from geoloc_dagster.stack.topology import Stack

psycopg2 = pytest.importorskip("psycopg2", reason="the extra `stack` is not installed; `make setup` brings it")
if find_binaries() is None:
    pytest.skip("PostgreSQL is not installed; `apt-get install postgresql` brings it", allow_module_level=True)

# Two cores that others work on as well. Alone it takes four to five minutes: every target is a run with processes of its own.
PATIENCE_S = 900
START = """mutation ($selector: SensorSelector!) { startSensor(sensorSelector: $selector) {
  __typename ... on Sensor { sensorState { status } } ... on PythonError { message } } }"""


@pytest.fixture
def stack(tmp_path: Path, make_project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """The stack over one shard, one benchmark and one experiment: every asset, and as few partitions as there can be."""
    project = make_project(
        tmp_path / "project",
        drawn={"seed": 11, "shards": 1, "photos_per_shard": 60, "benchmarks": {"bench-a": 12}},
        features={"clip": ["tiny-clip"]},
        experiments=["clip.linear.country.thesis"],
    )
    # One process for each run in place of one for each step: nobody waits for twenty imports on two cores.
    monkeypatch.setenv("GEOLOC_EXECUTOR", "in_process")
    monkeypatch.setenv("GEOLOC_TICK_SECONDS", "3")
    monkeypatch.delenv("GEOLOC_POSTGRES_PASSWORD", raising=False)
    # PostgreSQL, which runs as another user where we are root, cannot walk down to pytest's own folder.
    folder = Path(tempfile.mkdtemp(prefix="geoloc-stack-"))
    folder.chmod(0o755)
    try:
        with Stack(project, folder, tell=print) as started:
            sessions = [service.process.pid for service in started.services if service.process]
            yield started
        assert len(sessions) == 5
        assert not any(alive(session) for session in sessions), "a process of the stack outlived it"
    finally:
        shutil.copytree(folder / "logs", tmp_path / "logs")
        shutil.rmtree(folder)


def alive(session: int) -> bool:
    """Whether a process of that session is still there: each service leads one of its own."""
    try:
        os.killpg(session, 0)
    except ProcessLookupError:
        return False
    return True


def switch_on(stack: Stack, sensor: str) -> None:
    selector = {"repositoryName": "__repository__", "repositoryLocationName": "geoloc", "sensorName": sensor}
    told = stack.ask(START, selector=selector)["startSensor"]
    assert told["__typename"] == "Sensor", told
    assert told["sensorState"]["status"] == "RUNNING"


def wait_until_current(project: Project, stack: Stack) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while make_plan(State(project)):
        for service in stack.services:
            service.check()
        assert time.monotonic() < deadline, [str(step) for step in make_plan(State(project)).steps]
        failed = stack.ask("{ runsOrError(filter: {statuses: [FAILURE]}) { ... on Runs { results { runId } } } }")
        assert not failed["runsOrError"]["results"], stack.logs
        time.sleep(2)


@pytest.mark.slow
def test_the_sample_goes_through_the_stack_by_its_sensors(stack: Stack) -> None:
    project = stack.project
    assert len(make_plan(State(project)).steps) >= 4
    for sensor in ("refresh", "champion", "failures"):
        switch_on(stack, sensor)
    wait_until_current(project, stack)

    targets = list(Lineage(project).targets())
    with psycopg2.connect(stack.postgres.address("dagster")) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT asset_key, COALESCE(partition, '') FROM event_logs WHERE dagster_event_type = 'ASSET_MATERIALIZATION'"
        )
        made = {Target(json.loads(key)[-1], partition) for key, partition in cursor.fetchall()}
        cursor.execute("SELECT count(*) FROM runs WHERE status = 'SUCCESS'")
        (succeeded,) = cursor.fetchone() or (0,)
    connection.close()
    assert made == set(targets)
    assert succeeded >= len(targets), "each target is a run of its own"

    with psycopg2.connect(stack.postgres.address("mlflow")) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT value FROM tags WHERE key = 'geoloc.experiment'")
        assert ("clip.linear.country.thesis",) in cursor.fetchall()
        cursor.execute("SELECT name, alias FROM registered_model_aliases")
        # A head of sixty drawn photos may not pass the rule of the champion; then it answers provisionally.
        ((name, alias),) = cursor.fetchall()
        assert name == "geoloc"
        assert alias in {"champion", "provisional"}
    connection.close()
    # Artifacts go through the server, and the UI links to the run's page there.
    assert list((stack.folder / "mlflow").rglob("head.safetensors"))
    assert mlflow_link(stack).startswith(f"{stack.mlflow}/#/experiments/")
    assert urllib.request.urlopen(stack.mlflow, timeout=30).status == 200

    # Secrets stay out of command lines and logs.
    password = stack.postgres.password
    commands = [" ".join(service.command) for service in stack.services]
    assert not any(password in text for text in commands)
    assert not any(password in log.read_text(errors="replace") for log in stack.logs.glob("*.log"))


def mlflow_link(stack: Stack) -> str:
    """What the page of the head shows of its MLflow run."""
    query = """query ($key: AssetKeyInput!) { assetOrError(assetKey: $key) { ... on Asset { assetMaterializations(limit: 1) {
      metadataEntries { label ... on UrlMetadataEntry { url } } } } } }"""
    shown = stack.ask(query, key={"path": ["heads"]})["assetOrError"]["assetMaterializations"][0]["metadataEntries"]
    return next(entry["url"] for entry in shown if entry["label"] == "mlflow_run")

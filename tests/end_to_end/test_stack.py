"""`make stack` over a small project: its sensors do the work; the test switches them on by GraphQL and asks for results."""

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from geoloc_core.errors import InputError
from geoloc_core.line.project import Project
from geoloc_dagster.cli import main
from scripts.stack import check_private, postgres_programs, prepare_postgres
from tests.conftest import copy_of
from tests.dagster.tiny_line import forget, log_of, start
from tests.servers import answers, ask, last_materialization, printed_address, stop, wait_until

psycopg2 = pytest.importorskip("psycopg2", reason="the extra `stack` is not installed; `make setup` installs it")
try:
    postgres_programs()
except InputError as error:
    pytest.skip(str(error), allow_module_level=True)

# Two cores that others use as well; alone it takes about a minute.
PATIENCE_S = 600
HEAD = "clip.linear.country.thesis"
START = """mutation ($selector: SensorSelector!) { startSensor(sensorSelector: $selector) { ... on Sensor {
  sensorState { status } } } }"""
RUNS = "{ runsOrError { ... on Runs { results { runId status assetSelection { path } } } } }"
SERVICES = {"postgres", "mlflow", "code", "webserver", "daemon"}


@dataclass
class Stack:
    """A running stack: honcho's process, its output, and the addresses that it printed."""

    project: Project
    process: subprocess.Popen[bytes]
    log: Path
    ui: str = ""
    mlflow: str = ""


@pytest.fixture
def stack(made_project: Project, tmp_path: Path) -> Iterator[Stack]:
    """The stack over a copy of TINY that has lost a head, its report and the champion: what is left is registered only."""
    project = copy_of(made_project, tmp_path / "copy", "dagster", "mlflow")
    forget(project, lambda target: target.asset == "champion" or str(target.partition) == HEAD)
    log = log_of(project)
    process = start(project, "scripts.stack")
    try:
        stack = Stack(project, process, log)
        wait_until(lambda: printed_address(log, "Dagster UI"), process, log, PATIENCE_S)
        stack.ui = printed_address(log, "Dagster UI")
        stack.mlflow = wait_until(lambda: printed_address(log, "MLflow"), process, log, PATIENCE_S)
        yield stack
    finally:
        if process.poll() is None:
            stop(process)
        data = project.layout.home / "stack" / "postgres"
        if data.is_symlink():
            shutil.rmtree(data.resolve())


def group_of(process_id: int) -> list[int]:
    """The process and all that descend from it."""
    listing = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = [tuple(map(int, line.split())) for line in listing.splitlines()]
    group = [process_id]
    for parent in group:
        group += [child for child, its_parent in parents if its_parent == parent]
    return group


def command_of(process_id: int) -> str:
    file = Path(f"/proc/{process_id}/cmdline")
    return file.read_text(errors="replace") if file.is_file() else ""


def status(address: str, path: str, content: object = None, **headers: str) -> int:
    """The status of an answer; what is sent as JSON is POSTed."""
    body = None if content is None else json.dumps(content).encode()
    named = {name.capitalize(): text for name, text in headers.items()}
    request = urllib.request.Request(f"{address}{path}", body, {"Content-Type": "application/json", **named})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def switch_on(stack: Stack, sensor: str) -> None:
    selector = {"repositoryName": "__repository__", "repositoryLocationName": "geoloc", "sensorName": sensor}
    assert ask(stack.ui, START, selector=selector)["startSensor"]["sensorState"]["status"] == "RUNNING"


def finished_assets(stack: Stack) -> set[str]:
    """The assets whose runs have succeeded; no run may fail."""
    runs = ask(stack.ui, RUNS)["runsOrError"]["results"]
    assert not [run for run in runs if run["status"] == "FAILURE"], stack.log
    return {key["path"][0] for run in runs if run["status"] == "SUCCESS" for key in run["assetSelection"] or ()}


def test_a_planted_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "stack"
    folder.mkdir(mode=0o700)
    check_private(folder, os.geteuid())
    (link := tmp_path / "link").symlink_to(folder)
    for planted, mode, owner in (
        (folder, 0o777, os.geteuid()),
        (folder, 0o750, os.geteuid()),
        (folder, 0o700, os.geteuid() + 1),
        (link, 0o700, os.geteuid()),
    ):
        folder.chmod(mode)
        with pytest.raises(InputError, match=r"alone owns and enters \(mode 0700\)"):
            check_private(planted, owner)

    # A cluster of somebody else's, where ours was before the system emptied its temporary folder: nothing of it runs.
    cluster = tmp_path / "cluster"
    cluster.mkdir(mode=0o755)
    (cluster / "PG_VERSION").write_text("15\n")
    (cluster / "postgresql.conf").write_text(f"archive_command = 'touch {tmp_path}/ran'\n")
    (tmp_path / "place").symlink_to(cluster)
    with pytest.raises(InputError, match=f"{cluster} must be a folder"):
        prepare_postgres(postgres_programs(), tmp_path / "place", "password")
    assert sorted(path.name for path in cluster.iterdir()) == ["PG_VERSION", "postgresql.conf"]


def test_the_stack_does_not_start_in_a_folder_that_others_may_enter(made_project: Project, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "stack").mkdir(parents=True)
    (home / "stack").chmod(0o777)
    variables = {**os.environ, "GEOLOC_PROFILE": str(made_project.profile_path), "GEOLOC_HOME": str(home)}
    done = subprocess.run([sys.executable, "-m", "scripts.stack"], env=variables, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"stack: {home}/stack must be a folder that")
    assert len(done.stderr.splitlines()) == 1
    assert not list((home / "stack").iterdir())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").is_file(), reason="the test looks at processes in /proc")
def test_sensors_of_the_stack_make_what_is_stale(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    for sensor in ("refresh", "champion"):
        switch_on(stack, sensor)
    stale = {"heads", "validation_report", "champion"}
    wait_until(lambda: finished_assets(stack) >= stale, stack.process, stack.log, PATIENCE_S)
    chosen = ["--profile", str(stack.project.profile_path), "--home", str(stack.project.layout.home)]
    assert main(["plan", *chosen, "--json"]) == 0
    assert not any(json.loads(capsys.readouterr().out).values())

    # Links lead to MLflow's server, and artifacts go through it.
    assert last_materialization(stack.ui, "heads", HEAD)["mlflow_run"].startswith(f"{stack.mlflow}/#/experiments/")
    assert answers(stack.mlflow)
    assert list((stack.project.layout.home / "stack" / "mlflow").rglob("head.safetensors"))

    # Both guards: names that are not ours, of which MLflow would by default take the second, and pages of other origins.
    search = {"max_results": 1}
    assert status(stack.mlflow, "/ajax-api/2.0/mlflow/experiments/search", search) == 200
    for host in ("evil.test", "10.evil.test", "127.0.0.1.evil.test:80"):
        assert status(stack.ui, "/server_info", host=host) == 403
        assert status(stack.mlflow, "/ajax-api/2.0/mlflow/experiments/search?max_results=1", host=host) == 403
    create = {"name": "planted"}
    for origin in ("http://evil.test", "null"):
        assert status(stack.ui, "/graphql", {"query": "{ version }"}, origin=origin) == 403
        assert status(stack.mlflow, "/ajax-api/2.0/mlflow/experiments/create", create, origin=origin) == 403
    assert status(stack.mlflow, "/ajax-api/2.0/mlflow/experiments/get-by-name?experiment_name=planted") == 404
    assert status(stack.mlflow, "/ajax-api/2.0/mlflow/experiments/create", create, origin=stack.mlflow) == 200

    variables = dict(
        entry.partition("=")[::2]
        for entry in Path(f"/proc/{stack.process.pid}/environ").read_text().split("\0")
        if entry
    )
    password = variables["DAGSTER_POSTGRES_PASSWORD"]
    rows = {}
    for database, query in {
        "dagster": "SELECT count(*) FROM runs WHERE status = 'SUCCESS'",
        "mlflow": "SELECT alias FROM registered_model_aliases",
    }.items():
        server = {"host": "127.0.0.1", "port": variables["DAGSTER_POSTGRES_PORT"], "user": "geoloc"}
        with (
            psycopg2.connect(**server, password=password, dbname=database) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(query)
            rows[database] = cursor.fetchone()[0]
        connection.close()
        with pytest.raises(psycopg2.OperationalError, match="password"):
            psycopg2.connect(**server, password="geoloc", dbname=database)
    assert rows["dagster"] >= len(stale)
    assert rows["mlflow"] in {"champion", "provisional"}

    processes = group_of(stack.process.pid)
    assert not any(password in command_of(process) for process in processes)
    stop(stack.process)
    output = stack.log.read_text(errors="replace")
    assert password not in output
    assert set(re.findall(r"(\w+)\.1 stopped \(rc=", output)) == SERVICES
    assert not [process for process in processes if command_of(process)], "a process of the stack is still running"
    folder = stack.project.layout.home / "stack"
    assert folder.stat().st_mode & 0o777 == 0o700
    files = [path for top in (folder, (folder / "postgres").resolve()) for path in top.rglob("*") if path.is_file()]
    assert not [path for path in files if password.encode() in path.read_bytes()], "the password is in a file"

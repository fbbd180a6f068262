"""What the stack consists of, in the order in which it starts; it stops in the opposite order."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
import types
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from geoloc_core.errors import InputError
from geoloc_core.line.project import SOURCE_ROOT, Project
from geoloc_dagster.stack.postgres import USER, Postgres, create_databases, make_postgres
from geoloc_dagster.stack.service import HOST, Service, answers, unused_port

SETTINGS = SOURCE_ROOT / "docker"
Tell = Callable[[str], None]


class Stack:
    """All services of one project; a context manager that starts them and stops what it started.

    `folder` holds logs, PostgreSQL's files, MLflow's artifacts and Dagster's logs; starting again goes on from there.
    """

    def __init__(self, project: Project, folder: Path | None = None, tell: Tell = lambda text: None) -> None:
        if not (SETTINGS / "dagster.yaml").is_file():
            raise InputError("the stack needs the source tree: its settings lie in docker/")
        self.project = project
        self.folder = (folder or project.layout.home / "stack").absolute()
        self.logs = self.folder / "logs"
        self.dagster_home = self.folder / "dagster"
        self.services: list[Service] = []
        self._tell = tell
        self.postgres: Postgres
        self.mlflow_port, self.code_port, self.web_port = unused_port(), unused_port(), unused_port()

    @property
    def ui(self) -> str:
        """Address of the Dagster UI."""
        return f"http://{HOST}:{self.web_port}"

    @property
    def mlflow(self) -> str:
        """Address of the MLflow server."""
        return f"http://{HOST}:{self.mlflow_port}"

    def __enter__(self) -> Stack:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> None:
        self.dagster_home.mkdir(parents=True, exist_ok=True)
        for name in ("dagster.yaml", "workspace.yaml"):
            shutil.copyfile(SETTINGS / name, self.dagster_home / name)
        self.postgres = make_postgres(self.folder / "postgres", self.logs)
        self._run(self.postgres.service)
        create_databases(self.postgres)
        for service in (self._mlflow_server(), self._code_server(), self._webserver(), self._daemon()):
            self._run(service)

    def _run(self, service: Service) -> None:
        started = time.monotonic()
        self.services.append(service)
        service.start()
        assert service.process is not None
        self._tell(f"{service.name:12} pid {service.process.pid:>7}  up after {time.monotonic() - started:.1f} s")

    def stop(self) -> None:
        """Stop everything, what was started last first."""
        while self.services:
            service = self.services.pop()
            service.stop()
            self._tell(f"{service.name:12} stopped")

    def environment(self) -> dict[str, str]:
        """What Dagster's processes are told; secrets go this way alone."""
        return {
            **os.environ,
            "DAGSTER_HOME": str(self.dagster_home),
            "DAGSTER_POSTGRES_HOST": HOST,
            "DAGSTER_POSTGRES_PORT": str(self.postgres.port),
            "DAGSTER_POSTGRES_USER": USER,
            "DAGSTER_POSTGRES_PASSWORD": self.postgres.password,
            "DAGSTER_POSTGRES_DB": "dagster",
            "GEOLOC_CODE_HOST": HOST,
            "GEOLOC_CODE_PORT": str(self.code_port),
            "GEOLOC_PROFILE": str(self.project.profile_path),
            "GEOLOC_HOME": str(self.project.layout.home),
            "GEOLOC_MLFLOW_URI": self.mlflow,
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }

    def _service(
        self, name: str, command: list[str], environment: dict[str, str], ready: Callable[[], bool]
    ) -> Service:
        program = str(Path(sys.executable).with_name(command[0]))
        return Service(name, [program, *command[1:]], environment, self.logs / f"{name}.log", ready)

    def _mlflow_server(self) -> Service:
        artifacts = self.folder / "mlflow"
        artifacts.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            "MLFLOW_BACKEND_STORE_URI": self.postgres.address("mlflow", "+psycopg2"),
            # Nobody asks this server to run jobs; its two workers for them would only take memory.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_ARTIFACTS_DESTINATION": artifacts.as_uri(),
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        command = ["mlflow", "server", "--host", HOST, "--port", str(self.mlflow_port), "--workers", "1"]
        return self._service("mlflow", command, environment, lambda: answers(self.mlflow_port, "/health"))

    def _code_server(self) -> Service:
        command = ["dagster", "code-server", "start", "--host", HOST, "--port", str(self.code_port)]
        command += ["--module-name", "geoloc_dagster.definitions", "--location-name", "geoloc"]
        return self._service("code-server", command, self.environment(), lambda: answers(self.code_port))

    def _webserver(self) -> Service:
        command = ["dagster-webserver", "--host", HOST, "--port", str(self.web_port)]
        command += ["--workspace", str(self.dagster_home / "workspace.yaml")]
        return self._service("webserver", command, self.environment(), self._definitions_loaded)

    def _definitions_loaded(self) -> bool:
        if not answers(self.web_port, "/server_info"):
            return False
        found = self.ask("{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }")
        return bool(found["repositoriesOrError"].get("nodes"))

    def _daemon(self) -> Service:
        command = ["dagster-daemon", "run", "--workspace", str(self.dagster_home / "workspace.yaml")]
        return self._service("daemon", command, self.environment(), self._daemons_healthy)

    def _daemons_healthy(self) -> bool:
        query = "{ instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }"
        statuses = self.ask(query)["instance"]["daemonHealth"]["allDaemonStatuses"]
        needed = [status for status in statuses if status["required"]]
        return bool(needed) and all(status["healthy"] for status in needed)

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """Ask the webserver by GraphQL; what it answers under `data`."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.ui}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            told = json.load(answer)
        if told.get("errors"):
            raise InputError(f"the Dagster webserver refused a query: {told['errors'][0]['message']}")
        data: dict[str, Any] = told["data"]
        return data

    def watch(self) -> None:
        """Return when somebody stops us; an error where a service ends by itself."""
        stopped: list[int] = []
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda received, _frame: stopped.append(received))
        while not stopped:
            for service in self.services:
                service.check()
            time.sleep(1.0)


def serve(project: Project) -> int:
    """Run the stack until it is stopped."""
    # A signal while it starts ends what was started, as one later does.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))
    with Stack(project, tell=lambda text: print(text, flush=True)) as stack:
        print(f"Dagster UI  {stack.ui}/assets\nMLflow      {stack.mlflow}\nLogs        {stack.logs}", flush=True)
        print("Ctrl-C stops it; started again it goes on from where it was.", flush=True)
        stack.watch()
    return 0

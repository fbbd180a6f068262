"""The Dagster UI, with this project's history, on 127.0.0.1."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from geoloc_core.errors import InputError
from geoloc_core.line.project import SOURCE_ROOT, Project
from geoloc_dagster.build import synchronise
from geoloc_dagster.refresh import open_instance

HOST = "127.0.0.1"
PORTS_TO_TRY = 50


def free_port(first: int) -> int:
    """The first port from `first` on that nobody listens on."""
    for port in range(first, first + PORTS_TO_TRY):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as candidate:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind((HOST, port))
            except OSError:
                continue
            return port
    raise InputError(f"no port between {first} and {first + PORTS_TO_TRY - 1} is free; name another with --port")


def environment(project: Project) -> dict[str, str]:
    """What Dagster's processes need to work on this project."""
    return {
        **os.environ,
        "DAGSTER_HOME": str(project.layout.dagster_home),
        "GEOLOC_PROFILE": str(project.profile_path),
        "GEOLOC_HOME": str(project.layout.home),
    }


def serve(project: Project, first_port: int) -> int:
    """Run webserver and daemon until they are stopped; their exit status."""
    with open_instance(project.layout) as instance:
        synchronise(instance, project.profile)
    port = free_port(first_port)
    workspace = SOURCE_ROOT / "workspace.yaml"
    command = [str(Path(sys.executable).with_name("dagster")), "dev", "--host", HOST, "--port", str(port)]
    command += (
        ["--workspace", str(workspace)] if workspace.is_file() else ["--module-name", "geoloc_dagster.definitions"]
    )
    print(f"Dagster UI: http://{HOST}:{port}/assets (Ctrl-C stops it)", flush=True)
    # A child of a background job would inherit ignored signals; it is given the default ones, and ours are passed on.
    # It runs in the data folder: beside a second dagster.yaml it would warn about that one.
    folder = project.layout.home
    child = subprocess.Popen(command, env=environment(project), cwd=folder, preexec_fn=_default_signals)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _frame: child.send_signal(received))
    return child.wait()


def _default_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)

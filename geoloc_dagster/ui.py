"""The Dagster UI, with this project's history, on 127.0.0.1 and behind the guard.

`python -m geoloc_dagster.ui` is `dagster dev`, with the same options, and the guarded webserver in place of Dagster's.
"""

import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from geoloc_core.errors import InputError
from geoloc_core.line.project import SOURCE_ROOT, Project
from geoloc_dagster.build import synchronise
from geoloc_dagster.guard import allowed_hosts
from geoloc_dagster.refresh import open_instance

HOST = "127.0.0.1"
PORTS_TO_TRY = 50
# The modules that `dagster dev` starts, and what it starts here.
MODULES = {"dagster_webserver": "geoloc_dagster.guard", "dagster._daemon": "dagster._daemon"}


def serve(project: Project, first_port: int) -> NoReturn:
    """Become `dagster dev`: webserver and daemon, until they are stopped."""
    allowed_hosts()
    with open_instance(project.layout) as instance:
        synchronise(instance, project.profile)
    port = free_port(first_port)
    workspace = SOURCE_ROOT / "workspace.yaml"
    definitions = ["-w", str(workspace)] if workspace.is_file() else ["-m", "geoloc_dagster.definitions"]
    print(f"Dagster UI: http://{HOST}:{port}/assets (Ctrl-C stops it)", flush=True)
    # A shell lets its background jobs ignore Ctrl-C, and an ignored signal stays ignored in a new program.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    # In the source tree Dagster would warn of a second dagster.yaml.
    os.chdir(project.layout.home)
    variables = {
        "DAGSTER_HOME": str(project.layout.dagster_home),
        "GEOLOC_PROFILE": str(project.profile_path),
        "GEOLOC_HOME": str(project.layout.home),
    }
    command = [sys.executable, "-m", "geoloc_dagster.ui", "--host", HOST, "--port", str(port), *definitions]
    os.execve(sys.executable, command, {**os.environ, **variables})


def free_port(first: int) -> int:
    """The first port from `first` on that nobody listens on."""
    for port in range(first, first + PORTS_TO_TRY):
        try:
            # Sets SO_REUSEADDR: a port that a server has just left is free.
            socket.create_server((HOST, port)).close()
        except OSError:
            continue
        return port
    raise InputError(f"no port between {first} and {first + PORTS_TO_TRY - 1} is free; choose another one with --port")


def main() -> None:
    """`dagster dev`, guarded."""
    from dagster._cli import dev

    start = dev.open_ipc_subprocess

    def start_ours(parts: Sequence[str], **options: Any) -> Any:
        python, option, module, *arguments = parts
        # What we do not know is not started, rather than started without the guard.
        return start([python, option, MODULES[module], *arguments], **options)

    dev.open_ipc_subprocess = start_ours
    dev.dev_command()


if __name__ == "__main__":
    main()

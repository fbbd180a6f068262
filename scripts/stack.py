"""`make stack`: the deployed topology as processes on loopback, of the project that GEOLOC_PROFILE and GEOLOC_HOME name.

Prepares folders, free ports and a PostgreSQL cluster for `docker/Procfile`, which honcho runs; it stops all processes on Ctrl-C
or when one of them ends by itself.
"""

import contextlib
import os
import pwd
import secrets
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from geoloc_core.errors import GeolocError, InputError
from geoloc_core.line.project import SOURCE_ROOT, Project, open_project
from geoloc_dagster.guard import allowed_hosts

HOST = "127.0.0.1"
USER = "geoloc"


def serve(project: Project) -> NoReturn:
    """Prepare the stack and become honcho, which runs it until it is stopped."""
    settings, honcho = SOURCE_ROOT / "docker", Path(sys.executable).with_name("honcho")
    if not (honcho.is_file() and (settings / "Procfile").is_file()):
        raise InputError("the stack needs the source tree and the packages of the extra `stack`; use `make stack`")
    allowed_hosts()
    folder = project.layout.home / "stack"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_private(folder, os.geteuid())
    (folder / "dagster").mkdir(exist_ok=True)
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copyfile(settings / name, folder / "dagster" / name)
    variables = environment(project, folder)
    print(f"Dagster UI  http://{HOST}:{variables['DAGSTER_PORT']}/assets")
    print(f"MLflow      {variables['GEOLOC_MLFLOW_URI']}\nCtrl-C stops everything; nothing is lost.", flush=True)
    os.chdir(folder)
    command = [str(honcho), "--env", os.devnull, "--procfile", str(settings / "Procfile"), "start"]
    os.execve(honcho, command, {**os.environ, **variables})


def check_private(folder: Path, owner: int) -> None:
    """Refuse a folder that another user of the machine could have made, or may enter: a cluster that lies ready there gives
    whoever made it our connections, and its superuser runs programs.
    """
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or stat.S_IMODE(found.st_mode) & 0o077:
        raise InputError(
            f"{folder} must be a folder that the user {owner} alone owns and enters (mode 0700); look who made it, then remove "
            "it to begin anew, or correct owner and mode"
        )


def environment(project: Project, folder: Path) -> dict[str, str]:
    """The variables of `docker/Procfile` and of its processes; secrets are passed on in no other way."""
    postgres_port, mlflow_port, code_port, web_port = free_ports(4)
    password = secrets.token_urlsafe(24)  # new at each start and stored nowhere
    data, user_switch = prepare_postgres(programs := postgres_programs(), folder / "postgres", password)
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), str(programs), os.environ.get("PATH", os.defpath)]),
        "PGDATA": str(data),
        "POSTGRES_USER_SWITCH": " ".join(user_switch),
        "DAGSTER_HOME": str(folder / "dagster"),
        "DAGSTER_PORT": web_port,
        **dict.fromkeys(("DAGSTER_POSTGRES_HOST", "GEOLOC_CODE_HOST"), HOST),
        "DAGSTER_POSTGRES_PORT": postgres_port,
        "DAGSTER_POSTGRES_USER": USER,
        "DAGSTER_POSTGRES_PASSWORD": password,
        "DAGSTER_POSTGRES_DB": "dagster",
        "GEOLOC_CODE_PORT": code_port,
        "GEOLOC_PROFILE": str(project.profile_path),
        "GEOLOC_HOME": str(project.layout.home),
        "GEOLOC_MLFLOW_URI": f"http://{HOST}:{mlflow_port}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def free_ports(count: int) -> list[str]:
    """Different ports that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [str(probe.getsockname()[1]) for probe in probes]


def postgres_programs() -> Path:
    """The folder of `initdb` and `postgres`, which Debian keeps off the PATH."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[4]))
    program = debian[-1] if debian else shutil.which("initdb")
    if program is None:
        raise InputError("PostgreSQL is not installed; install it, for example with `apt-get install postgresql`")
    return Path(program).resolve().parent


def prepare_postgres(programs: Path, place: Path, password: str) -> tuple[Path, list[str]]:
    """The folder of a cluster with our databases and this password, and the prefix of commands that may run it.

    PostgreSQL refuses to run as root; root runs it as `postgres` or `nobody`. They cannot enter our private folder, so
    the cluster gets one of its own in /var/lib, where only root makes folders, and `place` is a link to it.
    """
    prefix: list[str] = []
    owner = os.geteuid()
    if os.geteuid() == 0:
        users = {entry.pw_name: entry for entry in pwd.getpwall()}
        user = users.get("postgres") or users["nobody"]
        prefix = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        owner = user.pw_uid
        if not place.is_dir():
            place.unlink(missing_ok=True)
            place.symlink_to(tempfile.mkdtemp(prefix="geoloc-postgres-", dir="/var/lib"))
            os.chown(place, user.pw_uid, user.pw_gid)
    place.mkdir(mode=0o700, exist_ok=True)
    data = place.resolve()
    check_private(data, owner)

    def run(program: str, *arguments: str, statements: str = "") -> None:
        command, variables = [*prefix, str(programs / program), *arguments], {**os.environ, "PGDATA": str(data)}
        done = subprocess.run(command, env=variables, input=statements, capture_output=True, text=True, cwd="/")
        if done.returncode:
            raise InputError(f"PostgreSQL cannot start in {data} (is a stack running?): {done.stderr.strip()[-300:]}")

    if not (data / "PG_VERSION").is_file():
        run("initdb", "-U", USER, "-E", "UTF8", "--locale=C", "--auth-local=reject", "--auth-host=scram-sha-256")
    # One statement a line; the password is in no argument and in no file. A database that exists stops nothing.
    statements = f"ALTER ROLE {USER} PASSWORD '{password}'\nCREATE DATABASE dagster\nCREATE DATABASE mlflow\n"
    run("postgres", "--single", "postgres", statements=statements)
    return data, prefix


if __name__ == "__main__":
    try:
        serve(open_project())
    except GeolocError as error:
        print(f"stack: {error}", file=sys.stderr)
        sys.exit(2)

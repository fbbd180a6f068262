"""A PostgreSQL server of the project's own: its files below the data folder, its door on loopback, its password generated.

PostgreSQL refuses to run as root; started by root it runs as the system's user `postgres`, or `nobody`.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from geoloc_core.errors import InputError
from geoloc_core.storage import value_sha256
from geoloc_dagster.stack.service import HOST, Service, StackError, unused_port

USER = "geoloc"
DATABASES = ("dagster", "mlflow")
PASSWORD_VARIABLE = "GEOLOC_POSTGRES_PASSWORD"


@dataclass(frozen=True)
class Postgres:
    """Where the server is and how one signs in."""

    port: int
    password: str
    service: Service

    def address(self, database: str, driver: str = "") -> str:
        """The database as a URI, password included: for environments of processes, never for a command line.

        `driver` is `+psycopg2` for SQLAlchemy, which takes another one where nothing is said.
        """
        return f"postgresql{driver}://{USER}:{quote(self.password, safe='')}@{HOST}:{self.port}/{database}"


def find_binaries() -> Path | None:
    """The folder of `initdb` and `postgres`: Debian keeps them off the PATH. None where PostgreSQL is not installed."""
    installed = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"),
        key=lambda path: [int(part) for part in path.parts[4].split(".") if part.isdigit()],
    )
    found = str(installed[-1]) if installed else shutil.which("initdb")
    return Path(found).resolve().parent if found else None


def make_postgres(folder: Path, logs: Path) -> Postgres:
    """A server whose files lie in `folder` (made on the first call), not started yet."""
    binaries = find_binaries()
    if binaries is None:
        raise InputError("PostgreSQL is not installed; `apt-get install postgresql` (or your system's) brings it")
    as_user = _other_user() if os.geteuid() == 0 else None
    folder = _reachable(folder) if as_user else folder
    password = _password(folder.parent / f"{folder.name}.password")
    data = folder / "data"
    prefix = ["setpriv", f"--reuid={as_user.pw_uid}", f"--regid={as_user.pw_gid}", "--clear-groups"] if as_user else []
    if not (data / "PG_VERSION").is_file():
        _initialise(binaries, folder, data, password, prefix, as_user)
    # Where an earlier server was killed, its lock file names a pid that PostgreSQL itself looks at.
    port = unused_port()
    settings = {"listen_addresses": HOST, "port": port, "unix_socket_directories": "", "fsync": "on"}
    command = [*prefix, str(binaries / "postgres"), "-D", str(data)]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    log = logs / "postgres.log"
    # SIGINT is PostgreSQL's fast shutdown: open transactions are rolled back, nothing is lost.
    service = Service("postgres", command, dict(os.environ), log, lambda: _accepts(port, password), signal.SIGINT)
    return Postgres(port, password, service)


def create_databases(postgres: Postgres) -> None:
    """The databases of Dagster and MLflow, where they are not there yet."""
    import psycopg2

    connection = psycopg2.connect(postgres.address("postgres"))
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT datname FROM pg_database")
            present = {name for (name,) in cursor.fetchall()}
            for name in DATABASES:
                if name not in present:
                    cursor.execute(f'CREATE DATABASE "{name}"')
    finally:
        connection.close()


def _initialise(
    binaries: Path, folder: Path, data: Path, password: str, prefix: list[str], as_user: pwd.struct_passwd | None
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=folder, prefix="password-") as file:
        file.write(password)
        file.flush()
        if as_user:
            os.chown(folder, as_user.pw_uid, as_user.pw_gid)
            os.chown(file.name, as_user.pw_uid, as_user.pw_gid)
        command = [*prefix, str(binaries / "initdb"), "-D", str(data), "-U", USER, "--auth=scram-sha-256"]
        command += [f"--pwfile={file.name}", "--encoding=UTF8", "--locale=C"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise StackError(f"initdb failed: {' '.join((done.stderr or done.stdout).split())[-600:]}")


def _accepts(port: int, password: str) -> bool:
    import psycopg2

    try:
        psycopg2.connect(
            host=HOST, port=port, user=USER, password=password, dbname="postgres", connect_timeout=3
        ).close()
    except psycopg2.OperationalError:
        return False
    return True


def _password(file: Path) -> str:
    """The environment's, or one that is generated once and kept beside the data for its owner's eyes only."""
    given = os.environ.get(PASSWORD_VARIABLE)
    if given:
        return given
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as opened:
            opened.write(secrets.token_urlsafe(24))
    return file.read_text().strip()


def _other_user() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise InputError("PostgreSQL does not run as root and there is no user `postgres`; start the stack as another user")


def _reachable(folder: Path) -> Path:
    """The folder, or one in the system's temporary folder where another user may not walk down to it."""
    if all(parent.stat().st_mode & 0o001 for parent in folder.absolute().parents if parent.is_dir()):
        return folder
    return Path(tempfile.gettempdir()) / f"geoloc-postgres-{value_sha256([str(folder.absolute())])[:12]}"

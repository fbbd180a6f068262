"""How bytes reach the disk: atomically, so that a reader never sees half a file, under names that stay in their folder.

Bytes go to a temporary name in the same folder and are renamed into place.
"""

import contextlib
import errno
import functools
import hashlib
import json
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, TypeVar

from filelock import FileLock
from pydantic import AfterValidator, WithJsonSchema

from geoloc_core.errors import DiskFullError, GeolocError, InputError, StaleArtifactError

T = TypeVar("T")
TEMPORARY_PREFIX = ".geoloc-part-"
# A temporary file of another machine's process is a leftover when nobody wrote to it for this long.
ABANDONED_AFTER_S = 86_400.0
# No room, over the quota, or beyond the largest file that is allowed here.
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_OURS = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP,
}  # fmt: skip
_NOT_OURS_WORDS = ("readonly database", "unable to open database file")
_LEAST_ROOM_BYTES = 256 * 1024
# The same in the words of libraries that give no number: Arrow, DuckDB, SQLite.
_NO_ROOM_WORDS = ("No space left on device", "Disk quota exceeded", "File too large", "disk is full")


_FILE_NAME = r"[A-Za-z0-9][A-Za-z0-9_+@.-]{0,127}"


def file_name(value: str) -> str:
    """A name from outside that becomes part of a path: one plain component, which cannot leave its folder; else ValueError."""
    if not re.fullmatch(_FILE_NAME, value):
        allowed = "letters, digits, '_', '+', '@', '.' and '-', first a letter or a digit, and 128 characters at most"
        raise ValueError(f"{value[:60]!r} cannot be the name of a file; it may have {allowed}")
    return value


FileName = Annotated[str, AfterValidator(file_name), WithJsonSchema({"type": "string", "pattern": f"^{_FILE_NAME}$"})]
"""The type of every name in a profile or a packed model that becomes a path."""


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file that takes the place of `path` when the block ends well, and leaves no trace when it does not."""
    with replacing_path(path) as temporary, temporary.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def replacing_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path that is renamed to `path` when the block ends well; for libraries that want a path.

    Raises DiskFullError where there is no room for it.
    """
    target = Path(path)
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=_own_prefix(), suffix=target.suffix, dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        # mkstemp makes files private; what we publish has the permissions any new file would have.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(target)
    except OSError as error:
        if no_room(error):
            raise disk_full(target.parent) from error
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary folder that takes the place of `path` when the block ends well, and leaves no trace otherwise."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(target.parent) as part:
        part.chmod(0o755)
        yield part
        if not target.exists():
            part.replace(target)
            return
        with temporary_folder(target.parent) as old:
            target.replace(old)
            part.replace(target)


@contextlib.contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """A folder below `parent` that is gone when the block ends."""
    part = Path(tempfile.mkdtemp(prefix=_own_prefix(), dir=parent))
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _own_prefix() -> str:
    """A temporary name says which process writes: a leftover of a killed one differs from work in progress."""
    return f"{TEMPORARY_PREFIX}{_machine()}-{os.getpid()}-"


def _machine() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def remove_leftover(path: Path) -> bool:
    """Remove a temporary file or folder that has no living writer; whether it is gone."""
    machine, _, rest = path.name.removeprefix(TEMPORARY_PREFIX).partition("-")
    process = rest.partition("-")[0]
    try:
        if machine == _machine() and process.isdigit():
            os.kill(int(process), 0)  # ProcessLookupError where nobody writes any more
            return False
        # No name of ours, or that of another machine (a container, a worker) with the same disk.
        if process.isdigit() and time.time() - path.stat().st_mtime <= ABANDONED_AFTER_S:
            return False
    except ProcessLookupError:
        pass
    except OSError:
        return False
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
    return not path.exists()


def no_room(error: BaseException | str) -> bool:
    """Whether an error, what caused it, or what it says, means that there is no room on the disk."""
    if isinstance(error, str):
        return any(words in error for words in _NO_ROOM_WORDS)
    if isinstance(error, DiskFullError) or getattr(error, "errno", None) in _NO_ROOM or no_room(str(error)):
        return True
    cause = error.__cause__ or error.__context__
    return cause is not None and no_room(cause)


@contextlib.contextmanager
def room(folder: str | os.PathLike[str]) -> Iterator[None]:
    """A full disk, or a folder that may not be written to, is one sentence, whoever met it first: we, Dagster, or MLflow.

    SQLite calls it an I/O error, so that any failure on a disk with next to nothing left is reported as that.
    """
    try:
        yield
    except GeolocError:
        raise
    except Exception as error:
        if no_room(error) or nearly_full(folder):
            raise disk_full(folder) from error
        if why := _refused(error, Path(folder)):
            raise InputError(f"{why}; give a data folder that is yours with --home") from error
        raise


def _refused(error: Exception, folder: Path) -> str:
    """What may not be written in or above a folder, by an error of the system or a database; an empty text for others."""
    if isinstance(error, OSError) and error.filename and error.errno in _NOT_OURS:
        where = Path(os.fsdecode(error.filename))
        if where.is_relative_to(folder) or folder.is_relative_to(where):
            return f"{where} cannot be used ({error.strerror})"
    said = str(getattr(error, "orig", error))  # SQLAlchemy keeps what SQLite said
    return f"{folder} cannot be written to ({said})" if any(words in said for words in _NOT_OURS_WORDS) else ""


def nearly_full(folder: str | os.PathLike[str]) -> bool:
    """Whether there is not even room for a few records below `folder`."""
    with contextlib.suppress(OSError):
        return shutil.disk_usage(folder).free < _LEAST_ROOM_BYTES
    return False


def disk_full(folder: str | os.PathLike[str]) -> DiskFullError:
    """The error that names a folder without room, with what is left of it."""
    left = ""
    with contextlib.suppress(OSError):
        left = f" ({shutil.disk_usage(folder).free / 2**20:,.0f} MiB are free)"
    mend = "make room, then `geoloc refresh` goes on from there"
    return DiskFullError(f"there is no room to write below {os.fspath(folder)}{left}; {mend}")


@contextlib.contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """The block runs while no other process holds `lock`; the system releases it when a process dies."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        yield


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write `content` to `path` atomically."""
    with replacing(path) as file:
        file.write(content)


def write_text(path: str | os.PathLike[str], content: str) -> None:
    """Write `content` to `path` atomically, as UTF-8."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` to `path` atomically, as indented JSON with sorted keys, so that equal values are equal bytes."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """The JSON value kept at `path`."""
    return json.loads(Path(path).read_bytes())


def read_bounded(path: str | os.PathLike[str], most_bytes: int) -> bytes:
    """The bytes of a regular file; a ValueError where it is larger than it can rightly be, or no file."""
    file = Path(path)
    if file.exists() and not file.is_file():
        raise ValueError("it is not a file")
    with file.open("rb") as opened:
        content = opened.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"it is larger than {most_bytes:,} bytes")
    return content


def read_checked(path: str | os.PathLike[str], kind: type[T], most_bytes: int = 2**26) -> T:
    """The JSON value kept at `path` as a `kind` of pydantic's; a ValueError says in one line what does not fit."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_json(read_bounded(path, most_bytes))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{place}: {first['msg']}" if place else first["msg"]) from error


def unreadable(path: str | os.PathLike[str], error: Exception) -> StaleArtifactError:
    """The error of an artifact that is missing or damaged, with what the reading library said of it."""
    said = " ".join(str(error).split())[:200]
    return StaleArtifactError(f"{os.fspath(path)} cannot be read ({said}); `geoloc refresh --verify` makes it anew")


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Hex SHA-256 of a local file's bytes, read in blocks."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size_and_time(path: Path) -> tuple[int, int]:
    """Bytes of a file, and when it was last changed, in nanoseconds."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def remembered_sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes, read only once while its size and its time of change stay the same."""
    return _file_sha256(path, *size_and_time(path))


@functools.lru_cache(maxsize=8192)
def _file_sha256(path: Path, size: int, modified_ns: int) -> str:
    return file_sha256(path)


def value_sha256(value: Mapping[str, Any] | list[Any] | str) -> str:
    """Hex SHA-256 of a JSON-able value; the order of keys does not matter."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def fingerprint(spec: Any, *, code_version: int = 1, without: tuple[str, ...] = ()) -> str:
    """Hex SHA-256 of the fields of a dataclass or pydantic model that differ from their defaults, at every depth.

    A new field with a default leaves the fingerprint of every existing specification as it is. So where a default or the
    meaning of a field changes, `code_version` must be raised. Fields named in `without` are left out at every depth.
    """
    return value_sha256({"code_version": code_version, "fields": changed_fields(spec, without)})


def changed_fields(value: Any, without: tuple[str, ...] = ()) -> Any:
    """`value` as JSON-able values; of each dataclass and pydantic model only the fields that differ from their defaults."""
    if isinstance(value, Mapping):
        return {str(key): changed_fields(item, without) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [changed_fields(item, without) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, type) or not (is_dataclass(value) or hasattr(type(value), "model_fields")):
        return value
    changed = {}
    for name, defaults in _field_defaults(value).items():
        current = changed_fields(getattr(value, name), without)
        if name not in without and current not in [changed_fields(default, without) for default in defaults]:
            changed[name] = current
    return changed


def _field_defaults(spec: Any) -> dict[str, list[Any]]:
    """Each field of a dataclass or pydantic model with its default in a list, which is empty where it has none."""
    if is_dataclass(spec):
        made = {f.name: f.default if f.default_factory is MISSING else f.default_factory() for f in fields(spec)}
        return {name: [] if default is MISSING else [default] for name, default in made.items()}
    return {
        name: [] if field.is_required() else [field.get_default(call_default_factory=True, validated_data={})]
        for name, field in type(spec).model_fields.items()
    }


def share_file(source: Path, target: Path) -> None:
    """The bytes of `source` under a second name, atomically: a hard link where the disk allows it, else a copy.

    Files of ours are replaced and never written in place, so what one name holds does not change with the other.
    """
    with replacing_path(target) as temporary:
        try:
            temporary.unlink()
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)

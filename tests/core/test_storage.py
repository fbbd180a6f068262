"""Bytes reach the disk whole or not at all."""

import errno
import hashlib
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from geoloc_core import storage


class PowerCut(Exception):
    """In the middle of a write."""


def test_a_file_is_replaced_whole_and_a_failed_write_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file.bin"
    storage.write_bytes(target, b"old")
    with suppress(PowerCut), storage.replacing(target) as file:
        file.write(b"half")
        raise PowerCut
    assert target.read_bytes() == b"old"
    assert [path.name for path in target.parent.iterdir()] == ["file.bin"]


def test_a_replaced_file_is_readable_by_others(tmp_path: Path) -> None:
    storage.write_text(tmp_path / "a.txt", "x")
    assert (tmp_path / "a.txt").stat().st_mode & 0o444 == 0o444


def test_equal_values_are_equal_bytes_and_hashes(tmp_path: Path) -> None:
    storage.write_json(tmp_path / "a.json", {"b": 1, "a": [1.5, "é"]})
    storage.write_json(tmp_path / "b.json", {"a": [1.5, "é"], "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert storage.read_json(tmp_path / "a.json") == {"a": [1.5, "é"], "b": 1}
    assert storage.value_sha256({"b": 1, "a": 2}) == hashlib.sha256(b'{"a":2,"b":1}').hexdigest()
    assert storage.file_sha256(tmp_path / "a.json") == hashlib.sha256((tmp_path / "a.json").read_bytes()).hexdigest()


def test_a_value_that_json_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        storage.value_sha256({"a": float("nan")})


def test_a_leftover_goes_and_what_is_being_written_stays(tmp_path: Path) -> None:
    leftover = tmp_path / f"{storage.TEMPORARY_PREFIX}old.parquet"
    leftover.write_bytes(b"half")
    dead = tmp_path / f"{storage.TEMPORARY_PREFIX}folder"
    (dead / "deep").mkdir(parents=True)
    (dead / "deep" / "x").write_bytes(b"half")
    other = tmp_path / f"{storage.TEMPORARY_PREFIX}0badcafe-1-x"
    other.write_bytes(b"half")
    with storage.replacing_path(tmp_path / "now.bin") as file, storage.temporary_folder(tmp_path) as folder:
        file.write_bytes(b"whole")
        assert not storage.remove_leftover(file)
        assert not storage.remove_leftover(folder)
        assert storage.remove_leftover(leftover)
        assert storage.remove_leftover(dead)
        assert not storage.remove_leftover(other)
        os.utime(other, (0, 0))
        assert storage.remove_leftover(other)
    assert [path.name for path in tmp_path.iterdir()] == ["now.bin"]
    assert (tmp_path / "now.bin").read_bytes() == b"whole"


def test_a_leftover_of_a_killed_process_goes(tmp_path: Path) -> None:
    target = str(tmp_path / "a.bin")
    code = f"import os\nfrom geoloc_core import storage\nwith storage.replacing_path({target!r}): os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    (leftover,) = tmp_path.iterdir()
    assert storage.remove_leftover(leftover)


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "made"
    with storage.replacing_folder(target) as part:
        (part / "a").write_text("first")
    with suppress(PowerCut), storage.replacing_folder(target) as part:
        (part / "a").write_text("second")
        raise PowerCut
    assert (target / "a").read_text() == "first"
    with storage.replacing_folder(target) as part:
        (part / "b").write_text("third")
    assert [path.name for path in target.iterdir()] == ["b"]
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "no"), OSError(errno.EFBIG, "no"), RuntimeError("IO Error: ... No space left on device")],
)
def test_a_full_disk_is_known_by_number_or_by_word(error: Exception, tmp_path: Path) -> None:
    wrapped = RuntimeError("something else")
    wrapped.__cause__ = error
    assert storage.no_room(error)
    assert storage.no_room(wrapped)
    assert not storage.no_room(PermissionError(errno.EACCES, "no"))
    assert str(tmp_path) in str(storage.disk_full(tmp_path))


def test_a_write_without_room_names_the_folder_and_leaves_the_old_file(tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk: the system refuses to write on."""
    code = f"""
import resource
from geoloc_core import storage
from geoloc_core.errors import DiskFullError
storage.write_bytes({str(tmp_path / "a.bin")!r}, b"old")
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    storage.write_bytes({str(tmp_path / "a.bin")!r}, bytes(20_000))
except DiskFullError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"no room to write below {tmp_path}" in done.stdout
    assert "then `geoloc refresh` goes on from there" in done.stdout
    assert (tmp_path / "a.bin").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]

"""A disk without room: a clear failure, and recovery once there is room. The disk is a small tmpfs."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from geoloc_core.line.project import Project
from geoloc_core.line.receipts import all_receipts
from geoloc_core.storage import TEMPORARY_PREFIX
from tests.conftest import copy_of
from tests.dagster.tiny_line import environment


@pytest.fixture
def small_disk(made_project: Project, tmp_path: Path) -> Iterator[Project]:
    """The refreshed TINY on a disk of its own that has a few MiB to spare."""
    place = tmp_path / "disk"
    place.mkdir()
    size = sum(path.stat().st_blocks * 512 for path in made_project.layout.home.parent.rglob("*")) + 24 * 2**20
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield copy_of(made_project, place / "copy")
    finally:
        subprocess.run(["umount", str(place)], check=True)


def fill(file: Path, spare: int) -> None:
    """Let a file take all room but `spare` bytes."""
    try:
        with file.open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(64 * 1024))
    except OSError:
        os.truncate(file, max(0, file.stat().st_size - spare))


def geoloc(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "geoloc_dagster.cli", *arguments]
    return subprocess.run(command, env=environment(project, "in_process"), capture_output=True, text=True)


def test_a_full_disk_is_named_and_when_there_is_room_the_refresh_goes_on(small_disk: Project) -> None:
    """Without any room Dagster's own records fail; with 2 MiB an artifact does not fit."""
    home = small_disk.layout.home
    before = {receipt.target: receipt.data_version for receipt in all_receipts(small_disk.layout)}
    for asset in ("deliveries", "embeddings", "class_distribution"):
        shutil.rmtree(home / "receipts" / asset, ignore_errors=True)
    shutil.rmtree(home / "embeddings")
    filler = home.parent / "filler"
    for spare in (0, 2 * 2**20):
        fill(filler, spare)
        failed = geoloc(small_disk, "refresh")
        assert failed.returncode == 2, failed.stderr
        assert "Traceback" not in failed.stderr
        (sentence,) = [line for line in failed.stderr.splitlines() if line.startswith("geoloc: ")]
        assert f"no room to write below {home}" in sentence
        assert sentence.endswith("make room, then `geoloc refresh` goes on from there")
        filler.unlink()

    done = geoloc(small_disk, "refresh")
    assert done.returncode == 0, done.stderr
    assert {receipt.target: receipt.data_version for receipt in all_receipts(small_disk.layout)} == before
    assert not list(home.rglob(f"{TEMPORARY_PREFIX}*"))
    assert geoloc(small_disk, "plan", "--verify").stdout == "Nothing is stale.\n"

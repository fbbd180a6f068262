"""Fixtures of all tests. The refreshed TINY is made once per session, also where pytest-xdist has many workers."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from filelock import FileLock

from geoloc_core.line.project import Project, open_project
from geoloc_dagster.cli import main
from tests.dagster.tiny_line import new_project

PROJECT_ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = Path(os.environ.get("GEOLOC_SHARED_DATA", PROJECT_ROOT.parent / "shared" / "data"))
# Which photos the sample takes is decided here and not by the network: tests ask nobody.
if (SHARED_DATA / "photos" / "commons" / "labels.csv").is_file():
    os.environ.setdefault("GEOLOC_SAMPLE_PHOTOS", str(SHARED_DATA / "photos" / "commons"))
if "GEOLOC_SAMPLE_PHOTOS" not in os.environ:
    os.environ.setdefault("GEOLOC_SAMPLE", "drawn")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the project; tests that want it skip where it is not."""
    if not (SHARED_DATA / "SOURCES.md").is_file():
        pytest.skip("the real data of ../shared/data is not here")
    return SHARED_DATA


ProjectMaker = Callable[..., Project]


@pytest.fixture(scope="session")
def make_project() -> ProjectMaker:
    """A function that writes a profile (TINY with changes) into a folder and opens the project there."""
    return new_project


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance of its own, on disk like a real one."""
    folder = tmp_path / "dagster"
    folder.mkdir()
    with dg.instance_for_test(temp_dir=str(folder)) as made:
        yield made


@pytest.fixture(scope="session")
def made_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """TINY, refreshed once for all tests that only look at it; a test that changes it takes a copy."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder = base / "made"
    with FileLock(base / "made.lock"):
        if not (folder / "current").is_file():
            project = new_project(folder)
            status = main(["refresh", "--profile", str(project.profile_path), "--home", str(project.layout.home)])
            assert status == 0, "the refresh of TINY failed"
            (folder / "current").touch()
    return open_project(str(folder / "tiny.yaml"), folder / "home")


def copy_of(project: Project, folder: Path, *without: str) -> Project:
    """The project in a folder of its own, with its history, without pages, logs and what has one of these names."""
    left_out = shutil.ignore_patterns("data_docs", "compute_logs", *without)
    shutil.copytree(project.layout.home.parent, folder, ignore=left_out)
    return open_project(str(folder / project.profile_path.name), folder / "home")

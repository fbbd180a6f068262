"""What every test may ask for."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from geoloc_core.line.project import Project
from geoloc_dagster.refresh import open_instance
from tests.dagster.tiny_line import new_project

PROJECT_ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the project; tests that want it skip where it is not."""
    folder = Path(os.environ.get("GEOLOC_SHARED_DATA", PROJECT_ROOT.parent / "shared" / "data"))
    if not (folder / "SOURCES.md").is_file():
        pytest.skip("the real data of ../shared/data is not here")
    return folder


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
def made_project(tmp_path_factory: pytest.TempPathFactory, make_project: ProjectMaker) -> Project:
    """TINY, refreshed once for all tests that only look at it; they must not change it."""
    from geoloc_dagster.definitions import defs
    from geoloc_dagster.refresh import refresh

    project = make_project(tmp_path_factory.mktemp("made"))
    with open_instance(project.layout) as opened:
        outcome = refresh(project, opened, defs)
    assert outcome.well, outcome.failed
    return project

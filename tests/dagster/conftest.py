"""A refreshed TINY of one's own, and the tools to change it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml

from geoloc_core.line.project import Project, open_project
from geoloc_dagster.refresh import open_instance
from tests.conftest import copy_of

Edit = Callable[..., Project]


@pytest.fixture
def copy(made_project: Project, tmp_path: Path) -> Project:
    """The refreshed TINY in a folder of its own, history included."""
    return copy_of(made_project, tmp_path / "copy")


@pytest.fixture
def own_instance(copy: Project) -> Iterator[dg.DagsterInstance]:
    """The instance of that copy."""
    with open_instance(copy.layout) as opened:
        yield opened


@pytest.fixture
def edit() -> Edit:
    """A function that gives the same project after somebody edited its profile."""
    edits = iter(range(1000))

    def edited(project: Project, **changes: object) -> Project:
        values = yaml.safe_load(project.profile_path.read_text())
        # A new name, as the loader remembers a file by its time of change, which may be too coarse for a test.
        path = project.profile_path.with_name(f"edited{next(edits)}.yaml")
        path.write_text(yaml.safe_dump({**values, **changes}))
        return open_project(str(path), project.layout.home)

    return edited

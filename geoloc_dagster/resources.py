"""What assets, checks and sensors work with: the project."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from geoloc_core.errors import InputError
from geoloc_core.line.project import Project, find_profile, open_project


class ProjectResource(dg.ConfigurableResource):
    """The profile and the data folder. Empty values are taken from GEOLOC_PROFILE and GEOLOC_HOME, then the defaults.

    Where the environment names a project, run config cannot choose another: whoever reaches the UI writes run config, and
    a profile and a data folder are paths that runs read, write and remove.
    """

    profile: str = ""
    home: str = ""

    def open(self) -> Project:
        """The project of this run."""
        if not (os.environ.get("GEOLOC_PROFILE") or os.environ.get("GEOLOC_HOME")):
            return open_project(self.profile or None, self.home or None)
        project = open_project()
        asked = {
            "profile": (self.profile and find_profile(self.profile).resolve(), project.profile_path),
            "home": (self.home and Path(self.home).resolve(), project.home),
        }
        for name, (chosen, configured) in asked.items():
            if chosen and chosen != configured:
                raise InputError(
                    f"the run's configuration names the {name} {chosen}, but this deployment works on {configured}; "
                    f"leave `{name}` out of the configuration, or start another deployment for it"
                )
        return project


@contextmanager
def configured(project: Project) -> Iterator[None]:
    """Within the block the environment names this project, as it does for the processes of a deployment."""
    chosen = {"GEOLOC_PROFILE": str(project.profile_path), "GEOLOC_HOME": str(project.home)}
    before = {name: os.environ[name] for name in chosen if name in os.environ}
    os.environ.update(chosen)
    try:
        yield
    finally:
        for name in chosen:
            del os.environ[name]
        os.environ.update(before)

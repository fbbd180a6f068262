"""What assets, checks and sensors work with: the project."""

import dagster as dg

from geoloc_core.line.project import Project, open_project


class ProjectResource(dg.ConfigurableResource):
    """The profile and the data folder. Empty values are taken from GEOLOC_PROFILE and GEOLOC_HOME, then the defaults."""

    profile: str = ""
    home: str = ""

    def open(self) -> Project:
        """The project of this run."""
        return open_project(self.profile or None, self.home or None)

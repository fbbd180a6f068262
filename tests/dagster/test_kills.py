"""A few of the kill experiment's kills, or as many as GEOLOC_KILLS says; docs/reliability.md has the whole of it."""

import os
from pathlib import Path

import pytest

from geoloc_core.line.project import Project
from tests.dagster.kill_experiment import experiment, forgetful_copy
from tests.dagster.tiny_line import contents

KILLS = int(os.environ.get("GEOLOC_KILLS", "2"))


@pytest.mark.slow
def test_killed_at_random_moments_the_line_ends_as_if_nothing_had_happened(
    made_project: Project, tmp_path: Path
) -> None:
    killed, wrong = experiment(
        lambda number: forgetful_copy(made_project, tmp_path / f"line-{number}"),
        contents(made_project), kills=KILLS, line=min(KILLS, 5), seed=3, victims=("refresh", "daemon"),
    )  # fmt: skip
    assert not wrong
    assert len(killed) == KILLS
    assert killed[0] == "refresh"

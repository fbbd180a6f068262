"""A few of the kill experiment's kills; docs/reliability.md has the whole of it."""

import pytest

from tests.dagster.kill_experiment import experiment, forgetful_copy
from tests.dagster.tiny_line import contents


@pytest.mark.slow
def test_killed_at_random_moments_the_line_ends_as_if_nothing_had_happened(made_project, tmp_path):
    killed, wrong = experiment(
        lambda number: forgetful_copy(made_project, tmp_path / f"line-{number}"),
        contents(made_project), kills=2, line=2, seed=3, victims=("refresh", "daemon"),
    )  # fmt: skip
    assert not wrong
    assert killed[0] == "refresh"

"""One setting picks the engine; one that is not installed says what to install."""

import importlib.util

import dagster as dg
import pytest

from geoloc_core.errors import ProfileError
from geoloc_dagster.executors import executor


def test_the_engine_is_chosen_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert executor("in_process") is dg.in_process_executor
    monkeypatch.setenv("GEOLOC_EXECUTOR", "in_process")
    assert executor() is dg.in_process_executor
    monkeypatch.delenv("GEOLOC_EXECUTOR")
    assert executor().name == "multiprocess"
    with pytest.raises(ProfileError, match="'threads' is not known; choose one of in_process, multiprocess, ray, k8s"):
        executor("threads")


@pytest.mark.parametrize(("choice", "package"), [("ray", "dagster_ray"), ("k8s", "dagster_k8s")])
def test_an_engine_that_is_not_installed_names_its_extra(choice: str, package: str) -> None:
    if importlib.util.find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    with pytest.raises(ProfileError, match=rf"\.\[{choice}\]"):
        executor(choice)

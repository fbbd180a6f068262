"""One setting picks the engine; one that is not installed says what to install."""

import importlib.util

import dagster as dg
import pytest
import torch

from geoloc_core.errors import ProfileError
from geoloc_dagster.definitions import defs
from geoloc_dagster.executors import executor
from geoloc_dagster.refresh import remake

HEAD, VECTORS = "clip.linear.country.thesis", "tiny-clip|sample-00"


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


def log_of_newest_run(instance: dg.DagsterInstance) -> str:
    (run,) = instance.get_runs(limit=1)
    return "\n".join(entry.user_message for entry in instance.all_logs(run.run_id))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_auto_takes_the_cpu_and_says_so_and_cuda_does_not(copy, own_instance, edit):
    assert remake(copy, own_instance, defs, "embeddings", [VECTORS]).well
    assert "no CUDA GPU is visible: this step runs on the CPU, as `device: auto` allows" in log_of_newest_run(
        own_instance
    )
    event = own_instance.get_latest_materialization_event(dg.AssetKey("embeddings"))
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["device"].value == "cpu"

    assert remake(edit(copy, device="cpu"), own_instance, defs, "embeddings", [VECTORS]).well
    assert "no CUDA GPU" not in log_of_newest_run(own_instance), "who asks for the CPU need not hear of it"

    for asset, partition in (("embeddings", VECTORS), ("heads", HEAD)):
        outcome = remake(edit(copy, device="cuda"), own_instance, defs, asset, [partition])
        (message,) = outcome.failed.values()
        assert message == "device 'cuda' was asked for and no CUDA GPU is visible; use device: auto or cpu"
        assert not outcome.faults, "it is the user's to mend"

"""Which engine runs the steps of a run that the UI or a sensor starts; one setting, GEOLOC_EXECUTOR."""

import os

import dagster as dg

from geoloc_core.errors import ProfileError

CHOICES = ("in_process", "multiprocess", "ray", "k8s")


def executor(choice: str | None = None) -> dg.ExecutorDefinition:
    """The engine by name; `multiprocess` (two steps at a time, started by forkserver) where nothing is said."""
    choice = choice or os.environ.get("GEOLOC_EXECUTOR") or "multiprocess"
    if choice == "in_process":
        return dg.in_process_executor
    if choice == "multiprocess":
        # forkserver: a step starts in about a second, and CUDA was never touched in the parent.
        settings = {"start_method": {"forkserver": {}}, "max_concurrent": int(os.environ.get("GEOLOC_PROCESSES", "2"))}
        return dg.multiprocess_executor.configured(settings)
    try:
        if choice == "ray":
            from dagster_ray import ray_executor

            return ray_executor
        if choice == "k8s":
            from dagster_k8s import k8s_job_executor

            return k8s_job_executor
    except ImportError as error:
        raise ProfileError(
            f"GEOLOC_EXECUTOR={choice} needs packages that are not installed; `uv pip install -e '.[{choice}]'`"
        ) from error
    raise ProfileError(f"GEOLOC_EXECUTOR={choice!r} is not known; choose one of {', '.join(CHOICES)}")

"""The engine that runs the steps of runs from the UI and from sensors, chosen by GEOLOC_EXECUTOR."""

import os

import dagster as dg

from geoloc_core.errors import ProfileError

CHOICES = ("in_process", "multiprocess", "ray", "k8s")


def executor(choice: str | None = None) -> dg.ExecutorDefinition:
    """The engine of that name; the default is `multiprocess`, with two steps at a time."""
    choice = choice or os.environ.get("GEOLOC_EXECUTOR") or "multiprocess"
    if choice not in CHOICES:
        raise ProfileError(f"GEOLOC_EXECUTOR={choice!r} is not known; choose one of {', '.join(CHOICES)}")
    if choice == "in_process":
        return dg.in_process_executor
    if choice == "multiprocess":
        # forkserver: a step starts in about a second, and no CUDA context is inherited.
        settings = {"start_method": {"forkserver": {}}, "max_concurrent": int(os.environ.get("GEOLOC_PROCESSES", "2"))}
        return dg.multiprocess_executor.configured(settings)
    try:
        if choice == "ray":
            from dagster_ray import ray_executor as engine
        else:
            from dagster_k8s import k8s_job_executor as engine
    except ImportError as error:
        raise ProfileError(
            f"GEOLOC_EXECUTOR={choice} needs packages that are not installed; `uv pip install -e '.[{choice}]'`"
        ) from error
    return engine

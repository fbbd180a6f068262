"""TINY and what tests do with it outside of Dagster's own process: start its commands, forget parts of it, compare it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import yaml

from geoloc_core.line.artifacts import Target
from geoloc_core.line.project import SOURCE_ROOT, Project, open_project
from geoloc_core.line.receipts import all_receipts, remove_receipt
from geoloc_dagster.definitions import defs

TINY: dict[str, object] = {
    "name": "tiny",
    "notice": "Drawn pictures, untrained backbones.",
    "drawn": {"seed": 11, "shards": 3, "photos_per_shard": 40, "benchmarks": {"bench-a": 24}},
    "features": {"clip": ["tiny-clip"], "clip+vit": ["tiny-clip", "tiny-vit"]},
    "experiments": ["clip.linear.country.thesis", "clip+vit.linear.hierarchical.default"],
    "split": {"validation_share": 0.3},
}
WORKSPACE = ("-w", str(SOURCE_ROOT / "workspace.yaml"))


def new_project(folder: Path, **changes: object) -> Project:
    """A project of TINY with changes, of which nothing was made yet."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({**TINY, **changes}))
    return open_project(str(path), folder / "home")


def environment(project: Project, executor: str) -> dict[str, str]:
    """What `geoloc` and Dagster's processes need to work on this project."""
    return {
        **os.environ,
        "DAGSTER_HOME": str(project.layout.dagster_home),
        "GEOLOC_PROFILE": str(project.profile_path),
        "GEOLOC_HOME": str(project.layout.home),
        "GEOLOC_EXECUTOR": executor,
        "GEOLOC_TICK_SECONDS": "5",
        "PYTHONPATH": os.pathsep.join([str(SOURCE_ROOT), os.environ.get("PYTHONPATH", "")]),
    }


def start(project: Project, *command: str, executor: str = "in_process") -> subprocess.Popen[bytes]:
    """`python -m COMMAND` in a group of its own, with the signals as a person's shell would give them; see `log_of`."""
    with log_of(project).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", *command],
            env=environment(project, executor),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def start_sensors(project: Project, *which: str) -> None:
    """Switch sensors on, as `dagster sensor start` does; `--start-all` takes all of them."""
    command = [sys.executable, "-m", "dagster", "sensor", "start", *which, *WORKSPACE]
    done = subprocess.run(command, env=environment(project, "in_process"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def carry_out(request: dg.RunRequest, instance: dg.DagsterInstance) -> bool:
    """Do in this process what a sensor requests, as the daemon would; whether it went well."""
    part = defs.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection=set(request.asset_selection or ()), asset_check_selection=set(request.asset_check_keys or ())
    )
    result = part.execute_in_process(
        run_config=request.run_config,
        partition_key=request.partition_key,
        instance=instance,
        tags=dict(request.tags),
        raise_on_error=False,
    )
    return result.success


def log_of(project: Project) -> Path:
    """Where the processes of a project say what they have to say."""
    return project.layout.home.parent / "processes.log"


def forget(project: Project, which: Callable[[Target], bool]) -> set[Target]:
    """Remove the receipts and the files of some targets; those that were there."""
    forgotten = set()
    for receipt in list(all_receipts(project.layout)):
        if which(receipt.target):
            for name in receipt.files:
                (project.layout.home / name).unlink()
            remove_receipt(project.layout, receipt.target)
            forgotten.add(receipt.target)
    return forgotten


def contents(project: Project) -> dict[str, str]:
    """The version of every target, and the hash of every file, as the receipts say."""
    found = {}
    for receipt in all_receipts(project.layout):
        found[str(receipt.target)] = receipt.data_version
        files = {**receipt.files, **receipt.watched}.items()
        found.update({name: stamp.sha256 for name, stamp in files if not _tells_of_the_making(name)})
    return found


def _tells_of_the_making(name: str) -> bool:
    """Whether a file tells how, or when, something was made (speed, the day of a decision), and so is never the same."""
    return name.endswith(".json") and name.startswith(("embeddings/", "champion"))

"""What a process that was killed, or a disk that failed, leaves behind; a refresh puts it right before it begins.

A killed process leaves runs that look as if they went on, with their places in the pools (the next step that wants one
would wait for ever), and files with temporary names. A warehouse that cannot be read is set aside: every row in it can be
made again.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
from dagster._core.storage.runs import SqliteRunStorage

from geoloc_core.line.project import Project
from geoloc_core.line.receipts import all_receipts
from geoloc_core.storage import TEMPORARY_PREFIX, remove_leftover
from geoloc_dagster.tracking import mend_store

# Carried by every run that a refresh makes in its own process; the value is the data folder.
MAKER_TAG = "geoloc/refresh"
UNFINISHED = [dg.DagsterRunStatus(name) for name in ("NOT_STARTED", "STARTING", "STARTED", "CANCELING")]
# Folders of other programs: nothing of ours has a temporary name there.
_NOT_OURS = {"dagster", "mlflow"}


def put_right(project: Project, instance: dg.DagsterInstance, verify: bool = False) -> Iterator[str]:
    """Mend all of it; a sentence for each thing mended. Call it under the refresh lock.

    `verify` has every byte of the warehouse read, where otherwise it is only opened and counted.
    """
    for run in end_killed_runs(instance, project):
        yield f"run {run.run_id[:8]} had been killed; its places in the pools are free again"
    for path in sweep(project):
        yield f"{path} was left over and is removed"
    strays: dict[Path, str] = {}
    for _ in all_receipts(project.layout, strays):
        pass
    for path, why in strays.items():
        kept = path.replace(path.with_name(f"{path.name}.unreadable"))
        yield f"{path} is no receipt ({why}): it is set aside as {kept.name}"
    if mended := mend_store(project.layout):
        yield mended
    aside = project.warehouse().set_aside_if_damaged(every_byte=verify)
    if aside is not None:
        yield f"the warehouse is damaged: it is set aside as {aside} and its tables are made anew"


def end_killed_runs(instance: dg.DagsterInstance, project: Project) -> list[dg.DagsterRun]:
    """End the runs whose process was killed, and give back the places in the pools that no living run holds.

    Whoever holds the refresh lock knows that every other refresh of this data folder is dead. Of the runs that a daemon
    started, those are ended whose process is gone, where the instance keeps its records in SQLite and so on this machine;
    elsewhere Dagster's own run monitoring sees to them.
    """
    dead = []
    for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)):
        if run.tags.get(MAKER_TAG) == str(project.home) or _process_is_gone(instance, run):
            instance.report_run_failed(run, "The process was killed; `geoloc refresh` goes on from there.")
            dead.append(run)
    living = {run.run_id for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))}
    storage = instance.event_log_storage
    if storage.supports_global_concurrency_limits:
        for pool in storage.get_concurrency_keys():
            held = storage.get_concurrency_info(pool)
            for run_id in {*held.active_run_ids, *held.pending_run_ids} - living:
                storage.free_concurrency_slots_for_run(run_id)
    return dead


def _process_is_gone(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether a run is said to go on, and the process of this machine that carried it out is there no more."""
    if not isinstance(instance.run_storage, SqliteRunStorage) or not Path("/proc").is_dir():
        return False
    for record in instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT).records:
        event = record.event_log_entry.dagster_event
        # Events of a step name that step's process; the run's own is the one that counts.
        if event is None or event.step_key is not None:
            continue
        pid = getattr(event.event_specific_data, "metadata", {}).get("pid")
        if pid is not None:
            return not _is_dagster(str(pid.value))
    return False


def _is_dagster(pid: str) -> bool:
    """Whether a process is there and works for us: a number may have gone to another program meanwhile."""
    try:
        command = Path("/proc", pid, "cmdline").read_bytes()
    except OSError:
        return False
    # A process that ended and was not yet waited for has an empty command line.
    return any(word in command for word in (b"dagster", b"geoloc", b"python", b"pytest"))


def sweep(project: Project) -> list[Path]:
    """Remove what has a temporary name and no writer, in the data folder and among the checkpoints.

    Who writes holds a lock (`storage.replacing_path`), so work in progress of another process stays.
    """
    removed = []
    for top in dict.fromkeys((project.home, project.checkpoints)):
        for folder, folders, files in os.walk(top):
            if Path(folder) == project.home:
                folders[:] = [name for name in folders if name not in _NOT_OURS]
            for name in [*folders, *files]:
                if name.startswith(TEMPORARY_PREFIX) and remove_leftover(Path(folder, name)):
                    removed.append(Path(folder, name))
            folders[:] = [name for name in folders if not name.startswith(TEMPORARY_PREFIX)]
    return removed

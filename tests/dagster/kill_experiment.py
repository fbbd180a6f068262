"""SIGKILL at random moments of the sample line: does `geoloc refresh` end with the same content, and nothing left over?

    python -m tests.dagster.kill_experiment --kills 30 [--seed 1]

Victims take turns: the process of `geoloc refresh` (run worker and step in one), a step's process and a run's worker that
the daemon started, and the daemon itself. Each is killed at a random moment while targets are being made. Every
`--line` kills the line is made to its end by `geoloc refresh` and compared with one that nobody disturbed, and another
line is begun. Prints a line for each kill, then a table.
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import dagster as dg

from geoloc_core.line.project import Project
from geoloc_core.storage import TEMPORARY_PREFIX
from geoloc_dagster.refresh import open_instance, project_plan
from tests.conftest import copy_of
from tests.dagster.tiny_line import WORKSPACE, contents, forget, log_of, new_project, start, start_sensors

FORGOTTEN = ("labeled_photos", "embeddings", "class_weights")
VICTIMS = ("refresh", "step", "refresh", "worker", "refresh", "daemon")
# Steps in processes of their own, so that one can be killed alone.
EXECUTOR = "multiprocess"
LONGEST_WAIT_S = 120.0
# How many targets `geoloc refresh` makes before it is killed, at most, and how long after the last of them.
MOST_TARGETS, LONGEST_DELAY_S = 9, 1.5


def forgetful_copy(made_project: Project, folder: Path) -> Project:
    """A copy of a line that was made to its end, less the receipts and files of the assets FORGOTTEN."""
    project = copy_of(made_project, folder)
    forget(project, lambda target: target.asset in FORGOTTEN)
    return project


def left_over(project: Project) -> list[Path]:
    """What has a temporary name, or belongs to a shard that is being made."""
    return [*project.layout.home.rglob(f"{TEMPORARY_PREFIX}*"), *project.layout.home.rglob("*.parts")]


def end_group(leader: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a group of processes that was started here."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGKILL)
    leader.wait()


def refresh_to_the_end(project: Project) -> None:
    """`geoloc refresh`, undisturbed."""
    child = start(project, "geoloc_dagster.cli", "refresh", executor=EXECUTOR)
    if child.wait(timeout=600):
        log = log_of(project).read_text(errors="replace")
        raise SystemExit(f"geoloc refresh ended with {child.returncode}:\n{log[-4000:]}")


def made(project: Project) -> int:
    """How many targets have a receipt."""
    return sum(1 for _ in (project.layout.home / "receipts").rglob("*.json"))


def pids(instance: dg.DagsterInstance) -> dict[str, list[int]]:
    """Processes of the runs under way: `worker` and `step`."""
    found: dict[str, list[int]] = {"worker": [], "step": []}
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        for entry in instance.all_logs(run.run_id):
            event = entry.dagster_event
            pid = getattr(event.event_specific_data, "metadata", {}).get("pid") if event else None
            if pid is not None and event is not None and Path(f"/proc/{pid.value}").exists():
                found["step" if event.step_key else "worker"].append(int(pid.value))
    return found


def kill(project: Project, victim: str, rng: random.Random) -> str:
    """Let `geoloc refresh` or the daemon make some targets, then SIGKILL the victim; who was killed.

    What the victim leaves alive goes on for a moment, as it would, and is then stopped.
    """
    began, by_hand = time.monotonic(), victim == "refresh"
    enough = made(project) + rng.randrange(MOST_TARGETS if by_hand else 2) - (not by_hand)
    command = ("geoloc_dagster.cli", "refresh") if by_hand else ("dagster._daemon", "run", *WORKSPACE)
    if not by_hand:
        start_sensors(project, "refresh")
    leader, killed = start(project, *command, executor=EXECUTOR), 0
    try:
        with open_instance(project.layout) as instance:
            while not killed and leader.poll() is None and time.monotonic() - began < LONGEST_WAIT_S:
                time.sleep(0.02)
                ready = [leader.pid] if by_hand else pids(instance)["step" if victim == "step" else "worker"]
                if ready and made(project) > enough:
                    killed = leader.pid if victim == "daemon" else rng.choice(ready)
        time.sleep(rng.uniform(0, LONGEST_DELAY_S))
        if killed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(killed, signal.SIGKILL)
            time.sleep(0 if by_hand else rng.uniform(0, LONGEST_DELAY_S))
    finally:
        end_group(leader)
    return victim if killed else f"{victim} (was gone)"


def compare(project: Project, wanted: dict[str, str]) -> list[str]:
    """What is not as in the undisturbed line; empty when all is."""
    found = contents(project)
    wrong = [f"{name} differs" for name in sorted(set(found) | set(wanted)) if found.get(name) != wanted.get(name)]
    wrong += [f"{path.relative_to(project.layout.home)} is left over" for path in left_over(project)]
    with open_instance(project.layout) as instance:
        plan = project_plan(project, instance, verify=True)
        wrong += [f"{step.target} is stale" for step in plan.steps]
        # A run that was asked for and has no process yet (STARTING) is Dagster's run monitoring's to end, by its time limit.
        going_on = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        wrong += [f"run {run.run_id} never ended ({run.tags.get('geoloc/target')})" for run in going_on]
        pools = instance.event_log_storage.get_concurrency_keys()
        held = {pool: instance.event_log_storage.get_concurrency_info(pool).active_slot_count for pool in pools}
        wrong += [f"{count} places in the pool {pool} are held" for pool, count in held.items() if count]
    return wrong


def experiment(
    begin: Callable[[int], Project], wanted: dict[str, str], kills: int, line: int, seed: int, victims: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Kill, and compare the line after every `line` kills: who was killed, and everything that was wrong.

    `begin` gives the project of a new line, `wanted` are the contents of one that nobody disturbed.
    """
    rng, killed, wrong = random.Random(seed), [], []
    while len(killed) < kills:
        project = begin(len(killed))
        with open_instance(project.layout):
            pass
        for _ in range(min(line, kills - len(killed))):
            before = made(project)
            killed.append(kill(project, victims[len(killed) % len(victims)], rng))
            print(
                f"{len(killed):3d} {killed[-1]:18s} {made(project) - before:2d} targets more, "
                f"{len(left_over(project))} files left over",
                flush=True,
            )
        refresh_to_the_end(project)
        differences = compare(project, wanted)
        wrong += differences
        print(f"    line made to its end: {differences or 'the same as undisturbed, nothing left over'}", flush=True)
        shutil.rmtree(project.layout.home.parent)
    return killed, wrong


def main() -> None:
    """Run the experiment and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--line", type=int, default=5, help="kills of one line, before it is made to its end")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="geoloc-kills-") as temporary:
        folder = Path(temporary)
        undisturbed = new_project(folder / "undisturbed")
        refresh_to_the_end(undisturbed)
        killed, wrong = experiment(
            lambda number: new_project(folder / f"line-{number}"),
            contents(undisturbed), options.kills, options.line, options.seed, VICTIMS,
        )  # fmt: skip
    print(
        "\n".join(["", "| killed | times |", "|---|---:|", *(f"| {who} | {n} |" for who, n in Counter(killed).items())])
    )
    print(f"\n{len(killed)} kills, {len(wrong)} things wrong afterwards.")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()

"""What orchestration costs: the sample line through Dagster against the same functions in one plain script.

    python benchmarks/orchestration.py [--profile sample] [--output .bench/orchestration.json]

- overhead_ratio: `geoloc refresh` of an empty data folder, every run in one process, against a script that calls the same
  functions of geoloc_core and asks the same checks, without runs, events and receipts. Each in a process of its own, start
  and imports included, MLflow left out of neither.
- plan_600_s: the plan of 200 shards x 3 backbones, 600 embeddings and 1,421 targets in all, every one with its receipt.
- step_overhead_s: a step in a process of its own (multiprocess, forkserver) whose work is next to nothing, from the moment
  that its process is asked for until its end, less the work itself; the median of five.

Prints a Markdown table and writes the figures as flat JSON.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from geoloc_core.line.project import SOURCE_ROOT, Project, find_profile, open_project
from geoloc_core.storage import read_json, write_json

LIMITS = {"overhead_ratio": 1.3, "plan_600_s": 3.0, "step_overhead_s": 3.0}
SHARDS, BACKBONES = 200, ("tiny-clip", "tiny-vit", "tiny-segvit")


def plain(project: Project) -> None:
    """The whole line by the core alone, in the order of the table, each target followed by the checks of its content."""
    from geoloc_core.line.artifacts import partitions, targets
    from geoloc_core.line.make import make
    from geoloc_core.line.steps import Job
    from geoloc_dagster.checks import answer
    from geoloc_dagster.checks.content import QUESTIONS
    from geoloc_dagster.tracking import recorder

    for target in targets(project.profile):
        others = [key for key in partitions(project.profile, target.asset) if key != target.partition]
        job = Job(project, target.partition, tuple(others) if target.asset == "embeddings" else ())
        make(job, target.asset, "", recorder(project, target.asset, target.partition, ""))
        for asset, name, question, _ in QUESTIONS:
            if asset == target.asset and (fault := answer(question, project, target.partition).fault):
                print(f"{target}: {name}: {fault}", file=sys.stderr)


def overhead(profile: Path, folder: Path) -> dict[str, float]:
    """Seconds of the line both ways, each in a new process and an empty folder, and their ratio."""
    seconds = {}
    ways = {
        "plain_s": [__file__, "--plain", "--profile", str(profile), "--home", str(folder / "plain")],
        "dagster_s": ["-m", "geoloc_dagster.cli", "refresh", "--profile", str(profile), "--home", str(folder / "dag")],
    }
    for name, command in ways.items():
        start = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, env=environment(), stdout=subprocess.DEVNULL)
        seconds[name] = time.perf_counter() - start
    targets = sum(1 for _ in (folder / "dag" / "receipts").rglob("*.json"))
    extra = (seconds["dagster_s"] - seconds["plain_s"]) / targets
    return {
        **seconds,
        "overhead_ratio": seconds["dagster_s"] / seconds["plain_s"],
        "targets": targets,
        "overhead_per_target_s": extra,
    }


def environment() -> dict[str, str]:
    """This checkout's packages, wherever the script is called from."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE_ROOT), os.environ.get("PYTHONPATH", "")])}


def plan_600(folder: Path) -> dict[str, float]:
    """Seconds of the plan of 200 shards x 3 backbones, everything current: the best of three, in this process."""
    from geoloc_core.line.artifacts import LINE, targets
    from geoloc_core.line.receipts import Receipt, Stamp, write_receipt
    from geoloc_core.line.staleness import State, make_plan

    profile = {
        "name": "many",
        "drawn": {"seed": 1, "shards": SHARDS - 1, "photos_per_shard": 4, "benchmarks": {"bench-a": 4}},
        "features": {"a": [BACKBONES[0]], "b": list(BACKBONES[1:])},
        "experiments": ["a.linear.country.thesis", "b.linear.country.thesis"],
    }
    path = folder / "many.yaml"
    path.write_text(yaml.safe_dump(profile))
    project = open_project(str(path), folder / "many")
    state = State(project)
    for number, target in enumerate(targets(project.profile)):
        file = project.layout.home / target.asset / f"{number}.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"content")
        made_from = state.input_versions(target)
        state.receipts[target] = Receipt(
            **vars(target),
            code_version=LINE[target.asset].version,
            data_version=f"{number:064x}",
            made_from=made_from,
            files={f"{target.asset}/{number}.bin": Stamp.of(file)},
        )
        write_receipt(project.layout, state.receipts[target])
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        if make_plan(State(open_project(str(path), folder / "many"))):
            raise SystemExit("something is stale that should not be")
        seconds.append(time.perf_counter() - start)
    return {"plan_600_s": min(seconds), "planned_targets": len(state.receipts)}


def step_overhead(folder: Path, times: int = 5) -> dict[str, float]:
    """Seconds that a step in its own process takes beyond its work; the median over `times` runs."""
    import dagster as dg
    from dagster._core.definitions.reconstruct import ReconstructableRepository

    from geoloc_dagster.build import synchronise
    from geoloc_dagster.refresh import open_instance, run_config

    metadata = folder / "mine.csv"
    metadata.write_text("IMG_ID,AUTHOR,LAT,LON\na.jpg,someone,52.37,4.90\n")
    entry = {"name": "mine", "metadata": str(metadata), "images": str(folder)}
    values = {
        "name": "one",
        "training": [entry],
        "benchmarks": [{**entry, "name": "bench"}],
        "features": {"a": [BACKBONES[0]]},
        "experiments": ["a.linear.country.thesis"],
    }
    path = folder / "one.yaml"
    path.write_text(yaml.safe_dump(values))
    project = open_project(str(path), folder / "one")
    os.environ["GEOLOC_EXECUTOR"] = "multiprocess"
    repository = ReconstructableRepository.for_module("geoloc_dagster.definitions", "defs", str(SOURCE_ROOT))
    job = repository.get_reconstructable_job("__ASSET_JOB")
    seconds = []
    with open_instance(project.layout) as instance:
        synchronise(instance, project.profile)
        for _ in range(times):
            result = dg.execute_job(
                job,
                instance=instance,
                run_config=run_config(project),
                tags={"dagster/partition": "mine"},
                asset_selection=[dg.AssetKey("deliveries")],
            )
            if not result.success:
                raise SystemExit("the step failed")
            at = {
                entry.dagster_event.event_type: entry.timestamp
                for entry in instance.all_logs(result.run_id)
                if entry.dagster_event and entry.dagster_event.step_key == "deliveries"
            }
            (made,) = result.get_asset_materialization_events()
            work = made.materialization.metadata["geoloc/seconds"].value
            asked = at[dg.DagsterEventType.STEP_WORKER_STARTING]
            seconds.append(at[dg.DagsterEventType.STEP_SUCCESS] - asked - float(work))  # type: ignore[arg-type]
    return {"step_overhead_s": statistics.median(seconds), "step_overhead_longest_s": max(seconds)}


def main() -> None:
    """Measure all three, print the table, write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--profile", default="sample")
    parser.add_argument("--output", type=Path, default=Path(".bench/orchestration.json"))
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--plain", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    profile = find_profile(options.profile).resolve()
    if options.plain:
        plain(open_project(str(profile), options.home))
        return
    with tempfile.TemporaryDirectory(prefix="geoloc-bench-") as temporary:
        folder = Path(temporary)
        figures = {**plan_600(folder), **step_overhead(folder), **overhead(profile, folder)}
    print("| what | measured | at most |\n|---|---:|---:|")
    rows = {
        "overhead_ratio": f"the line of `{profile.stem}` through Dagster / as a plain script",
        "plan_600_s": f"plan of {SHARDS} shards x 3 backbones ({figures['planned_targets']:.0f} targets), s",
        "step_overhead_s": "a step in its own process, beyond its work, s",
    }
    for name, words in rows.items():
        print(f"| {words} | {figures[name]:.2f} | {LIMITS[name]:g} |")
    print(
        f"\nThe line: {figures['dagster_s']:.1f} s through Dagster, {figures['plain_s']:.1f} s as a script,"
        f" {figures['overhead_per_target_s']:.2f} s more for each of {figures['targets']:.0f} targets."
    )
    write_json(options.output, {name: round(value, 4) for name, value in figures.items()})
    if options.output.is_file() and read_json(options.output)["overhead_ratio"] > LIMITS["overhead_ratio"]:
        sys.exit(1)


if __name__ == "__main__":
    main()

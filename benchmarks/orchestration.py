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
    """The whole line by the core's functions, in the order of the graph, each followed by the checks of its content."""
    from geoloc_core.line.embed import embed_shard

    from geoloc_core.evaluation.maps import country_map, coverage_map
    from geoloc_core.features.checkpoints import open_checkpoint
    from geoloc_core.geography.boundaries import load_boundaries, read_boundaries, write_boundaries
    from geoloc_core.learning.weights import class_weight_table
    from geoloc_core.line import experiments
    from geoloc_core.line.profile import REGION_LEVELS
    from geoloc_core.line.results import write_results
    from geoloc_core.photos.distribution import class_distribution
    from geoloc_core.photos.labels import label_photos, locator_of
    from geoloc_core.photos.pictures import gather_pictures
    from geoloc_core.photos.rows import read_rows, read_shard_rows, write_rows
    from geoloc_core.photos.training import collect_training
    from geoloc_core.storage import write_bytes
    from geoloc_sample.draw import SampleSpec, draw_delivery

    profile, layout, warehouse = project.profile, project.layout, project.warehouse()
    assert profile.drawn is not None
    write_boundaries(load_boundaries(profile.boundaries), layout.regions)
    drawn = profile.drawn
    spec = SampleSpec(
        seed=drawn.seed, shards=drawn.shards, photos_per_shard=drawn.photos_per_shard, benchmarks=drawn.benchmarks
    )
    for shard in profile.shards():
        draw_delivery(spec, shard, layout.delivery(shard), load_boundaries("embedded"))
    for shard in profile.shards():
        rows = read_shard_rows(profile, shard, layout)
        write_rows(rows.accepted, layout.raw_photos(shard))
        write_rows(rows.rejected, layout.rejected_rows(shard))
        ask(project, "raw_photos", shard)
    for shard in profile.shards():
        write_rows(
            gather_pictures(profile, shard, layout, read_rows(layout.raw_photos(shard))).manifest, layout.images(shard)
        )
        ask(project, "images", shard)
    for shard in profile.shards():
        locator = locator_of(layout.regions, profile.near_cap_km, layout.cache)
        labeled = label_photos(read_rows(layout.raw_photos(shard)), shard, locator)
        warehouse.replace_shard("labeled_photos", shard, labeled)
        ask(project, "labeled_photos", shard)
    training, excluded = collect_training(profile, layout, warehouse)
    warehouse.replace_table("training_photos", training)
    warehouse.replace_table("excluded_photos", excluded)
    ask(project, "training_photos", "")
    boundaries = read_boundaries(layout.regions)
    folder = layout.home / "class_distribution"
    counts = warehouse.count_by("training_photos", "country_id", "subdivision_id", "split")
    write_rows(class_distribution(counts, boundaries), folder / "class_distribution.parquet")
    training = warehouse.read_table("training_photos")
    latitude, longitude = training["latitude"].to_numpy(), training["longitude"].to_numpy()
    write_bytes(folder / "coverage.png", coverage_map(latitude, longitude, boundaries, "Photos to learn from"))
    of_country = training[training["country_id"] == profile.map_country]
    write_bytes(folder / "country.png", country_map(boundaries, profile.map_country, photos=of_country))
    ask(project, "class_distribution", "")
    for name in profile.backbones():
        identity = open_checkpoint(profile.backbone(name), project.checkpoints).identity
        write_json(layout.backbone(name), identity.as_dict())
    for shard in profile.shards():
        embed_shard(profile, layout, project.checkpoints, profile.backbones(), shard)
        for name in profile.backbones():
            ask(project, "embeddings", f"{name}|{shard}")
    for level in REGION_LEVELS:
        table = class_weight_table(warehouse.read_table("training_photos"), level)
        write_rows(table, layout.class_weights(level))
        ask(project, "class_weights", level)
        experiments.write_places(layout, level, experiments.places_of(layout, warehouse, level))
    for key in profile.experiment_keys():
        train_and_track(project, key)
        ask(project, "heads", key)
    for key in profile.experiment_keys():
        report_and_log(project, key)
        ask(project, "validation_report", key)
    for key in profile.experiment_keys():
        for benchmark in profile.benchmark_names():
            experiments.report_benchmark(profile, layout, warehouse, key, benchmark)
            ask(project, "benchmark_report", f"{benchmark}|{key}")
    write_results(profile, layout, warehouse, project.checkpoints)
    choose_and_register(project)


def train_and_track(project: Project, key: str) -> None:
    """Train a head and tell MLflow."""
    from geoloc_core.line.experiments import train_experiment
    from geoloc_dagster.tracking import head_run

    trained = train_experiment(project.profile, project.layout, project.warehouse(), key)
    folder = project.layout.head(key)
    with head_run(project, key, head_version(project, key), "", {}) as run:
        run.log(trained.parameters, trained.metrics, trained.history, [folder / "head.json", folder / "history.csv"])


def head_version(project: Project, key: str) -> str:
    """The version of a head's content."""
    from geoloc_dagster.resources import files_version

    return files_version([project.layout.head(key) / name for name in ("head.safetensors", "head.json")])


def report_and_log(project: Project, key: str) -> None:
    """Report a head on the validation photos, pack it, and log it in MLflow."""
    from geoloc_core.line.experiments import report_validation
    from geoloc_core.line.promotion import pack_head
    from geoloc_dagster.tracking import log_head_model

    layout = project.layout
    report_validation(project.profile, layout, project.warehouse(), key)
    scores = read_json(layout.validation_report(key) / "evaluation.json")["scores"]
    packed = pack_head(project.profile, layout, key, layout.packed_head(key))
    given = {name: float(value) for name, value in scores.items() if value is not None}
    log_head_model(project, packed.folder, key, head_version(project, key), given)


def choose_and_register(project: Project) -> None:
    """Choose who answers, and register it in MLflow."""
    from geoloc_core.line.promotion import choose_champion
    from geoloc_dagster.resources import files_version
    from geoloc_dagster.tracking import register_champion

    chosen = choose_champion(project.profile, project.layout, project.warehouse())
    packed = chosen.packed
    register_champion(project, packed.folder, packed.experiment, files_version(packed.files), chosen.accepted, "")


def ask(project: Project, asset: str, partition: str) -> None:
    """The checks of an asset's content, as plain functions; one that refuses ends the script."""
    for check in questions(asset):
        verdict = check(project, partition)
        if verdict.wrong:
            print(f"{asset} {partition}: {verdict.wrong}", file=sys.stderr)


def questions(asset: str) -> list:  # type: ignore[type-arg]
    """The functions behind an asset's checks."""
    from geoloc_dagster.checks import evaluation, expectations, features, learning, photos

    return {
        "raw_photos": [photos.raw_photos_contract, expectations.delivery_is_not_garbage],
        "images": [photos.images_contract],
        "labeled_photos": [photos.labeled_photos_contract, expectations.delivery_as_expected],
        "training_photos": [photos.training_photos_contract, photos.authors_disjoint, photos.no_benchmark_author],
        "class_distribution": [photos.class_distribution_contract],
        "embeddings": [features.embeddings_complete, features.embeddings_in_range],
        "class_weights": [learning.class_weights_finite],
        "heads": [learning.head_beats_the_prior],
        "validation_report": [evaluation.validation_denominator],
        "benchmark_report": [evaluation.benchmark_denominator],
    }[asset]


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
    (project.layout.home / "files").mkdir(parents=True)
    for number, target in enumerate(state.lineage.targets()):
        file = project.layout.home / "files" / f"{number}.bin"
        file.write_bytes(b"content")
        made_from = {str(item): state.version(item) for item in state.lineage.inputs(target)}
        stamps = {f"files/{number}.bin": Stamp.of(file)}
        state.receipts[target] = Receipt(target, CODE_VERSIONS[target.asset], f"{number:064x}", made_from, stamps)
        write_receipt(project.layout, state.receipts[target])
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        if make_plan(Lineage(open_project(str(path), folder / "many"))):
            raise SystemExit("something is out of date that should not be")
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

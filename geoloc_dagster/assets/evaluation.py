"""How good each head is, and compared with what; the tables, the report, and the champion."""

import datetime
from pathlib import Path
from typing import Any

import dagster as dg

from geoloc_core.line.lineage import CODE_VERSIONS
from geoloc_core.storage import read_json
from geoloc_dagster.metadata import file_link, parquet_rows, picture
from geoloc_dagster.partitions import EXPERIMENTS, EXPERIMENTS_BY_BENCHMARK
from geoloc_dagster.resources import ProjectResource, files_version

EVERY_PARTITION = dg.AllPartitionMapping()
ANCHORS = dg.AssetDep("region_anchors", partition_mapping=EVERY_PARTITION)
BACKBONES = dg.AssetDep("backbones", partition_mapping=EVERY_PARTITION)
VECTORS = dg.AssetDep("embeddings", partition_mapping=EVERY_PARTITION)
# Results are remade when something changed, and the heads are looked at every Monday. So older than a week says that
# nothing new came, and older than a month that deliveries, or somebody's attention, have stopped.
FRESH_RESULTS = dg.FreshnessPolicy.time_window(
    fail_window=datetime.timedelta(days=31), warn_window=datetime.timedelta(days=8)
)


def _told(written: dict[str, Any], files: list[Path]) -> dict[str, Any]:
    """Rows, and scores that plot over partitions; a score that does not exist is left out."""
    rows = sum(parquet_rows(file) for file in files if file.suffix == ".parquet")
    return {
        "dagster/row_count": rows,
        **{name: float(value) for name, value in written["scores"].items() if value is not None},
    }


@dg.asset(
    group_name="evaluation",
    kinds={"parquet"},
    owners=["team:ml"],
    partitions_def=EXPERIMENTS,
    deps=["heads", "training_photos", ANCHORS, VECTORS, "regions", BACKBONES],
    code_version=CODE_VERSIONS["validation_report"],
    description="One experiment on the validation photos, whose authors it never learned from: every prediction, and the "
    "scores of Table 2, what the head promises of its certainty and keeps; and the head, packed so that it answers by itself "
    "and logged in MLflow as a model.",
)
def validation_report(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    from geoloc_core.line.experiments import report_validation
    from geoloc_core.line.promotion import pack_head
    from geoloc_dagster.tracking import log_head_model

    work = project.begin(context)
    key, layout = context.partition_key, work.project.layout
    files = report_validation(work.project.profile, layout, work.project.warehouse(), key)
    told = _told(read_json(layout.validation_report(key) / "evaluation.json"), files)
    scores = {name: value for name, value in told.items() if isinstance(value, float)}
    packed = pack_head(work.project.profile, layout, key, layout.packed_head(key))
    model = log_head_model(work.project, packed.folder, key, work.made_from[f"heads[{key}]"], scores)
    return work.finish(files_version(files), files=[*files, *packed.files], metadata={**told, "mlflow_model": model})


@dg.asset(
    group_name="evaluation",
    kinds={"parquet"},
    owners=["team:ml"],
    partitions_def=EXPERIMENTS_BY_BENCHMARK,
    deps=["heads", ANCHORS, VECTORS, dg.AssetDep("labeled_photos", partition_mapping=EVERY_PARTITION)],
    code_version=CODE_VERSIONS["benchmark_report"],
    description="One experiment on one benchmark: every photo of it counts, those without a picture as wrong.",
)
def benchmark_report(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    from geoloc_core.line.experiments import report_benchmark

    work = project.begin(context)
    benchmark, key = str(context.partition_key).split("|")
    files = report_benchmark(work.project.profile, work.project.layout, work.project.warehouse(), key, benchmark)
    written = read_json(work.project.layout.benchmark_report(key, benchmark) / "evaluation.json")
    return work.finish(files_version(files), files=files, metadata=_told(written, files))


@dg.asset(
    group_name="evaluation",
    kinds={"markdown"},
    owners=["team:ml"],
    deps=[
        "class_distribution",
        "training_photos",
        "regions",
        ANCHORS,
        BACKBONES,
        VECTORS,
        dg.AssetDep("labeled_photos", partition_mapping=EVERY_PARTITION),
        dg.AssetDep("images", partition_mapping=EVERY_PARTITION),
        dg.AssetDep(validation_report, partition_mapping=EVERY_PARTITION),
        dg.AssetDep(benchmark_report, partition_mapping=EVERY_PARTITION),
    ],
    code_version=CODE_VERSIONS["results"],
    freshness_policy=FRESH_RESULTS,
    description="Tables 1, 2 and 3 beside the class prior, the best constant point, a random photo and zero-shot CLIP; maps; "
    "the HTML report.",
)
def results(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    from geoloc_core.line.results import write_results

    work = project.begin(context)
    opened = work.project
    written = write_results(opened.profile, opened.layout, opened.warehouse(), opened.checkpoints)
    return work.finish(
        files_version(written.files),
        files=written.files,
        metadata={
            "report": file_link(work.project.layout.home, written.report),
            "experiments": len(work.project.profile.experiments),
            **{name: dg.MetadataValue.md(text) for name, text in written.tables.items()},
            **{
                file.stem: picture(file.read_bytes(), file.stem.replace("_", " "))
                for file in written.files
                if file.stem.startswith("map_errors")
            },
        },
    )


@dg.asset(
    group_name="evaluation",
    kinds={"mlflow"},
    owners=["team:ml"],
    deps=[
        results,
        "regions",
        ANCHORS,
        dg.AssetDep("heads", partition_mapping=EVERY_PARTITION),
        BACKBONES,
        dg.AssetDep(validation_report, partition_mapping=EVERY_PARTITION),
    ],
    code_version=CODE_VERSIONS["champion"],
    description="The head that answers for new photos, packed with all it needs except the backbones' weights, registered in "
    "MLflow under the alias `champion`. The best head on the validation photos challenges it; it moves only if that one is "
    "better beyond its interval and loses on no continent more than a margin. Why is kept in champion.json.",
)
def champion(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    from geoloc_core.line.promotion import choose_champion
    from geoloc_dagster.tracking import model_link, register_champion

    work = project.begin(context)
    chosen = choose_champion(work.project.profile, work.project.layout, work.project.warehouse())
    packed, reasons = chosen.packed, list(chosen.decision["reasons"])
    version = files_version(packed.files)
    registered = register_champion(
        work.project, packed.folder, packed.experiment, version, chosen.accepted, " ".join(reasons)
    )
    return work.finish(
        version,
        files=[*packed.files, work.project.layout.champion_decision],
        metadata={
            "experiment": packed.experiment,
            "companion": packed.companion,
            "accepted": chosen.accepted,
            "why": dg.MetadataValue.md("\n".join(f"- {reason}" for reason in reasons)),
            "decision": dg.MetadataValue.json(chosen.decision),
            "mlflow_model": registered.name,
            "mlflow_version": registered.version,
            "mlflow_page": model_link(work.project, registered),
        },
    )

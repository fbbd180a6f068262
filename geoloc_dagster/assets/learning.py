"""From vectors to probabilities: class weights, the points that regions answer with, and the heads."""

import dagster as dg

from geoloc_core.line.lineage import CODE_VERSIONS
from geoloc_core.storage import file_sha256
from geoloc_dagster.op_tags import GPU, GPU_POOL
from geoloc_dagster.partitions import EXPERIMENTS, LEVELS
from geoloc_dagster.resources import ProjectResource, files_version

EVERY_PARTITION = dg.AllPartitionMapping()


@dg.asset(
    group_name="learning",
    kinds={"parquet"},
    owners=["team:ml"],
    partitions_def=LEVELS,
    deps=["training_photos"],
    code_version=CODE_VERSIONS["class_weights"],
    description="How much one photo of each region counts in the loss, by scheme: inverse frequency (the thesis), its square "
    "root, the effective number of samples, none.",
)
def class_weights(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    from geoloc_core.learning.weights import class_weight_table
    from geoloc_core.photos.rows import write_rows

    work = project.begin(context)
    level = context.partition_key
    table = class_weight_table(
        work.project.warehouse().read_table("training_photos", columns=("country_id", "subdivision_id", "split")), level
    )
    path = work.project.layout.class_weights(level)
    write_rows(table, path)
    return work.finish(
        file_sha256(path),
        files=[path],
        metadata={
            "dagster/row_count": len(table),
            "smallest_class": int(table["n_photos"].min()),
            "largest_class": int(table["n_photos"].max()),
            "largest_inverse_weight": float(table["inverse"].max()),
            "ratio_of_inverse_weights": float(table["inverse"].max() / table["inverse"].min()),
        },
    )


@dg.asset(
    group_name="learning",
    kinds={"parquet"},
    owners=["team:ml"],
    partitions_def=LEVELS,
    deps=["training_photos", "regions"],
    code_version=CODE_VERSIONS["region_anchors"],
    description="The coordinates that a region answers with: the polygon's centroid (the thesis), and points fitted to the "
    "training photos: mean, medoid, the best point by GeoScore, within 200 km and within 750 km; and where in each region "
    "the training photos are, for answers from the whole posterior.",
)
def region_anchors(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    from geoloc_core.line.experiments import places_of, write_places

    work = project.begin(context)
    level = context.partition_key
    places = places_of(work.project.layout, work.project.warehouse(), level)
    files = write_places(work.project.layout, level, places)
    anchors = places.anchors
    return work.finish(
        files_version(files),
        files=files,
        metadata={
            "dagster/row_count": len(anchors),
            "regions": int(anchors["region_id"].nunique()),
            "regions_with_photos": int(anchors.loc[anchors["kind"] == "medoid", "region_id"].nunique()),
            "cells_with_photos": len(places.cells),
        },
    )


@dg.asset(
    group_name="learning",
    kinds={"pytorch", "mlflow"},
    owners=["team:ml"],
    partitions_def=EXPERIMENTS,
    deps=[
        dg.AssetDep("embeddings", partition_mapping=EVERY_PARTITION),
        "training_photos",
        dg.AssetDep(class_weights, partition_mapping=EVERY_PARTITION),
    ],
    pool=GPU_POOL,
    op_tags=GPU,
    code_version=CODE_VERSIONS["heads"],
    description="A small classifier on frozen vectors: given a photo's vector, how probable is each region. Its partition "
    "reads features.head.level.recipe: which backbones, which network, countries or sub-divisions, how it is trained.",
)
def heads(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    from geoloc_core.devices import fallback, pick_device
    from geoloc_core.line.experiments import train_experiment
    from geoloc_dagster.tracking import head_run, run_link

    work = project.begin(context)
    key = context.partition_key
    if slower := fallback(work.project.profile.device):
        context.log.warning(slower)
    trained = train_experiment(work.project.profile, work.project.layout, work.project.warehouse(), key)
    folder = work.project.layout.head(key)
    # What the head answers, not how its training went, is what downstream is made from.
    version = files_version([folder / name for name in ("head.safetensors", "references.safetensors", "head.json")])
    with head_run(work.project, key, version, context.run_id, work.made_from) as run:
        run.log(trained.parameters, trained.metrics, trained.history, [folder / "head.json", folder / "history.csv"])
    return work.finish(
        version,
        files=sorted(folder.iterdir()),
        metadata={
            "classes": trained.classes,
            "training_photos": trained.n_train,
            "photos_without_vector": trained.n_without_vector,
            "device": str(pick_device(work.project.profile.device)),
            **{f"validation_{name}": value for name, value in trained.metrics.items()},
            "recipe": dg.MetadataValue.json(trained.parameters),
            "mlflow_run": run_link(work.project, run.run_id),
        },
    )

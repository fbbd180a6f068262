"""From image to vector: the hours of the line, so nothing here depends on labels."""

import dagster as dg

from geoloc_core.line.lineage import CODE_VERSIONS
from geoloc_core.storage import file_sha256, write_json
from geoloc_dagster.metadata import counts_table
from geoloc_dagster.op_tags import GPU, GPU_POOL
from geoloc_dagster.partitions import BACKBONES, SHARDS_BY_BACKBONE
from geoloc_dagster.resources import ProjectResource
from geoloc_dagster.sharing import decoded_with


@dg.asset(
    group_name="features",
    kinds={"pytorch", "huggingface"},
    owners=["team:ml"],
    partitions_def=BACKBONES,
    code_version=CODE_VERSIONS["backbones"],
    description="Who a frozen encoder is: its specification and the hash of its weights. The sample's weights are made here "
    "from a seed; all others must be there, and their hash is taken.",
)
def backbones(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    from geoloc_core.features.checkpoints import open_checkpoint

    work = project.begin(context)
    spec = work.project.profile.backbone(context.partition_key)
    checkpoint = open_checkpoint(spec, work.project.checkpoints, mend_seeded=True)
    identity = checkpoint.identity
    path = work.project.layout.backbone(spec.name)
    write_json(path, identity.as_dict())
    return work.finish(
        identity.version,
        files=[path],
        watched=list(checkpoint.files),
        metadata={
            "model": identity.model_id,
            "weights": identity.weights,
            "weights_sha256": identity.weights_sha256,
            "dimension": identity.dimension,
            "input_size": identity.input_size,
            "layer": f"{identity.layer}, {identity.pooling}",
            "specification": dg.MetadataValue.json(identity.as_dict()),
        },
    )


@dg.asset(
    group_name="features",
    kinds={"parquet", "pytorch"},
    owners=["team:ml"],
    partitions_def=SHARDS_BY_BACKBONE,
    deps=["images", backbones],
    pool=GPU_POOL,
    op_tags=GPU,
    code_version=CODE_VERSIONS["embeddings"],
    description="One float16 vector for each usable picture of a shard; a picture without one is a row with the reason. Only "
    "what is missing is embedded: a killed run goes on from what it had, ten more photos embed ten.",
)
def embeddings(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    from geoloc_core.devices import fallback
    from geoloc_core.line.embed import embed_shard

    work = project.begin(context)
    if slower := fallback(work.project.profile.device):
        context.log.warning(slower)
    # A partition of two dimensions reads "backbone|shard": the dimensions stand in the order of their names.
    name, shard = str(context.partition_key).split("|")
    names = [name, *decoded_with(context.run.tags)]
    embedded = embed_shard(work.project.profile, work.project.layout, work.project.checkpoints, names, shard)[name]
    report, identity = embedded.report, embedded.identity
    return work.finish(
        file_sha256(embedded.files[0]),
        files=embedded.files,
        metadata={
            "dagster/row_count": report.rows,
            "vectors": embedded.vectors,
            "without_vector": report.rows - embedded.vectors,
            "failures": counts_table(embedded.failures, "reason"),
            "embedded_now": report.embedded,
            "kept": report.reused,
            "resumed": report.resumed,
            "images_per_second": round(embedded.record["images_per_second"], 1),
            "device": embedded.record["device"],
            "decoded_together": ", ".join(embedded.record["together"]),
            "decode": identity.decode,
            "dtype": identity.dtype,
            "backbone_version": identity.version,
            "weights_sha256": identity.weights_sha256,
            "checkpoint": dg.MetadataValue.json(identity.as_dict()),
        },
    )

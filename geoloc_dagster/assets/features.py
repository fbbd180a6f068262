"""From image to vector: the hours of the line, so nothing here depends on labels."""

import dagster as dg

from geoloc_core.storage import file_sha256, write_json
from geoloc_dagster.lineage import CODE_VERSIONS
from geoloc_dagster.metadata import counts_table
from geoloc_dagster.op_tags import GPU, GPU_POOL
from geoloc_dagster.partitions import BACKBONES, SHARDS_BY_BACKBONE
from geoloc_dagster.resources import ProjectResource


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
    from geoloc_core.features.backbones import backbone
    from geoloc_core.features.checkpoints import checkpoint_files, checkpoint_identity, ensure_checkpoint

    work = project.begin(context)
    spec = backbone(context.partition_key)
    ensure_checkpoint(spec, work.project.checkpoints, mend_seeded=True)
    identity = checkpoint_identity(spec, work.project.checkpoints)
    path = work.project.layout.backbone(spec.name)
    write_json(path, identity.as_dict())
    return work.finish(
        identity.version,
        files=[path],
        watched=checkpoint_files(spec, work.project.checkpoints),
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
    description="One float16 vector for each usable picture of a shard; a picture without one is a row with the reason.",
)
def embeddings(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    from geoloc_core.experiments import embed_shard

    work = project.begin(context)
    # A partition of two dimensions reads "backbone|shard": the dimensions stand in the order of their names.
    backbone_name, shard = str(context.partition_key).split("|")
    path = work.project.layout.embeddings(backbone_name, shard)
    counts = embed_shard(work.project.profile, work.project.layout, work.project.checkpoints, backbone_name, shard)
    return work.finish(
        file_sha256(path),
        files=[path],
        metadata={
            "dagster/row_count": counts.rows,
            "vectors": counts.vectors,
            "without_vector": counts.rows - counts.vectors,
            "by_status": counts_table(counts.by_status, "status"),
            "images_per_second": round(counts.images_per_second, 1),
            "device": counts.device,
            "backbone_version": counts.backbone_version,
        },
    )

"""From picture to vector: the hours of the line, so nothing here depends on labels."""

from __future__ import annotations

from geoloc_core.devices import fallback
from geoloc_core.features.checkpoints import checkpoint_files, checkpoint_identity, ensure_checkpoint
from geoloc_core.line.embed import embed_shard
from geoloc_core.line.steps import Job, Output
from geoloc_core.storage import file_sha256, write_json


def backbones(job: Job) -> Output:
    """The identity of a frozen encoder: its specification and the hash of its weights."""
    spec, checkpoints = job.profile.backbone(job.key), job.project.checkpoints
    ensure_checkpoint(spec, checkpoints, mend_seeded=True)
    identity = checkpoint_identity(spec, checkpoints)
    path = job.layout.backbone(spec.name)
    write_json(path, identity.as_dict())
    facts = {
        "model": identity.model_id,
        "weights": identity.weights,
        "weights_sha256": identity.weights_sha256,
        "dimension": identity.dimension,
        "input_size": identity.input_size,
        "layer": f"{identity.layer}, {identity.pooling}",
        "specification": identity.as_dict(),
    }
    return Output(identity.version, [path], facts=facts, watched=checkpoint_files(spec, checkpoints))


def embeddings(job: Job) -> Output:
    """The vectors of one shard by one backbone; those of other backbones that wait for the shard from the same decode."""
    name, shard = job.key.split("|")
    if slower := fallback(job.profile.device):
        job.warn(slower)
    others = [key.split("|")[0] for key in job.also if key.split("|")[1] == shard]
    embedded = embed_shard(job.profile, job.layout, job.project.checkpoints, [name, *others], shard)[name]
    report, identity = embedded.report, embedded.identity
    facts = {
        "rows": report.rows,
        "vectors": embedded.vectors,
        "without_vector": report.rows - embedded.vectors,
        "failures": embedded.failures,
        "embedded_now": report.embedded,
        "kept": report.reused,
        "resumed": report.resumed,
        "images_per_second": round(embedded.made["images_per_second"], 1),
        "device": embedded.made["device"],
        "decoded_together": ", ".join(embedded.made["together"]),
        "decode": identity.decode,
        "dtype": identity.dtype,
        "backbone_version": identity.version,
        "weights_sha256": identity.weights_sha256,
        "checkpoint": identity.as_dict(),
    }
    return Output(file_sha256(embedded.files[0]), embedded.files, facts=facts)

"""From picture to vector: the hours of the line, so nothing here depends on labels."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial

from geoloc_core.devices import fallback, pick_device
from geoloc_core.features.checkpoints import open_checkpoint
from geoloc_core.features.embedding import ShardTarget, update_shards
from geoloc_core.features.encoder import load_encoder
from geoloc_core.features.extract import OK, ImageItem
from geoloc_core.line.project import picture_folder_of
from geoloc_core.line.steps import Job, Output
from geoloc_core.photos.rows import read_rows
from geoloc_core.storage import file_sha256, read_json, write_json


def backbones(job: Job) -> Output:
    """The identity of a frozen encoder: its specification and the hash of its weights.

    The sample's weights are made here from a seed; all others must be there, and their hash is taken.
    """
    spec = job.profile.backbone(job.key)
    checkpoint = open_checkpoint(spec, job.project.checkpoints, mend_seeded=True)
    identity, path = checkpoint.identity, job.layout.backbone(spec.name)
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
    return Output(identity.version, [path], facts=facts, watched=checkpoint.files)


def embeddings(job: Job) -> Output:
    """One float16 vector for each usable picture of a shard; a picture without one is a row with the reason.

    Only what is missing is embedded: a killed run goes on from what it had, ten more photos embed ten.
    """
    name, shard = job.key.split("|")
    if slower := fallback(job.profile.device):
        job.warn(slower)
    names = [name, *(key.split("|")[0] for key in job.also if key.split("|")[1] == shard)]
    device = str(pick_device(job.profile.device))
    targets = {}
    for backbone in names:
        spec, path = job.profile.backbone(backbone), job.layout.embeddings(backbone, shard)
        identity = open_checkpoint(spec, job.project.checkpoints).identity
        targets[backbone] = ShardTarget(partial(load_encoder, spec, job.project.checkpoints, device), identity, path)
    what, size = f"{'+'.join(names)} {shard}", job.profile.batch_size
    reports = update_shards(picture_items(job, shard), targets, job.profile.images, batch_size=size, what=what)
    # How the vectors were made when pictures were last embedded, and which backbones shared the decode.
    together = sorted(backbone for backbone, report in reports.items() if report.embedded)
    for backbone, report in reports.items():
        record = job.layout.embedding_report(backbone, shard)
        if report.embedded or not record.is_file():
            write_json(record, {**asdict(report), "device": device, "together": together})
    path, record, identity = targets[name].path, job.layout.embedding_report(name, shard), targets[name].identity
    report, making = reports[name], read_json(record)
    vectors = report.by_status.get(OK, 0)
    facts = {
        "rows": report.rows,
        "vectors": vectors,
        "without_vector": report.rows - vectors,
        "failures": {reason: count for reason, count in report.by_status.items() if reason != OK},
        "embedded_now": report.embedded,
        "kept": report.reused,
        "resumed": report.resumed,
        "images_per_second": round(making["images_per_second"], 1),
        "device": making["device"],
        "decoded_together": ", ".join(making["together"]),
        "decode": identity.decode,
        "dtype": identity.dtype,
        "backbone_version": identity.version,
        "weights_sha256": identity.weights_sha256,
        "checkpoint": identity.as_dict(),
    }
    return Output(file_sha256(path), [path, record], facts=facts)


def picture_items(job: Job, shard: str) -> list[ImageItem]:
    """The photos of a shard's manifest, with the hash of each file, or why it is unusable."""
    manifest = read_rows(job.layout.images(shard))
    root = picture_folder_of(job.profile, job.layout, shard)
    columns = (manifest[name] for name in ("photo_id", "image_path", "sha256", "status"))
    return [
        ImageItem(photo_id, root / path, sha256, "" if status == OK else status)
        for photo_id, path, sha256, status in zip(*columns, strict=True)
    ]

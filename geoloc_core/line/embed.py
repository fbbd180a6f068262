"""A shard of a project from pictures to vectors: reads the manifest, calls `features`, writes what was done.

The features know nothing of profiles or paths of artifacts; this joins a profile's backbones and a shard's pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from geoloc_core.devices import pick_device
from geoloc_core.features.checkpoints import CheckpointIdentity, open_checkpoint
from geoloc_core.features.embedding import ShardReport, ShardTarget, update_shards
from geoloc_core.features.encoder import load_encoder
from geoloc_core.features.extract import OK, ImageItem
from geoloc_core.line.layout import Layout
from geoloc_core.line.profile import Profile
from geoloc_core.photos.pictures import image_limits, image_root
from geoloc_core.photos.rows import read_rows
from geoloc_core.storage import read_json, write_json


@dataclass(frozen=True)
class EmbeddedShard:
    """The result of embedding one shard with one backbone.

    `report` counts the rows of this run. `record` tells how the vectors were made when pictures were last embedded: how
    many, images_per_second, device, and `together`, the backbones that shared the decode. `files` are all that belongs to
    the shard: its vectors, and the record.
    """

    report: ShardReport
    identity: CheckpointIdentity
    record: dict[str, Any]
    files: list[Path]

    @property
    def vectors(self) -> int:
        """How many photos have a vector."""
        return self.report.by_status.get(OK, 0)

    @property
    def failures(self) -> dict[str, int]:
        """How many photos have none, by reason."""
        return {reason: count for reason, count in self.report.by_status.items() if reason != OK}


def embed_shard(
    profile: Profile, layout: Layout, checkpoints: Path, names: Sequence[str], shard: str
) -> dict[str, EmbeddedShard]:
    """Bring the vectors of a shard up to date for each backbone of `names`, which share one decode.

    Only what is missing is embedded: a killed run goes on, and rows of another checkpoint, or of a picture that has been
    replaced, are made again. Pictures that the manifest refuses keep their row, with its reason.
    """
    device = str(pick_device(profile.device))
    targets = {}
    for name in names:
        spec = profile.backbone(name)
        identity = open_checkpoint(spec, checkpoints).identity
        load = partial(load_encoder, spec, checkpoints, device)
        targets[name] = ShardTarget(load, identity, layout.embeddings(name, shard))
    items = picture_items(profile, layout, shard)
    reports = update_shards(
        items, targets, image_limits(profile), batch_size=profile.batch_size, what=f"{'+'.join(names)} {shard}"
    )
    together = sorted(name for name, report in reports.items() if report.embedded)
    embedded = {}
    for name, report in reports.items():
        record = layout.embedding_report(name, shard)
        if report.embedded or not record.is_file():
            write_json(record, {**asdict(report), "device": device, "together": together})
        files = [targets[name].path, record]
        embedded[name] = EmbeddedShard(report, targets[name].identity, read_json(record), files)
    return embedded


def picture_items(profile: Profile, layout: Layout, shard: str) -> list[ImageItem]:
    """The photos of a shard's manifest, with the hash of each file, or why it is unusable."""
    manifest = read_rows(layout.images(shard))
    root = image_root(profile, shard, layout)
    columns = (manifest[name] for name in ("photo_id", "image_path", "sha256", "status"))
    return [
        ImageItem(photo_id, root / path, sha256, "" if status == OK else status)
        for photo_id, path, sha256, status in zip(*columns, strict=True)
    ]

"""A shard of a project from pictures to vectors.

The rooms below know nothing of profiles or paths of artifacts; this joins a profile's backbones, the manifest of a
shard's pictures and the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoloc_core.devices import pick_device
from geoloc_core.features.checkpoints import CheckpointIdentity, checkpoint_identity, ensure_checkpoint
from geoloc_core.features.embedding import ShardReport, ShardTarget
from geoloc_core.features.embedding import embed_shard as embed
from geoloc_core.features.encoder import load_encoder
from geoloc_core.features.extract import OK, EngineOptions, ImageItem
from geoloc_core.line.layout import Layout
from geoloc_core.line.profile import Profile
from geoloc_core.line.project import picture_folder_of
from geoloc_core.photos.rows import read_rows
from geoloc_core.storage import read_json, write_json

if TYPE_CHECKING:
    from geoloc_core.features.encoder import Encoder
    from geoloc_core.features.specification import BackboneSpec


@dataclass(frozen=True)
class EmbeddedShard:
    """What came of embedding one shard with one backbone.

    `report` counts the rows of this making. `made` tells how the vectors came to be when pictures were last embedded:
    how many, images_per_second, device, and `together`, the backbones that shared the decode. `files` are all that
    belongs to the shard: its vectors, and `made`.
    """

    report: ShardReport
    identity: CheckpointIdentity
    made: dict[str, Any]
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
    replaced, are made anew. Pictures that the manifest refuses keep their row, with its reason.
    """
    device = pick_device(profile.device)
    targets = {}
    for name in names:
        spec = profile.backbone(name)
        ensure_checkpoint(spec, checkpoints)
        identity = checkpoint_identity(spec, checkpoints)
        targets[name] = ShardTarget(_loader(spec, checkpoints, str(device)), identity, layout.embeddings(name, shard))
    items = picture_items(profile, layout, shard)
    options = EngineOptions(batch_size=profile.batch_size)
    reports = embed(items, targets, profile.images, options, what=f"{'+'.join(names)} {shard}")
    together = sorted(name for name, report in reports.items() if report.embedded)
    embedded = {}
    for name, report in reports.items():
        told = layout.embedding_report(name, shard)
        if report.embedded or not told.is_file():
            write_json(told, {**asdict(report), "device": str(device), "together": together})
        files = [targets[name].path, told]
        embedded[name] = EmbeddedShard(report, targets[name].identity, read_json(told), files)
    return embedded


def picture_items(profile: Profile, layout: Layout, shard: str) -> list[ImageItem]:
    """The photos of a shard's manifest, with the hash of each file, or why it is unusable."""
    manifest = read_rows(layout.images(shard))
    root = picture_folder_of(profile, layout, shard)
    columns = (manifest[name] for name in ("photo_id", "image_path", "sha256", "status"))
    return [
        ImageItem(photo_id, root / path, sha256, "" if status == OK else status)
        for photo_id, path, sha256, status in zip(*columns, strict=True)
    ]


def _loader(spec: BackboneSpec, checkpoints: Path, device: str) -> Callable[[], Encoder]:
    return lambda: load_encoder(spec, checkpoints, device)

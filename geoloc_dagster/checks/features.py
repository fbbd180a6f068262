"""Vectors: one for each usable picture, finite, of a length that a frozen encoder gives."""

import dagster as dg

from geoloc_core.line.project import Project
from geoloc_dagster.assets import features
from geoloc_dagster.checks.verdict import Verdict, asset_check

# float16 overflows at 65,504; a vector that long, or of no length, was made by a broken encoder.
SHORTEST, LONGEST = 1e-3, 6e4


def embeddings_complete(project: Project, key: str) -> Verdict:
    """The shard has one row for each row of the image manifest, and a vector for each usable picture."""
    from geoloc_core.features.shards import read_shard
    from geoloc_core.photos.rows import read_rows

    backbone, shard = key.split("|")
    block, _ = read_shard(project.layout.embeddings(backbone, shard))
    manifest = read_rows(project.layout.images(shard))
    usable, vectors = int((manifest["status"] == "ok").sum()), int(block.ok.sum())
    figures = {"rows": len(block.photo_ids), "vectors": vectors, "usable_pictures": usable}
    if block.photo_ids != manifest["photo_id"].tolist():
        return Verdict(f"{len(block.photo_ids)} rows do not name the {len(manifest)} photos of the manifest", figures)
    return Verdict("" if vectors == usable else f"{vectors} vectors for {usable} usable pictures", figures)


def embeddings_in_range(project: Project, key: str) -> Verdict:
    """No vector holds NaN or infinity, and every length is plausible."""
    import numpy as np

    from geoloc_core.features.shards import read_shard

    backbone, shard = key.split("|")
    block, _ = read_shard(project.layout.embeddings(backbone, shard))
    vectors = block.vectors[block.ok].astype(np.float32)
    if not len(vectors):
        return Verdict("", {"vectors": 0})
    if not np.isfinite(vectors).all():
        return Verdict(f"{int((~np.isfinite(vectors)).any(axis=1).sum())} vectors hold NaN or infinity")
    norms = np.linalg.norm(vectors, axis=1)
    figures = {"shortest": float(norms.min()), "median": float(np.median(norms)), "longest": float(norms.max())}
    good = norms.min() >= SHORTEST and norms.max() <= LONGEST
    return Verdict("" if good else f"lengths reach from {norms.min():.3g} to {norms.max():.3g}", figures)


CHECKS: list[dg.AssetChecksDefinition] = [
    asset_check(features.embeddings, "complete", embeddings_complete, blocking=True),
    asset_check(features.embeddings, "in_range", embeddings_in_range, blocking=True),
]

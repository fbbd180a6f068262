"""A link from each asset to its code: the file itself, or its page in the repository that GEOLOC_GIT_URL names."""

import os
import warnings
from collections.abc import Sequence

import dagster as dg

from geoloc_core.line.project import SOURCE_ROOT

PACKAGE = "geoloc_dagster/__init__.py"


def with_code_references(assets: Sequence[dg.AssetsDefinition]) -> list[dg.AssetsDefinition]:
    """The assets with links; GEOLOC_GIT_REF names the branch or the commit of the repository (default: main)."""
    with warnings.catch_warnings():
        # Beta in Dagster, whose version is pinned.
        warnings.simplefilter("ignore", dg.BetaWarning)
        linked = dg.with_source_code_references(list(assets))
        if url := os.environ.get("GEOLOC_GIT_URL"):
            files = dg.AnchorBasedFilePathMapping(SOURCE_ROOT / PACKAGE, PACKAGE)
            linked = dg.link_code_references_to_git(linked, url, os.environ.get("GEOLOC_GIT_REF") or "main", files)
    return [asset for asset in linked if isinstance(asset, dg.AssetsDefinition)]

"""Where the code of each asset is, as a link in the UI: in the repository where one is known, else the file itself."""

import os
import re
import subprocess
import warnings
from collections.abc import Sequence

import dagster as dg

from geoloc_core.line.project import SOURCE_ROOT

# Addresses as git keeps them: git@github.com:owner/name.git, https://user:token@github.com/owner/name.git, ...
REMOTE = re.compile(
    r"^(?:ssh://|https?://|git://)?(?:[^@/]*@)?(?P<host>github\.com|gitlab\.com)[:/](?P<path>[^/]+/.+?)(?:\.git)?/?$"
)


def with_code_references(assets: Sequence[dg.AssetsDefinition]) -> list[dg.AssetsDefinition]:
    """The assets, each with a link to its function.

    GEOLOC_GIT_URL names the repository (`https://github.com/OWNER/NAME`) and GEOLOC_GIT_REF the branch or commit; where
    they are not set, git's remote `origin` on GitHub or GitLab and the commit that is checked out.
    """
    with warnings.catch_warnings():
        # Dagster calls these functions beta; the version is pinned.
        warnings.simplefilter("ignore", dg.BetaWarning)
        referenced = dg.with_source_code_references(list(assets))
        url = os.environ.get("GEOLOC_GIT_URL") or repository_url(_git("remote", "get-url", "origin"))
        if url:
            mapping = dg.AnchorBasedFilePathMapping(
                local_file_anchor=SOURCE_ROOT / "geoloc_dagster" / "__init__.py",
                file_anchor_path_in_repository="geoloc_dagster/__init__.py",
            )
            reference = os.environ.get("GEOLOC_GIT_REF") or _git("rev-parse", "HEAD") or "main"
            referenced = dg.link_code_references_to_git(referenced, url, reference, mapping)
    return [asset for asset in referenced if isinstance(asset, dg.AssetsDefinition)]


def repository_url(remote: str) -> str:
    """The page of a remote on GitHub or GitLab, without the name or the token that may stand in it; else nothing."""
    found = REMOTE.match(remote)
    return f"https://{found['host']}/{found['path']}" if found else ""


def _git(*arguments: str) -> str:
    """What git says of the source tree; nothing where there is no git or no repository."""
    if not (SOURCE_ROOT / ".git").exists():
        return ""
    try:
        done = subprocess.run(["git", *arguments], cwd=SOURCE_ROOT, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""

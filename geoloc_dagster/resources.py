"""What assets work with: the project, and the record of what each making was made from."""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from geoloc_core.errors import StaleArtifactError
from geoloc_core.line.lineage import CODE_VERSIONS, Lineage, Outside, Target
from geoloc_core.line.project import Project, open_project
from geoloc_core.line.receipts import Receipt, Stamp, read_receipt, write_receipt
from geoloc_core.storage import file_sha256, value_sha256
from geoloc_dagster.columns import table_metadata


class Work:
    """One making of one target: its inputs' versions are taken down at the start, its receipt is written at the end."""

    def __init__(self, project: Project, context: dg.AssetExecutionContext) -> None:
        self.project = project
        self.context = context
        partition = str(context.partition_key) if context.has_partition_key else ""
        self.target = Target(context.asset_key.path[-1], partition)
        self.made_from = input_versions(project, self.target)
        self.started = time.monotonic()

    def finish(
        self,
        version: str,
        files: Iterable[Path] = (),
        rows: Mapping[str, int] | None = None,
        metadata: Mapping[str, Any] | None = None,
        watched: Iterable[Path] = (),
    ) -> dg.MaterializeResult:
        """Write the receipt and tell Dagster.

        `version` is a hash of the content, `files` all that belongs to it; `watched` are files that the target stands for
        without owning them: their change makes it out of date.
        """
        layout = self.project.layout
        files = list(files)
        stamps = {self._name(path): Stamp.of(path) for path in files}
        write_receipt(
            layout,
            Receipt(
                self.target,
                CODE_VERSIONS[self.target.asset],
                version,
                self.made_from,
                stamps,
                rows or {},
                self.context.run_id,
                watched={self._name(path): Stamp.of(path) for path in watched},
            ),
        )
        told = {
            "geoloc/made_from": dg.MetadataValue.json(self.made_from),
            "geoloc/seconds": round(time.monotonic() - self.started, 3),
            **(metadata or {}),
            **table_metadata(self.target.asset, next((file for file in files if file.suffix == ".parquet"), None)),
        }
        if stamps:
            told["dagster/size_bytes"] = sum(stamp.size for stamp in stamps.values())
            told["dagster/uri"] = str(layout.home / next(iter(stamps)))
        return dg.MaterializeResult(metadata=told, data_version=dg.DataVersion(version))

    def _name(self, path: Path) -> str:
        """Relative to the data folder where it lies below it, so that the folder can be moved."""
        home = self.project.layout.home
        return str(path.relative_to(home)) if path.is_relative_to(home) else str(path.absolute())


class ProjectResource(dg.ConfigurableResource):
    """The profile and the data folder. Empty values are taken from GEOLOC_PROFILE and GEOLOC_HOME, then the defaults."""

    profile: str = ""
    home: str = ""

    def open(self) -> Project:
        """The project of this run."""
        return open_project(self.profile or None, self.home or None)

    def begin(self, context: dg.AssetExecutionContext) -> Work:
        """Start the making of the target that a step is about."""
        return Work(self.open(), context)


def input_versions(project: Project, target: Target) -> dict[str, str]:
    """The version of every input of a target, as things stand; an input that was never made is an error that says so."""
    versions = {}
    for item in Lineage(project).inputs(target):
        if isinstance(item, Outside):
            versions[str(item)] = item.version()
            continue
        receipt = read_receipt(project.layout, item)
        if receipt is None:
            raise StaleArtifactError(
                f"{target} is made from {item}, which is not there; materialize {item.asset} first"
            )
        if receipt.refused:
            check, wrong = next(iter(receipt.refused.items()))
            raise StaleArtifactError(f"{target} is made from {item}, which its check {check} refused: {wrong}")
        versions[str(item)] = receipt.data_version
    return versions


def files_version(files: Iterable[Path]) -> str:
    """One version for several files: a hash of their names and contents."""
    return value_sha256([[path.name, file_sha256(path)] for path in sorted(files)])

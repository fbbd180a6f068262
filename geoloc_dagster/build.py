"""Dagster's assets and partitions, made from the table of artifacts (`geoloc_core.line.artifacts`).

All partitions are dynamic, because the profile and the landing folder decide
which there are while the code server goes on running; `synchronise` brings an instance's keys in line with a profile.
"""

import ast
import datetime
import os
import time
import warnings
from typing import Any

import dagster as dg

from geoloc_core.line.artifacts import DIMENSIONS, LINE, Artifact, Dimension, Selection, first, same, second
from geoloc_core.line.make import make
from geoloc_core.line.profile import Profile
from geoloc_core.line.project import SOURCE_ROOT
from geoloc_core.line.steps import Job
from geoloc_dagster.metadata import materialization
from geoloc_dagster.resources import ProjectResource
from geoloc_dagster.tracking import recorder

# One GPU, on whichever engine places the step; each engine reads its own. The pools, where only one step works at a time on one
# machine, are in the table of artifacts, and their limits in dagster.yaml.
GPU = {
    "dagster-k8s/config": {
        "container_config": {"resources": {"limits": {"nvidia.com/gpu": "1"}}},
        # Nodes with GPUs are commonly tainted, so that nothing else fills them.
        "pod_spec_config": {"tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]},
    },
    "dagster-ray/config": {"num_gpus": 1},
    "dagster-celery/queue": "gpu",
}
# Other partitions that are about to be made beside a run's own, separated by commas.
ALSO_TAG = "geoloc/also"
OWNERS = {"geography": "team:data", "photos": "team:data"}
# Results are remade when something changed, and the heads are looked at every Monday. So older than a week says that
# nothing new came, and older than a month that deliveries, or somebody's attention, have stopped.
MONTH, WEEK = datetime.timedelta(days=31), datetime.timedelta(days=8)
FRESHNESS = {"results": dg.FreshnessPolicy.time_window(fail_window=MONTH, warn_window=WEEK)}
PARTITIONS = {dimension: dg.DynamicPartitionsDefinition(name=f"{dimension.name}s") for dimension in DIMENSIONS}


def partitions_definition(row: Artifact) -> dg.PartitionsDefinition | None:
    """How an artifact is divided, in Dagster's terms."""
    if not row.by:
        return None
    if len(row.by) == 1:
        return PARTITIONS[row.by[0]]
    return dg.MultiPartitionsDefinition({dimension.name: PARTITIONS[dimension] for dimension in row.by})


def _dependency(row: Artifact, name: str, selection: Selection) -> dg.AssetDep:
    """An upstream asset; where Dagster cannot infer which of its partitions are meant, all of them."""
    above = LINE[name].by
    parts: dict[Selection, tuple[Dimension, ...]] = {same: row.by, first: row.by[:1], second: row.by[1:2]}
    inferred = not above or parts.get(selection, ()) == above
    return dg.AssetDep(name, partition_mapping=None if inferred else dg.AllPartitionMapping())


def build_asset(name: str) -> dg.AssetsDefinition:
    """The asset of one row of the table."""
    row = LINE[name]
    place, line, description = _source(row.group, name)

    @dg.asset(
        name=name,
        group_name=row.group,
        kinds=set(row.kinds),
        owners=[OWNERS.get(row.group, "team:ml")],
        partitions_def=partitions_definition(row),
        deps=[_dependency(row, upstream, selection) for upstream, selection in row.made_from.items()],
        pool=row.pool or None,
        op_tags=GPU if row.pool == "gpu" else None,
        code_version=row.version,
        description=description,
        freshness_policy=FRESHNESS.get(name),
        metadata={"dagster/code_references": _code_reference(place, line)},
    )
    def materialize(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
        opened, started = project.open(), time.monotonic()
        key = str(context.partition_key) if context.has_partition_key else ""
        also = tuple(filter(None, context.run.tags.get(ALSO_TAG, "").split(",")))
        job = Job(opened, key, also, context.log.warning)
        made = make(job, name, context.run_id, recorder(opened, name, key, context.run_id))
        return materialization(opened, made, time.monotonic() - started)

    return materialize


def _source(module: str, name: str) -> tuple[str, int, str]:
    """The file and the line of a step's function, and its docstring; read as text, as importing it would load torch."""
    place = f"geoloc_core/line/steps/{module}.py"
    tree = ast.parse((SOURCE_ROOT / place).read_text(encoding="utf-8"))
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    return place, function.lineno, ast.get_docstring(function) or ""


def _code_reference(place: str, line: int) -> dg.CodeReferencesMetadataValue:
    """A link to code: in the repository that GEOLOC_GIT_URL (and GEOLOC_GIT_REF) names, else the file."""
    repository = os.environ.get("GEOLOC_GIT_URL", "").rstrip("/")
    with warnings.catch_warnings():
        # Dagster calls code references beta; the version is pinned.
        warnings.simplefilter("ignore", dg.BetaWarning)
        if repository:
            reference = os.environ.get("GEOLOC_GIT_REF") or "main"
            link: Any = dg.UrlCodeReference(url=f"{repository}/blob/{reference}/{place}#L{line}")
        else:
            link = dg.LocalFileCodeReference(file_path=str(SOURCE_ROOT / place), line_number=line)
        return dg.CodeReferencesMetadataValue(code_references=[link])


ASSETS: dict[str, dg.AssetsDefinition] = {name: build_asset(name) for name in LINE}


def synchronise(instance: dg.DagsterInstance, profile: Profile) -> int:
    """Add the keys that an instance lacks and remove those that the profile no longer names; how many were changed."""
    changes = 0
    for dimension in DIMENSIONS:
        name, keys = f"{dimension.name}s", dimension.keys(profile)
        present = instance.get_dynamic_partitions(name)
        missing = [key for key in keys if key not in present]
        if missing:
            instance.add_dynamic_partitions(name, missing)
        superfluous = [key for key in present if key not in keys]
        for key in superfluous:
            instance.delete_dynamic_partition(name, key)
        changes += len(missing) + len(superfluous)
    return changes

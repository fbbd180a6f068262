"""What Dagster loads, and at what price."""

import subprocess
import sys

import dagster as dg
from dagster._core.definitions.freshness import TimeWindowFreshnessPolicy

from geoloc_core.line.lineage import ASSETS, CODE_VERSIONS, Lineage, Target
from geoloc_core.line.project import Project
from geoloc_dagster.definitions import defs
from geoloc_dagster.op_tags import GPU_POOL, WAREHOUSE_POOL
from geoloc_dagster.partitions import synchronise, wanted_keys

HEAVY = ("torch", "torchvision", "transformers", "open_clip", "mlflow", "great_expectations")


def test_definitions_load_and_hold_together() -> None:
    dg.Definitions.validate_loadable(defs)


def test_loading_the_definitions_imports_nothing_heavy() -> None:
    code = f"import sys, geoloc_dagster.definitions; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"


def test_every_asset_of_the_line_is_defined_with_group_owner_description_kind_and_code_version() -> None:
    specs = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}
    assert set(specs) == set(ASSETS)
    for name, spec in specs.items():
        assert spec.code_version == CODE_VERSIONS[name]
        assert spec.group_name in {"geography", "photos", "features", "learning", "evaluation"}
        assert spec.owners
        assert spec.kinds
        assert len(spec.description or "") > 40


def test_results_that_nobody_renewed_for_a_month_are_told() -> None:
    """Dagster's freshness daemon warns after eight days and fails after 31."""
    policies = {spec.key.to_user_string(): spec.freshness_policy for spec in defs.resolve_all_asset_specs()}
    policy = policies.pop("results")
    assert isinstance(policy, TimeWindowFreshnessPolicy)
    assert policy.warn_window is not None
    assert (policy.warn_window.to_timedelta().days, policy.fail_window.to_timedelta().days) == (8, 31)
    assert set(policies.values()) == {None}


def test_dagster_and_our_lineage_name_the_same_upstream_assets(made_project: Project) -> None:
    """What the UI draws and what the plan compares are one graph."""
    lineage = Lineage(made_project)
    for spec in defs.resolve_all_asset_specs():
        asset = spec.key.to_user_string()
        drawn = {dep.asset_key.to_user_string() for dep in spec.deps}
        compared = {
            item.asset
            for partition in lineage.partitions(asset)
            for item in lineage.inputs(Target(asset, partition))
            if isinstance(item, Target)
        }
        assert drawn == compared, asset


def test_heavy_steps_wait_in_pools() -> None:
    pools = {node.name: node.pool for node in (a.op for a in defs.assets or () if isinstance(a, dg.AssetsDefinition))}
    assert {name for name, pool in pools.items() if pool == GPU_POOL} == {"embeddings", "heads"}
    assert {name for name, pool in pools.items() if pool == WAREHOUSE_POOL} == {"labeled_photos", "training_photos"}


def test_partitions_follow_the_profile(made_project: Project, instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions("shards", ["gone"])
    moved = synchronise(instance, made_project.profile)
    assert moved == 3 + 1 + 2 + 2 + 1 + 1  # shards and benchmark, backbones, experiments, benchmarks, less "gone"
    for name, keys in wanted_keys(made_project.profile).items():
        assert sorted(instance.get_dynamic_partitions(name)) == sorted(keys)
    assert synchronise(instance, made_project.profile) == 0

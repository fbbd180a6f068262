"""What Dagster loads, and at what price."""

import subprocess
import sys

import dagster as dg
from dagster._core.definitions.freshness import TimeWindowFreshnessPolicy

from geoloc_core.line.artifacts import ASSETS, LINE, Target, partitions, upstream
from geoloc_core.line.project import Project
from geoloc_dagster.build import dynamic_keys, synchronise
from geoloc_dagster.definitions import defs
from geoloc_dagster.op_tags import GPU_POOL, WAREHOUSE_POOL

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
        assert spec.code_version == LINE[name].version
        assert spec.group_name in {"geography", "photos", "features", "learning", "evaluation"}
        assert spec.owners
        assert spec.kinds
        assert spec.description


def test_results_that_nobody_renewed_for_a_month_are_overdue() -> None:
    """Dagster's freshness daemon warns after eight days and fails after 31."""
    policies = {spec.key.to_user_string(): spec.freshness_policy for spec in defs.resolve_all_asset_specs()}
    policy = policies.pop("results")
    assert isinstance(policy, TimeWindowFreshnessPolicy)
    assert policy.warn_window is not None
    assert (policy.warn_window.to_timedelta().days, policy.fail_window.to_timedelta().days) == (8, 31)
    assert set(policies.values()) == {None}


def test_dagster_draws_the_edges_that_the_plan_compares(made_project: Project) -> None:
    """Down to the partition: what Dagster maps to, where it maps to a single key, is what the table selects."""
    for spec in defs.resolve_all_asset_specs():
        asset = spec.key.to_user_string()
        edges = {dep.asset_key.to_user_string() for dep in spec.deps}
        selected = {item.asset for key in partitions(made_project.profile, asset)
                    for item in upstream(made_project.profile, Target(asset, key))}  # fmt: skip
        assert edges == selected, asset
        for dep in spec.deps:
            everything = isinstance(dep.partition_mapping, dg.AllPartitionMapping)
            name = dep.asset_key.to_user_string()
            for key in partitions(made_project.profile, asset):
                chosen = [item for item in upstream(made_project.profile, Target(asset, key)) if item.asset == name]
                assert everything or len(chosen) == 1, (asset, name)


def test_heavy_steps_wait_in_pools() -> None:
    pools = {node.name: node.pool for node in (a.op for a in defs.assets or () if isinstance(a, dg.AssetsDefinition))}
    assert {name for name, pool in pools.items() if pool == GPU_POOL} == {"embeddings", "heads"}
    assert {name for name, pool in pools.items() if pool == WAREHOUSE_POOL} == {"labeled_photos", "training_photos"}


def test_partitions_follow_the_profile(made_project: Project, instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions("shards", ["gone"])
    assert synchronise(instance, made_project.profile) > 1
    for name, keys in dynamic_keys(made_project.profile):
        assert sorted(instance.get_dynamic_partitions(name)) == sorted(keys)
    assert synchronise(instance, made_project.profile) == 0

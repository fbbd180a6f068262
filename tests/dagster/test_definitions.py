"""What Dagster loads, and at what price."""

import json
import subprocess
import sys

import dagster as dg
from dagster._core.definitions.freshness import TimeWindowFreshnessPolicy

from geoloc_core.line.artifacts import ASSETS, DIMENSIONS, LINE, Target, partitions, upstream
from geoloc_core.line.project import Project
from geoloc_dagster.build import GPU, synchronise
from geoloc_dagster.definitions import defs

# Kinds that the UI of this version draws an icon for.
WITH_ICON = {"duckdb", "pytorch", "huggingface", "mlflow", "pandas", "pandera", "parquet", "file", "markdown", "numpy"}
HEAVY = ("torch", "torchvision", "transformers", "open_clip", "mlflow", "great_expectations")


def test_definitions_load_and_hold_together() -> None:
    dg.Definitions.validate_loadable(defs)


def test_loading_the_definitions_imports_nothing_heavy() -> None:
    code = f"import sys, geoloc_dagster.definitions; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"


def test_every_asset_is_the_tables_row_and_everything_is_described_and_drawn_with_icons() -> None:
    specs = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}
    assert set(specs) == set(ASSETS)
    for name, spec in specs.items():
        assert (spec.code_version, spec.group_name) == (LINE[name].version, LINE[name].group)
        assert spec.owners
        assert spec.description
        assert set() < spec.kinds <= WITH_ICON, name
    for check in defs.asset_checks or ():
        assert all(check_spec.description for check_spec in check.check_specs)
    assert all(sensor.description for sensor in defs.sensors or () if isinstance(sensor, dg.SensorDefinition))


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


def test_heavy_steps_wait_in_pools_and_are_tagged_for_every_engine() -> None:
    steps = {asset.op.name: asset.op for asset in defs.assets or () if isinstance(asset, dg.AssetsDefinition)}
    assert {name for name, op in steps.items() if op.pool == "warehouse"} == {"labeled_photos", "training_photos"}
    on_gpu = {name for name, op in steps.items() if op.pool == "gpu"}
    assert on_gpu == {name for name, op in steps.items() if "dagster-ray/config" in op.tags} == {"embeddings", "heads"}
    for name in on_gpu:
        for engine, expected in GPU.items():
            tag = steps[name].tags[engine]
            assert (json.loads(tag) if isinstance(tag, str) and tag.startswith("{") else tag) == expected


def test_partitions_follow_the_profile(made_project: Project, instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions("shards", ["gone"])
    assert synchronise(instance, made_project.profile) > 1
    for dimension in DIMENSIONS:
        keys = dimension.keys(made_project.profile)
        assert sorted(instance.get_dynamic_partitions(f"{dimension.name}s")) == sorted(keys)
    assert synchronise(instance, made_project.profile) == 0

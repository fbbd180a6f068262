"""How artifacts are divided.

Shards, backbones, experiments and benchmarks are dynamic partitions, because the profile and the landing folder decide
which there are while the code server goes on running; `synchronise` brings an instance's keys in line with a profile.
Levels are fixed by the boundary set. See https://docs.dagster.io/guides/build/partitions-and-backfills.
"""

import dagster as dg

from geoloc_core.line.profile import REGION_LEVELS, Profile

SHARDS = dg.DynamicPartitionsDefinition(name="shards")
BACKBONES = dg.DynamicPartitionsDefinition(name="backbones")
EXPERIMENTS = dg.DynamicPartitionsDefinition(name="experiments")
BENCHMARKS = dg.DynamicPartitionsDefinition(name="benchmarks")
LEVELS = dg.StaticPartitionsDefinition(list(REGION_LEVELS))
SHARDS_BY_BACKBONE = dg.MultiPartitionsDefinition({"backbone": BACKBONES, "shard": SHARDS})
EXPERIMENTS_BY_BENCHMARK = dg.MultiPartitionsDefinition({"benchmark": BENCHMARKS, "experiment": EXPERIMENTS})


def wanted_keys(profile: Profile) -> dict[str, tuple[str, ...]]:
    """The keys that each dynamic partitions definition should have, by its name."""
    return {
        "shards": profile.shards(),
        "backbones": profile.backbones(),
        "experiments": profile.experiment_keys(),
        "benchmarks": profile.benchmark_names(),
    }


def synchronise(instance: dg.DagsterInstance, profile: Profile) -> int:
    """Add the keys that an instance lacks and take away those that the profile no longer names; how many were moved."""
    moved = 0
    for name, wanted in wanted_keys(profile).items():
        present = instance.get_dynamic_partitions(name)
        missing = [key for key in wanted if key not in present]
        if missing:
            instance.add_dynamic_partitions(name, missing)
        gone = [key for key in present if key not in wanted]
        for key in gone:
            instance.delete_dynamic_partition(name, key)
        moved += len(missing) + len(gone)
    return moved

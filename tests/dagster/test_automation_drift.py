"""The sensor `drift`: the evidence, and who asks for the heads."""

from collections.abc import Callable

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from geoloc_core.features.shards import read_shard, write_shard
from geoloc_core.line.lineage import Lineage, Target
from geoloc_core.line.plan import State
from geoloc_core.line.project import Project
from geoloc_core.line.receipts import Receipt, read_receipt, write_receipt
from geoloc_dagster.automation.drifting import learned_and_new, shard_drift
from geoloc_dagster.automation.sensors import drift_tick

Edit = Callable[..., Project]


def forget(project: Project, shard: str) -> None:
    """Heads as they would be had they been trained before this shard came."""
    for key in project.profile.experiment_keys():
        receipt = read_receipt(project.layout, Target("heads", key))
        assert receipt is not None
        known = {name: version for name, version in receipt.made_from.items() if f"|{shard}]" not in name}
        write_receipt(project.layout, Receipt(**{**vars(receipt), "made_from": known}))


def move_away(project: Project, shard: str) -> None:
    """Photos of this shard were all taken in one far country, by twenty people, and look like nothing before."""
    rows = project.warehouse().read_table("labeled_photos", {"shard": shard})
    rows["country_id"] = "FJI"
    rows["author_id"] = [f"traveller{row % 20}" for row in range(len(rows))]
    project.warehouse().replace_shard("labeled_photos", shard, rows)


def state_of(project: Project) -> State:
    return State(Lineage(project))


def test_shards_that_the_heads_learned_from_are_told_from_new_ones(copy: Project) -> None:
    assert learned_and_new(state_of(copy)) == (["sample-00", "sample-01", "sample-02"], [])
    forget(copy, "sample-02")
    assert learned_and_new(state_of(copy)) == (["sample-00", "sample-01"], ["sample-02"])
    copy.layout.receipt("embeddings", "tiny-vit|sample-02").unlink()
    assert learned_and_new(state_of(copy)) == (["sample-00", "sample-01"], [])


def test_a_shard_of_another_country_is_drift_with_figures(copy: Project) -> None:
    forget(copy, "sample-02")
    before = shard_drift(state_of(copy), ["sample-00", "sample-01"], "sample-02")
    assert {drift.what for drift in before.drifts} == {
        "the distribution over countries", "the mean vector of tiny-clip", "the mean vector of tiny-vit",
    }  # fmt: skip
    move_away(copy, "sample-02")
    after = shard_drift(state_of(copy), ["sample-00", "sample-01"], "sample-02")
    (found,) = [drift for drift in after.found if drift.what == "the distribution over countries"]
    assert found.statistic > 0.9


def test_moved_vectors_are_drift(copy: Project) -> None:
    path = copy.layout.embeddings("tiny-vit", "sample-02")
    block, _ = read_shard(path)
    from geoloc_core.features.backbones import backbone
    from geoloc_core.features.checkpoints import open_checkpoint

    block.vectors[block.ok] += np.float16(3 * block.vectors[block.ok].std())
    write_shard(path, block, open_checkpoint(backbone("tiny-vit"), copy.checkpoints).identity)
    found = shard_drift(state_of(copy), ["sample-00", "sample-01"], "sample-02").found
    assert "the mean vector of tiny-vit" in {drift.what for drift in found}


@pytest.mark.parametrize("retraining", ["always", "asked"])
def test_drift_asks_for_the_heads_only_where_the_profile_leaves_them_to_it(
    copy: Project, own_instance: dg.DagsterInstance, edit: Edit, retraining: str
) -> None:
    forget(copy, "sample-02")
    move_away(copy, "sample-02")
    project = edit(copy, retraining=retraining)
    result = drift_tick(project, own_instance, [])
    assert isinstance(result, dg.SensorResult)
    (observation,) = result.asset_events
    assert observation.asset_key == dg.AssetKey("labeled_photos")
    assert observation.partition == "sample-02"
    assert observation.metadata["the distribution over countries"].value > 0.9
    requests = result.run_requests or []
    if retraining == "always":
        assert requests == []
        assert "sample-02: the distribution over countries differs" in result.skip_reason.skip_message
    else:
        assert {request.partition_key for request in requests} == set(project.profile.experiment_keys())
        assert all("the distribution over countries differs" in request.tags["geoloc/drift"] for request in requests)
        assert requests[0].tags["geoloc/reason"].startswith("drift: sample-02: ")
    # The same evidence is not observed twice, and the same state keeps its run keys.
    again = drift_tick(project, own_instance, [], cursor=result.cursor or "")
    assert isinstance(again, dg.SensorResult)
    assert again.asset_events == []
    assert [request.run_key for request in again.run_requests or []] == [request.run_key for request in requests]


def test_without_a_new_shard_there_is_nothing_to_compare(copy: Project, own_instance: dg.DagsterInstance) -> None:
    told = drift_tick(copy, own_instance, [])
    assert isinstance(told, dg.SkipReason)
    assert told.skip_message == "no shard is new to the heads"
    assert pd.Series(copy.warehouse().shards("labeled_photos")).is_unique

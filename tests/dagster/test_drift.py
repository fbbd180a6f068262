"""The sensor `drift`: the evidence, and who requests the heads."""

from collections.abc import Callable

import dagster as dg

from geoloc_core.line.artifacts import Target
from geoloc_core.line.project import Project
from geoloc_core.line.receipts import Receipt, read_receipt, write_receipt
from geoloc_dagster.sensors import drift_tick

Edit = Callable[..., Project]
SHARD = "sample-02"


def unlearn(project: Project) -> None:
    """Heads as they would be had they been trained before the shard came."""
    for key in project.profile.experiment_keys():
        receipt = read_receipt(project.layout, Target("heads", key))
        assert receipt is not None
        rest = {name: version for name, version in receipt.made_from.items() if f"|{SHARD}]" not in name}
        write_receipt(project.layout, Receipt(**{**vars(receipt), "made_from": rest}))


def move_away(project: Project) -> None:
    """Photos of this shard were all taken in one far country, by twenty people."""
    rows = project.warehouse().read_table("labeled_photos", {"shard": SHARD})
    rows["country_id"] = "FJI"
    rows["author_id"] = [f"traveller{row % 20}" for row in range(len(rows))]
    project.warehouse().replace_shard("labeled_photos", SHARD, rows)


def test_drift_requests_the_heads_only_where_the_profile_leaves_them_to_it(
    copy: Project, own_instance: dg.DagsterInstance, edit: Edit
) -> None:
    tick = drift_tick(copy, own_instance, [])
    assert isinstance(tick, dg.SkipReason)
    assert tick.skip_message == "no shard is new to the heads"

    unlearn(copy)
    move_away(copy)
    tick = drift_tick(edit(copy, retraining="always"), own_instance, [])
    assert isinstance(tick, dg.SkipReason)
    assert f"{SHARD}: " in str(tick.skip_message)
    assert "nats between" in str(tick.skip_message)

    project = edit(copy, retraining="asked")
    # The same state keeps its run keys.
    ticks = [drift_tick(project, own_instance, []) for _ in range(2)]
    requests, again = [tick.run_requests or [] for tick in ticks if isinstance(tick, dg.SensorResult)]
    assert {request.partition_key for request in requests} == set(project.profile.experiment_keys())
    assert all(request.tags["geoloc/reason"].startswith(f"drift: {SHARD}: ") for request in requests)
    assert [request.run_key for request in again] == [request.run_key for request in requests]

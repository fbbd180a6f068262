"""The check `current`: the graph says which partitions are stale, and why."""

import dagster as dg

from geoloc_core.line.artifacts import ASSETS
from geoloc_core.line.project import Project
from geoloc_core.line.staleness import State, make_plan, standings
from geoloc_dagster.checks.standing import CURRENT, report_current
from geoloc_dagster.definitions import defs
from geoloc_dagster.refresh import refresh, run_config


def last_answers(instance: dg.DagsterInstance) -> dict[str, dg.AssetCheckEvaluation]:
    keys = [dg.AssetCheckKey(dg.AssetKey(asset), CURRENT) for asset in ASSETS]
    records = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    return {key.asset_key.path[-1]: record.evaluation for key, record in records.items() if record.evaluation}


def reported(instance: dg.DagsterInstance, project: Project) -> list[str]:
    return report_current(instance, project, make_plan(State(project)))


def test_the_graph_says_what_is_missing_and_stale_and_why_until_a_refresh_brings_all_back_to_green(copy, own_instance):
    answers = last_answers(own_instance)
    assert set(answers) == set(ASSETS)
    assert all(answer.passed for answer in answers.values())
    assert answers["embeddings"].metadata["partitions"].value == 2 * 4
    assert answers["embeddings"].description == "all 8 current"
    assert reported(own_instance, copy) == []
    # An answer older than the asset is given again: the UI would grey it out.
    own_instance.report_runless_asset_event(dg.AssetMaterialization("regions"))
    assert reported(own_instance, copy) == ["regions"]

    # One stale partition of embeddings, one missing shard of images, and what lies downstream of them.
    copy.layout.embeddings("tiny-vit", "sample-02").unlink()
    copy.layout.receipt("images", "sample-01").unlink()
    standing = {standing.asset: standing for standing in standings(copy, make_plan(State(copy)))}
    stale = {step.target.partition: step.why for step in standing["embeddings"].stale}
    assert set(stale) == {"tiny-clip|sample-01", "tiny-vit|sample-01", "tiny-vit|sample-02"}
    assert stale["tiny-vit|sample-02"] == "embeddings/tiny-vit/sample-02.parquet is gone"
    assert standing["images"].sentence == "1 missing of 4, for example images[sample-01]: not made yet"
    assert standing["regions"].current
    assert standing["class_weights"].sentence == "all 2 current; 2 may follow what is stale upstream"

    changed = set(reported(own_instance, copy))
    assert {"images", "embeddings", "training_photos", "heads"} <= changed
    assert changed.isdisjoint({"regions", "raw_photos"})
    answers = last_answers(own_instance)
    assert not answers["images"].passed
    assert answers["images"].severity == dg.AssetCheckSeverity.WARN
    assert answers["images"].metadata["missing"].value == 1
    row = "| tiny-vit\\|sample-02 | stale | embeddings/tiny-vit/sample-02.parquet is gone |"
    assert row in answers["embeddings"].metadata["why"].value
    assert reported(own_instance, copy) == []

    # A run of the check alone, as the button `Execute` on its page starts it.
    key = dg.AssetCheckKey(dg.AssetKey("embeddings"), CURRENT)
    job = defs.resolve_implicit_global_asset_job_def().get_subset(asset_check_selection={key})
    (answer,) = job.execute_in_process(run_config=run_config(copy), instance=own_instance).get_asset_check_evaluations()
    assert answer.asset_key.to_user_string() == "embeddings"
    assert not answer.passed
    assert answer.metadata["stale"].value == 3

    assert refresh(copy, own_instance, defs).well
    assert all(answer.passed for answer in last_answers(own_instance).values())

"""The check `current`: the graph tells which partitions are stale, and why."""

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


def spoil(project: Project) -> None:
    """One stale partition of embeddings, one missing shard of images, and what lies downstream of them."""
    project.layout.embeddings("tiny-vit", "sample-02").unlink()
    project.layout.receipt("images", "sample-01").unlink()


def test_a_refresh_ends_with_every_asset_told_current(copy: Project, own_instance: dg.DagsterInstance) -> None:
    answers = last_answers(own_instance)
    assert set(answers) == set(ASSETS)
    assert all(answer.passed for answer in answers.values())
    assert answers["embeddings"].metadata["partitions"].value == 2 * 4
    assert answers["embeddings"].description == "all 8 current"


def test_the_missing_and_the_stale_partitions_are_named_with_the_reason(copy: Project) -> None:
    spoil(copy)
    by_asset = {standing.asset: standing for standing in standings(copy, make_plan(State(copy)))}
    assert [str(step.target) for step in by_asset["embeddings"].stale] == [
        "embeddings[tiny-clip|sample-01]",
        "embeddings[tiny-vit|sample-01]",
        "embeddings[tiny-vit|sample-02]",
    ]
    assert by_asset["embeddings"].stale[2].why == "embeddings/tiny-vit/sample-02.parquet is gone"
    assert [str(step.target) for step in by_asset["images"].missing] == ["images[sample-01]"]
    assert by_asset["images"].sentence == "1 missing of 4, for example images[sample-01]: not made yet"
    assert by_asset["regions"].current
    assert by_asset["class_weights"].current
    assert by_asset["class_weights"].sentence == "all 2 current; 2 may follow what is stale upstream"


def test_an_instance_is_told_only_what_changed(copy: Project, own_instance: dg.DagsterInstance) -> None:
    assert report_current(own_instance, copy, make_plan(State(copy))) == []
    spoil(copy)
    told = report_current(own_instance, copy, make_plan(State(copy)))
    assert {"images", "embeddings", "training_photos", "heads"} <= set(told)
    assert "regions" not in told
    assert "raw_photos" not in told
    answers = last_answers(own_instance)
    assert not answers["images"].passed
    assert answers["images"].severity == dg.AssetCheckSeverity.WARN
    assert answers["images"].metadata["missing"].value == 1
    assert (
        "| tiny-vit\\|sample-02 | stale | embeddings/tiny-vit/sample-02.parquet is gone |"
        in answers["embeddings"].metadata["why"].value
    )
    assert report_current(own_instance, copy, make_plan(State(copy))) == []


def test_an_answer_older_than_the_asset_is_given_again(copy: Project, own_instance: dg.DagsterInstance) -> None:
    """Otherwise the UI greys it out."""
    own_instance.report_runless_asset_event(dg.AssetMaterialization("regions"))
    assert report_current(own_instance, copy, make_plan(State(copy))) == ["regions"]


def test_the_ui_can_ask_it_of_one_asset(copy: Project, own_instance: dg.DagsterInstance) -> None:
    """As the button `Execute` on the check's page does: a run of the check alone."""
    spoil(copy)
    key = dg.AssetCheckKey(dg.AssetKey("embeddings"), CURRENT)
    job = defs.resolve_implicit_global_asset_job_def().get_subset(asset_check_selection={key})
    done = job.execute_in_process(run_config=run_config(copy), instance=own_instance)
    (answer,) = done.get_asset_check_evaluations()
    assert answer.asset_key.to_user_string() == "embeddings"
    assert not answer.passed
    assert answer.metadata["stale"].value == 3


def test_refresh_brings_the_graph_back_to_green(copy: Project, own_instance: dg.DagsterInstance) -> None:
    spoil(copy)
    report_current(own_instance, copy, make_plan(State(copy)))
    assert refresh(copy, own_instance, defs).well
    assert all(answer.passed for answer in last_answers(own_instance).values())

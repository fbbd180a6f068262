"""Only what changed: real runs against a real instance. See test_refresh_learning.py for what retrains heads."""

import dataclasses
import shutil

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from geoloc_core.answers.predict import Predictor
from geoloc_core.errors import GeolocError
from geoloc_core.line.artifacts import LINE, Target
from geoloc_core.line.project import Project
from geoloc_dagster.definitions import defs
from geoloc_dagster.refresh import open_instance, project_plan, refresh, refresh_lock

LEARNED = {"heads", "validation_report", "benchmark_report", "results", "champion"}


def names(targets: list[Target]) -> set[str]:
    return {target.asset for target in targets}


def test_same_bytes_upstream_make_nothing_downstream_stale(copy, own_instance, monkeypatch):
    """A lost receipt, a deleted file and a raised code version: each is made anew, and that is all."""
    assert not project_plan(copy, own_instance)
    before = LINE["class_weights"].version
    monkeypatch.setitem(LINE, "class_weights", dataclasses.replace(LINE["class_weights"], version="next"))
    plan = project_plan(copy, own_instance)
    weights = [Target("class_weights", level) for level in ("country", "subdivision")]
    assert [step.target for step in plan.steps] == weights
    assert str(plan.steps[0].reasons[0]) == f"code version: {before} -> next"
    assert names(list(plan.following)) == LEARNED

    shard = Target("embeddings", "tiny-vit|sample-02")
    copy.layout.embeddings("tiny-vit", "sample-02").unlink()
    copy.layout.receipt("raw_photos", "sample-01").unlink()
    steps = {step.target: str(step.reasons[0]) for step in project_plan(copy, own_instance).steps}
    assert steps[shard].endswith("sample-02.parquet is gone")
    assert set(refresh(copy, own_instance, defs).made) == {*weights, shard, Target("raw_photos", "sample-01")}
    again = refresh(copy, own_instance, defs)
    assert again.well
    assert not again


@pytest.mark.parametrize("content", [b"", b"this is no database" * 100], ids=["empty", "garbage"])
def test_a_damaged_warehouse_is_set_aside_and_filled_again(copy, own_instance, content):
    warehouse = copy.layout.warehouse
    warehouse.write_bytes(content)
    assert names([step.target for step in project_plan(copy, own_instance).steps]) == {
        "labeled_photos", "training_photos",
    }  # fmt: skip
    outcome = refresh(copy, own_instance, defs)
    assert outcome.well, outcome.failed
    assert names(outcome.made) == {"labeled_photos", "training_photos"}
    assert len(outcome.made) == 4 + 1
    assert warehouse.with_name("warehouse.duckdb.damaged").read_bytes() == content


def test_a_fresh_instance_learns_of_what_lies_there_without_making_it_again(copy: Project) -> None:
    shutil.rmtree(copy.layout.dagster_home)
    with open_instance(copy.layout) as fresh:
        plan = project_plan(copy, fresh)
        assert plan.steps == ()
        assert len(plan.unregistered) > 30
        outcome = refresh(copy, fresh, defs)
        assert outcome.made == []
        assert len(outcome.registered) == len(plan.unregistered)
        assert not project_plan(copy, fresh)


def test_a_failure_is_reported_and_stops_only_what_is_downstream(copy, own_instance, edit, tmp_path):
    benchmark = {"name": "mine", "metadata": str(tmp_path / "absent.csv"), "images": str(tmp_path)}
    broken = edit(copy, benchmarks=[benchmark])
    with refresh_lock(copy.layout), pytest.raises(GeolocError, match="another refresh is at work"):
        refresh(broken, own_instance, defs)
    outcome = refresh(broken, own_instance, defs)
    assert list(outcome.failed) == [Target("deliveries", "mine")]
    assert outcome.failed[Target("deliveries", "mine")].startswith("the metadata of 'mine', ")
    assert "absent.csv, does not exist; correct `metadata`" in outcome.failed[Target("deliveries", "mine")]
    assert outcome.faults == []
    assert Target("labeled_photos", "mine") in outcome.blocked
    assert not outcome.well
    assert own_instance.get_runs(limit=1)[0].status == dg.DagsterRunStatus.FAILURE


def test_another_benchmark_and_another_way_to_answer_train_nothing(copy, own_instance, edit):
    """Case g; and with photos of the answered region reports, packages and answers to single photos say the same."""
    source, metadata = copy.layout.delivery("bench-a"), copy.layout.home.parent / "second.csv"
    metadata.write_text("".join((source / "metadata.csv").read_text().splitlines(keepends=True)[:9]))
    second = {"name": "second", "metadata": str(metadata), "images": str(source / "images")}
    linear, key = "clip.linear.country.thesis", "clip+vit.linear.hierarchical.default"
    nearest = edit(copy, benchmarks=[second], experiments=[linear, {"key": key, "answer": "nearest_photo"}])
    outcome = refresh(nearest, own_instance, defs)
    assert outcome.well, outcome.failed
    partitions = {name: {t.partition for t in outcome.made if t.asset == name} for name in names(outcome.made)}
    assert partitions["embeddings"] == {"tiny-clip|second", "tiny-vit|second"}
    assert partitions["validation_report"] == {key}
    assert partitions["benchmark_report"] == {f"bench-a|{key}", f"second|{key}", f"second|{linear}"}
    assert partitions.keys().isdisjoint({"heads", "class_weights", "region_anchors", "backbones"})

    layout = nearest.layout
    report = pd.read_parquet(layout.benchmark_report(key, "bench-a") / "predictions.parquet")
    report = report[report["status"] == "ok"].head(6)
    places = nearest.warehouse().read_table("training_photos", {"split": "train"}, columns=["latitude", "longitude"])
    taken = set(zip(places["latitude"], places["longitude"], strict=True))
    anchors = pd.read_parquet(layout.region_anchors("subdivision"))
    anchored = set(zip(anchors["latitude"], anchors["longitude"], strict=True))
    points = list(zip(report["predicted_latitude"], report["predicted_longitude"], strict=True))
    assert set(points) <= taken | anchored
    assert len(set(points) & taken) >= 3

    manifest = pd.read_parquet(layout.images("bench-a")).set_index("photo_id")
    photos = [source / "images" / manifest.loc[photo, "image_path"] for photo in report["photo_id"]]
    packed = layout.packed_head(key)
    assert (packed / "head" / "references.safetensors").is_file()
    answers = Predictor.load(packed, nearest.checkpoints, device="cpu").predict(photos)
    assert np.allclose([(answer.latitude, answer.longitude) for answer in answers], points, atol=1e-4)
    assert not (layout.packed_head(linear) / "head" / "references.safetensors").exists()

"""Only what changed: real runs against a real instance."""

import dataclasses
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from geoloc_core.answers.predict import Predictor
from geoloc_core.errors import GeolocError
from geoloc_core.line.artifacts import LINE, Target
from geoloc_core.line.project import Project
from geoloc_core.line.receipts import read_receipt
from geoloc_dagster.definitions import defs
from geoloc_dagster.refresh import open_instance, project_plan, refresh, refresh_lock

Edit = Callable[..., Project]


def names(targets: list[Target]) -> set[str]:
    return {target.asset for target in targets}


def test_after_a_refresh_nothing_is_out_of_date(copy: Project, own_instance: dg.DagsterInstance) -> None:
    assert not project_plan(copy, own_instance)
    outcome = refresh(copy, own_instance, defs)
    assert outcome.made == []
    assert outcome.well


def test_same_bytes_upstream_remake_nothing_downstream(copy: Project, own_instance: dg.DagsterInstance) -> None:
    copy.layout.receipt("raw_photos", "sample-01").unlink()
    outcome = refresh(copy, own_instance, defs)
    assert outcome.made == [Target("raw_photos", "sample-01")]


def test_a_raised_code_version_remakes_that_asset_and_stops_where_bytes_are_equal(
    copy: Project, own_instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = LINE["class_weights"].version
    monkeypatch.setitem(LINE, "class_weights", dataclasses.replace(LINE["class_weights"], version="next"))
    plan = project_plan(copy, own_instance)
    assert {step.target for step in plan.steps} == {
        Target("class_weights", level) for level in ("country", "subdivision")
    }
    assert str(plan.steps[0].reasons[0]) == f"code version: {before} -> next"
    assert names(list(plan.following)) == {"heads", "validation_report", "benchmark_report", "results", "champion"}
    assert names(refresh(copy, own_instance, defs).made) == {"class_weights"}


def test_a_deleted_file_is_seen_and_made_again(copy: Project, own_instance: dg.DagsterInstance) -> None:
    copy.layout.embeddings("tiny-vit", "sample-02").unlink()
    plan = project_plan(copy, own_instance)
    assert [step.target for step in plan.steps] == [Target("embeddings", "tiny-vit|sample-02")]
    assert "is gone" in str(plan.steps[0].reasons[0])
    assert refresh(copy, own_instance, defs).made == [Target("embeddings", "tiny-vit|sample-02")]


def test_a_lost_warehouse_is_seen_and_filled_again(copy: Project, own_instance: dg.DagsterInstance) -> None:
    copy.layout.warehouse.unlink()
    outcome = refresh(copy, own_instance, defs)
    assert names(outcome.made) == {"labeled_photos", "training_photos"}
    assert len(outcome.made) == 4 + 1


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


def test_a_removed_shard_leaves_the_warehouse_and_what_was_made_with_it_follows(
    copy: Project, own_instance: dg.DagsterInstance, edit: Edit
) -> None:
    drawn = {"seed": 11, "shards": 2, "photos_per_shard": 40, "benchmarks": {"bench-a": 24}}
    fewer = edit(copy, drawn=drawn)
    outcome = refresh(fewer, own_instance, defs)
    assert outcome.well, outcome.failed
    assert Target("labeled_photos", "sample-02") in outcome.removed
    assert fewer.warehouse().shards("labeled_photos") == ["bench-a", "sample-00", "sample-01"]
    assert not copy.layout.embeddings("tiny-clip", "sample-02").exists()
    assert {"training_photos", "heads", "results"} <= names(outcome.made)
    assert "embeddings" not in names(outcome.made)


def test_another_recipe_is_another_experiment_and_embeds_nothing(
    copy: Project, own_instance: dg.DagsterInstance, edit: Edit
) -> None:
    other = edit(copy, experiments=["clip.linear.country.default", "clip+vit.linear.hierarchical.default"])
    outcome = refresh(other, own_instance, defs)
    assert names(outcome.made) == {"heads", "validation_report", "benchmark_report", "results", "champion"}
    assert [t.partition for t in outcome.made if t.asset == "heads"] == ["clip.linear.country.default"]


def test_another_way_to_answer_remakes_reports_and_trains_nothing(
    copy: Project, own_instance: dg.DagsterInstance, edit: Edit
) -> None:
    """And with photos of the answered region: reports, packages and answers to single photos say the same."""
    key = "clip+vit.linear.hierarchical.default"
    nearest = edit(copy, experiments=["clip.linear.country.thesis", {"key": key, "answer": "nearest_photo"}])
    outcome = refresh(nearest, own_instance, defs)
    assert outcome.well, outcome.failed
    assert {target.partition for target in outcome.made if target.asset.endswith("_report")} == {key, f"bench-a|{key}"}
    assert names(outcome.made) <= {"validation_report", "benchmark_report", "results", "champion"}

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
    root = layout.delivery("bench-a") / "images"
    photos = [root / manifest.loc[photo, "image_path"] for photo in report["photo_id"]]
    packed = layout.packed_head(key)
    assert (packed / "head" / "references.safetensors").is_file()
    predictor = Predictor.load(packed, nearest.checkpoints, device="cpu")
    told = [(answer.latitude, answer.longitude) for answer in predictor.predict(photos)]
    assert np.allclose(told, points, atol=1e-4)
    assert not (layout.packed_head("clip.linear.country.thesis") / "head" / "references.safetensors").exists()


def test_a_failure_is_reported_and_stops_only_what_is_downstream(
    copy: Project, own_instance: dg.DagsterInstance, edit: Edit, tmp_path: Path
) -> None:
    benchmark = {"name": "mine", "metadata": str(tmp_path / "absent.csv"), "images": str(tmp_path)}
    broken = edit(copy, benchmarks=[benchmark])
    outcome = refresh(broken, own_instance, defs)
    assert list(outcome.failed) == [Target("deliveries", "mine")]
    assert outcome.failed[Target("deliveries", "mine")].startswith("the metadata of 'mine', ")
    assert "absent.csv, does not exist; correct `metadata`" in outcome.failed[Target("deliveries", "mine")]
    assert outcome.faults == []
    assert Target("labeled_photos", "mine") in outcome.blocked
    assert not outcome.well
    run = own_instance.get_runs(limit=1)[0]
    assert run.status == dg.DagsterRunStatus.FAILURE


def test_two_refreshes_at_once_one_works_and_one_says_so(copy: Project, own_instance: dg.DagsterInstance) -> None:
    with refresh_lock(copy.layout), pytest.raises(GeolocError, match="another refresh is at work"):
        refresh(copy, own_instance, defs)


def test_the_instance_shows_what_each_was_made_from(copy: Project, own_instance: dg.DagsterInstance) -> None:
    event = own_instance.get_latest_materialization_event(dg.AssetKey("training_photos"))
    assert event is not None
    made = event.asset_materialization
    assert made is not None
    made_from = made.metadata["geoloc/made_from"].value
    assert isinstance(made_from, dict)
    assert "labeled_photos[sample-00]" in made_from
    assert made.metadata["dagster/row_count"].value == made.metadata["train"].value + made.metadata["validation"].value


def with_own_shard(project: Project, edit: Edit) -> tuple[Project, Path]:
    """The project with a fourth training shard, `mine`, whose metadata file a test may change."""
    source = project.layout.delivery("sample-01")
    metadata = project.layout.home.parent / "mine.csv"
    lines = (source / "metadata.csv").read_text().splitlines(keepends=True)
    metadata.write_text("".join(lines[:13]))
    entry = {"name": "mine", "metadata": str(metadata), "images": str(source / "images")}
    return edit(project, training=[entry]), metadata


def test_new_content_of_one_shard_remakes_its_labels_and_what_learns_from_them(
    copy: Project, own_instance: dg.DagsterInstance, edit: Edit
) -> None:
    """Case b, twice: other coordinates wake no embedding; another picture wakes that shard's embeddings alone."""
    project, metadata = with_own_shard(copy, edit)
    first = refresh(project, own_instance, defs)
    assert first.well, first.failed
    assert {target.partition for target in first.made if target.asset == "embeddings"} == {
        "tiny-clip|mine",
        "tiny-vit|mine",
    }

    header, row, *rest = metadata.read_text().splitlines(keepends=True)
    cells = row.split(",")
    cells[2:4] = ["-33.865000", "151.209000"]
    metadata.write_text("".join([header, ",".join(cells), *rest]))
    moved = refresh(project, own_instance, defs)
    assert moved.well, moved.failed
    by_shard = {
        target for target in moved.made if target.asset in {"deliveries", "raw_photos", "images", "labeled_photos"}
    }
    assert {target.partition for target in by_shard} == {"mine"}
    assert "embeddings" not in names(moved.made)
    assert {"training_photos", "class_weights", "heads", "results"} <= names(moved.made)

    other = rest[-1].replace(rest[-1].split(",")[0], "no/such/picture.jpg")
    metadata.write_text("".join([header, ",".join(cells), *rest[:-1], other]))
    repictured = refresh(project, own_instance, defs)
    assert repictured.well, repictured.failed
    embedded = {target.partition for target in repictured.made if target.asset == "embeddings"}
    assert embedded == {"tiny-clip|mine", "tiny-vit|mine"}


def test_another_specification_remakes_that_backbone_and_the_experiments_that_use_it(
    copy: Project, own_instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case d."""
    from geoloc_core.features import backbones

    other = backbones.BACKBONES["tiny-vit"].changed(mean=(0.4, 0.4, 0.4))
    monkeypatch.setattr(backbones, "BACKBONES", {**backbones.BACKBONES, "tiny-vit": other})
    outcome = refresh(copy, own_instance, defs)
    assert outcome.well, outcome.failed
    assert {t.partition for t in outcome.made if t.asset == "backbones"} == {"tiny-vit"}
    shards = ("sample-00", "sample-01", "sample-02", "bench-a")
    assert {t.partition for t in outcome.made if t.asset == "embeddings"} == {f"tiny-vit|{shard}" for shard in shards}
    assert {t.partition for t in outcome.made if t.asset == "heads"} == {"clip+vit.linear.hierarchical.default"}
    assert names(outcome.made) == {
        "backbones", "embeddings", "heads", "validation_report", "benchmark_report", "results", "champion",
    }  # fmt: skip


def test_new_boundaries_relabel_and_retrain_and_embed_nothing(
    copy: Project, own_instance: dg.DagsterInstance, edit: Edit
) -> None:
    """Case e: a boundary set in which the most photographed country is called something else."""
    from geoloc_core.geography.boundaries import load_boundaries, write_boundaries

    boundaries = load_boundaries("embedded")
    labels = copy.warehouse().read_table("training_photos", columns=["country_id"])
    before = labels["country_id"].mode().iloc[0]
    frames = {
        "country": boundaries.countries.replace({"region_id": {before: "ZZZ"}}).sort_values("region_id"),
        "subdivision": boundaries.subdivisions.replace({"parent_id": {before: "ZZZ"}}),
    }
    path = copy.layout.home.parent / "boundaries.parquet"
    renamed = {name: frame.reset_index(drop=True) for name, frame in frames.items()}
    write_boundaries(dataclasses.replace(boundaries, frames=renamed), path)
    outcome = refresh(edit(copy, boundaries=str(path)), own_instance, defs)
    assert outcome.well, outcome.failed
    assert {"regions", "labeled_photos", "training_photos", "class_weights", "region_anchors", "heads"} <= names(
        outcome.made
    )
    assert names(outcome.made).isdisjoint({"embeddings", "images", "raw_photos", "backbones"})
    after = copy.warehouse().read_table("training_photos", columns=["country_id"])
    assert (after["country_id"] == "ZZZ").sum() == (labels["country_id"] == before).sum()


def test_another_benchmark_is_embedded_and_reported_and_trains_nothing(
    copy: Project, own_instance: dg.DagsterInstance, edit: Edit
) -> None:
    """Case g."""
    source = copy.layout.delivery("bench-a")
    metadata = copy.layout.home.parent / "second.csv"
    metadata.write_text("".join((source / "metadata.csv").read_text().splitlines(keepends=True)[:9]))
    second = {"name": "second", "metadata": str(metadata), "images": str(source / "images")}
    outcome = refresh(edit(copy, benchmarks=[second]), own_instance, defs)
    assert outcome.well, outcome.failed
    assert {t.partition for t in outcome.made if t.asset == "embeddings"} == {"tiny-clip|second", "tiny-vit|second"}
    reports = {t.partition for t in outcome.made if t.asset == "benchmark_report"}
    assert reports == {f"second|{key}" for key in copy.profile.experiment_keys()}
    assert names(outcome.made).isdisjoint({"heads", "class_weights", "region_anchors", "backbones"})


@pytest.mark.parametrize("content", [b"", b"this is no database" * 100], ids=["empty", "garbage"])
def test_a_damaged_warehouse_is_set_aside_and_filled_again(
    copy: Project, own_instance: dg.DagsterInstance, content: bytes
) -> None:
    copy.layout.warehouse.write_bytes(content)
    plan = project_plan(copy, own_instance)
    assert {step.target.asset for step in plan.steps} == {"labeled_photos", "training_photos"}
    outcome = refresh(copy, own_instance, defs)
    assert outcome.well, outcome.failed
    assert names(outcome.made) == {"labeled_photos", "training_photos"}
    assert copy.layout.warehouse.with_name("warehouse.duckdb.damaged").read_bytes() == content


def test_a_refresh_that_was_killed_holds_nobody_up(copy: Project, tmp_path: Path) -> None:
    """SIGKILL while a target that needs the pool `gpu` is being made; the next refresh goes on and ends the same."""
    expected = read_receipt(copy.layout, Target("embeddings", "tiny-vit|sample-01"))
    assert expected is not None
    for name in ("sample-00", "sample-01", "sample-02"):
        copy.layout.receipt("embeddings", f"tiny-vit|{name}").unlink()
    command = [sys.executable, "-m", "geoloc_dagster.cli", "refresh", "--profile", str(copy.profile_path)]
    environment = {**os.environ, "GEOLOC_HOME": str(copy.layout.home)}
    child = subprocess.Popen([*command, "--home", str(copy.layout.home)], env=environment, stderr=subprocess.DEVNULL)
    with open_instance(copy.layout) as watched:
        started = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
        until = time.monotonic() + 90
        while not watched.get_runs(filters=started) and time.monotonic() < until:
            time.sleep(0.02)
        child.kill()
        child.wait()
        dead = [run.run_id for run in watched.get_runs(filters=started)]
        outcome = refresh(copy, watched, defs)
        assert outcome.well, outcome.failed
        assert all(watched.get_run_by_id(run).status == dg.DagsterRunStatus.FAILURE for run in dead)  # type: ignore[union-attr]
        assert not project_plan(copy, watched)
    remade = read_receipt(copy.layout, expected.target)
    assert remade is not None
    assert remade.data_version == expected.data_version

"""Only what changed, where heads learn anew: real runs against a real instance."""

import dataclasses
from pathlib import Path

import dagster as dg

from geoloc_core.features import backbones
from geoloc_core.geography.boundaries import load_boundaries, write_boundaries
from geoloc_core.line.artifacts import Target
from geoloc_core.line.project import Project
from geoloc_core.line.receipts import read_receipt
from geoloc_dagster.definitions import defs
from geoloc_dagster.refresh import Outcome, project_plan, refresh, remake

SHARD = "mine"
LEARNED = {"heads", "validation_report", "benchmark_report", "results", "champion"}


def by_asset(outcome: Outcome) -> dict[str, set[str]]:
    """The partitions that were made, by asset; everything went well."""
    assert outcome.well, outcome.failed
    return {name: {t.partition for t in outcome.made if t.asset == name} for name in {t.asset for t in outcome.made}}


def test_another_specification_and_another_recipe_make_only_what_uses_them(copy, own_instance, edit, monkeypatch):
    """Case d for one backbone and the experiment that uses it; the other experiment is replaced and embeds nothing."""
    other = backbones.BACKBONES["tiny-vit"].changed(mean=(0.4, 0.4, 0.4))
    monkeypatch.setattr(backbones, "BACKBONES", {**backbones.BACKBONES, "tiny-vit": other})
    fused, linear = "clip+vit.linear.hierarchical.default", "clip.linear.country.default"
    made = by_asset(refresh(edit(copy, experiments=[linear, fused]), own_instance, defs))
    assert made["backbones"] == {"tiny-vit"}
    assert made["embeddings"] == {f"tiny-vit|{shard}" for shard in copy.profile.shards()}
    assert made["heads"] == made["validation_report"] == {fused, linear}
    assert set(made) == {"backbones", "embeddings", *LEARNED}


def test_new_boundaries_and_one_shard_less_relabel_and_retrain_and_embed_nothing(copy, own_instance, edit):
    """Case e: a boundary set in which the most photographed country is called something else."""
    boundaries = load_boundaries("embedded")
    labels = copy.warehouse().read_table("labeled_photos", columns=["country_id", "shard"])
    labels = labels[labels["shard"] != "sample-02"]["country_id"]
    before = labels[labels != ""].mode().iloc[0]
    frames = {
        "country": boundaries.countries.replace({"region_id": {before: "ZZZ"}}).sort_values("region_id"),
        "subdivision": boundaries.subdivisions.replace({"parent_id": {before: "ZZZ"}}),
    }
    path = copy.layout.home.parent / "boundaries.parquet"
    renamed = {name: frame.reset_index(drop=True) for name, frame in frames.items()}
    write_boundaries(dataclasses.replace(boundaries, frames=renamed), path)
    drawn = {"seed": 11, "shards": 2, "photos_per_shard": 40, "benchmarks": {"bench-a": 24}}
    project = edit(copy, boundaries=str(path), drawn=drawn)
    outcome = refresh(project, own_instance, defs, prune=True)
    made = by_asset(outcome)
    assert {"regions", "training_photos", "class_weights", "region_anchors", *LEARNED} <= set(made)
    assert made["labeled_photos"] == {"sample-00", "sample-01", "bench-a"}
    assert made.keys().isdisjoint({"embeddings", "images", "raw_photos", "backbones"})
    after = project.warehouse().read_table("labeled_photos", columns=["country_id"])
    assert (after["country_id"] == "ZZZ").sum() == (labels == before).sum() > 0

    assert Target("labeled_photos", "sample-02") in outcome.removed
    assert sorted(project.warehouse().rows_by_shard("labeled_photos")) == ["bench-a", "sample-00", "sample-01"]
    assert not copy.layout.embeddings("tiny-clip", "sample-02").exists()


def rows_of_samples(project: Project) -> tuple[str, list[list[str]]]:
    """Header and rows of three drawn deliveries: of fewer than 50 rows no share means much to the check."""
    shards = ("sample-00", "sample-01", "sample-02")
    tables = [(project.layout.delivery(shard) / "metadata.csv").read_text().splitlines() for shard in shards]
    return tables[0][0], [row.split(",") for table in tables for row in table[1:]]


def write(path: Path, header: str, rows: list[list[str]]) -> None:
    path.write_text("\n".join([header, *map(",".join, rows)]) + "\n")


def test_new_content_of_one_shard_remakes_its_labels_and_what_learns_from_them(copy, own_instance, edit):
    """Case b. A delivery that its check refuses reaches nothing until it is mended; then only what changed is made."""
    path = copy.layout.home.parent / "mine.csv"
    entry = {"name": SHARD, "metadata": str(path), "images": str(copy.layout.delivery("sample-01") / "images")}
    header, rows = rows_of_samples(copy)
    # Fields are id, author, latitude and longitude; of every second row the last two change places.
    garbage = [[*row[:2], row[3], row[2], *row[4:]] if row[3] and abs(float(row[3])) <= 90 else row for row in rows]
    write(path, header, [(good, bad)[number % 2] for number, (good, bad) in enumerate(zip(rows, garbage, strict=True))])
    project = edit(copy, training=[entry])
    rows_before = project.warehouse().rows_by_shard("labeled_photos")
    refused = Target("raw_photos", SHARD)
    for _ in range(2):
        outcome = refresh(project, own_instance, defs)
        assert list(outcome.failed) == [refused]
        assert outcome.failed[refused].startswith("its check not_garbage refused it: ")
        assert outcome.faults == []
        blocked = {target.asset for target in outcome.blocked}
        assert {"images", "labeled_photos", "embeddings", "training_photos", "heads", "results", "champion"} <= blocked
        assert project.warehouse().rows_by_shard("labeled_photos") == rows_before
        receipt = read_receipt(project.layout, refused)
        assert receipt is not None
        assert set(receipt.refused) == {"not_garbage"}

    vectors = {f"tiny-clip|{SHARD}", f"tiny-vit|{SHARD}"}
    write(path, header, rows)
    made = by_asset(refresh(project, own_instance, defs))
    assert made["raw_photos"] == made["labeled_photos"] == {SHARD}
    assert made["embeddings"] == vectors
    assert {"training_photos", *LEARNED} <= set(made)
    assert project.warehouse().rows_by_shard("labeled_photos")[SHARD] > 20

    # Other coordinates wake no embedding, another picture wakes that shard's embeddings alone.
    pictured = [row for row in rows if (Path(entry["images"]) / row[0]).is_file()]
    pictured[0][2:4] = ["-33.865000", "151.209000"]
    write(path, header, rows)
    moved = after_its_photos(project, own_instance)
    assert "embeddings" not in moved
    assert {"training_photos", *LEARNED} <= set(moved)
    pictured[-1][0] = "no/such/picture.jpg"
    write(path, header, rows)
    assert after_its_photos(project, own_instance)["embeddings"] == vectors


def after_its_photos(project: Project, instance: dg.DagsterInstance) -> dict[str, set[str]]:
    """What is stale, or may become so, by asset, once the changed shard has its photos, pictures and labels."""
    assert Target("deliveries", SHARD) in [step.target for step in project_plan(project, instance).steps]
    for asset in ("deliveries", "raw_photos", "images", "labeled_photos"):
        assert remake(project, instance, defs, asset, [SHARD]).well
    plan = project_plan(project, instance)
    following = {target.asset: {target.partition} for target in plan.following}
    stale = [step.target for step in plan.steps]
    return following | {name: {t.partition for t in stale if t.asset == name} for name in {t.asset for t in stale}}

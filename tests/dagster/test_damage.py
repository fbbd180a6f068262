"""Damage: found, named, made anew. A byte that changes with its time is seen by any plan, a silent one by `--verify`."""

import os
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from geoloc_core.line.artifacts import Target
from geoloc_core.line.layout import Layout
from geoloc_core.line.project import Project
from geoloc_core.line.receipts import read_receipt, remove_receipt
from geoloc_core.line.staleness import State
from geoloc_dagster.checks.standing import INTACT
from geoloc_dagster.definitions import defs
from geoloc_dagster.refresh import Outcome, project_plan, refresh, run_config
from tests.dagster.tiny_line import contents

HEAD = "clip.linear.country.thesis"
HEADS, REPORT = Target("heads", HEAD), Target("validation_report", HEAD)
Place = Callable[[Layout], Path]
# What is damaged, by the target that must be made anew.
FILES: dict[Target, Place] = {
    Target("raw_photos", "bench-a"): lambda layout: layout.raw_photos("bench-a"),
    Target("images", "bench-a"): lambda layout: layout.images("bench-a"),
    Target("embeddings", "tiny-vit|sample-02"): lambda layout: layout.embeddings("tiny-vit", "sample-02"),
    Target("embeddings", "tiny-clip|sample-01"): lambda layout: layout.embeddings("tiny-clip", "sample-01"),
    Target("backbones", "tiny-vit"): lambda layout: layout.checkpoints / "tiny-vit" / "model.safetensors",
    HEADS: lambda layout: layout.head(HEAD) / "head.safetensors",
    Target("region_anchors", "country"): lambda layout: layout.region_anchors("country"),
    REPORT: lambda layout: layout.validation_report(HEAD) / "evaluation.json",
    Target("champion"): lambda layout: layout.model / "model.json",
}


def flip(path: Path, keep_time: bool, where: float = 0.5) -> bytes:
    """Turn one bit over; what the file was."""
    before, status = path.read_bytes(), path.stat()
    place = int(len(before) * where)
    # A package holds some files under a second name: only this name is damaged.
    path.unlink()
    path.write_bytes(before[:place] + bytes([before[place] ^ 0x10]) + before[place + 1 :])
    if keep_time:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    return before


def test_a_flipped_bit_anywhere_is_named_and_that_target_made_anew(copy, own_instance):
    """Of every second file the time of change is set back: only `verify` finds those."""
    before = contents(copy)
    places = {target: place(copy.layout) for target, place in FILES.items()}
    seen = set(list(places)[::2])
    were = {path: flip(path, keep_time=target not in seen) for target, path in places.items()}
    assert {step.target for step in project_plan(copy, own_instance).steps} == seen
    steps = {step.target: str(step.reasons[0]) for step in project_plan(copy, own_instance, verify=True).steps}
    assert set(steps) == set(FILES)
    for target, path in places.items():
        sentence = f"{path.relative_to(copy.layout.home)} is damaged: its bytes are not those that were written"
        assert steps[target] == sentence
    outcome = refresh(copy, own_instance, defs, verify=True)
    assert outcome.well, outcome.failed
    assert set(outcome.made) == set(FILES)
    assert all(path.read_bytes() == content for path, content in were.items())
    assert contents(copy) == before


def ask_intact(project: Project, instance: dg.DagsterInstance, asset: str) -> dg.AssetCheckEvaluation:
    """As the button `Execute` on the check's page does."""
    key = dg.AssetCheckKey(dg.AssetKey(asset), INTACT)
    job = defs.resolve_implicit_global_asset_job_def().get_subset(asset_check_selection={key})
    (answer,) = job.execute_in_process(run_config=run_config(project), instance=instance).get_asset_check_evaluations()
    return answer


def test_the_check_intact_names_silent_damage_and_from_then_on_every_plan_sees_it(copy, own_instance):
    """And a file that was cut off, which any plan sees by its size."""
    assert ask_intact(copy, own_instance, "embeddings").passed
    flip(copy.layout.embeddings("tiny-vit", "sample-02"), keep_time=True)
    assert not project_plan(copy, own_instance)
    answer = ask_intact(copy, own_instance, "embeddings")
    assert not answer.passed
    assert answer.metadata["damaged"].value == 1
    assert "embeddings[tiny-vit|sample-02]: embeddings/tiny-vit/sample-02.parquet is damaged" in str(answer.description)

    short = copy.layout.embeddings("tiny-clip", "sample-00")
    whole = short.read_bytes()
    short.write_bytes(whole[:1000])
    steps = {step.target: str(step.reasons[0]) for step in project_plan(copy, own_instance).steps}
    flipped, cut = (Target("embeddings", key) for key in ("tiny-vit|sample-02", "tiny-clip|sample-00"))
    assert set(steps) == {flipped, cut}
    assert steps[cut] == f"embeddings/tiny-clip/sample-00.parquet has 1000 bytes instead of {len(whole)}"
    assert set(refresh(copy, own_instance, defs).made) == {flipped, cut}
    assert short.read_bytes() == whole
    assert ask_intact(copy, own_instance, "embeddings").passed


# Of JSON the beginning, of a Parquet file of which only some columns are read the end.
NEVER_READ_OVER = {"validation_report": 0.0, "raw_photos": 0.9999}
# What is damaged and who reads it; those of one case do not stop each other.
READERS = {
    "raw_photos, backbones": {
        Target("raw_photos", "bench-a"): Target("images", "bench-a"),
        Target("backbones", "tiny-vit"): Target("embeddings", "tiny-vit|sample-00"),
    },
    "embeddings": {Target("embeddings", "tiny-clip|sample-01"): HEADS},
    "heads": {HEADS: Target("benchmark_report", f"bench-a|{HEAD}")},
    "report": {REPORT: Target("champion")},
}


@pytest.mark.parametrize("readers", READERS.values(), ids=READERS)
def test_who_reads_silent_damage_has_it_mended(copy, own_instance, readers):
    """A plain refresh trusts the file, the reader fails, the file is found out, made anew, and read again."""
    for damaged, reader in readers.items():
        flip(FILES[damaged](copy.layout), keep_time=True, where=NEVER_READ_OVER.get(damaged.asset, 0.5))
        receipt = read_receipt(copy.layout, reader)
        assert receipt is not None
        remove_receipt(copy.layout, reader)
        for name in receipt.files:
            (copy.layout.home / name).unlink()
    heard: list[str] = []
    outcome = refresh(copy, own_instance, defs, lambda *event: heard.append(" ".join(map(str, event))))
    assert outcome.well, outcome.failed
    assert {*readers, *readers.values()} <= set(outcome.made)
    for damaged in readers:
        assert any(line.startswith(f"mended None {damaged} is made anew: ") for line in heard), heard
    assert not project_plan(copy, own_instance, verify=True)


def test_a_damaged_block_of_the_warehouse_is_found_and_the_tables_filled_again(copy, own_instance):
    before = contents(copy)
    warehouse = copy.warehouse()
    whole = warehouse.path.read_bytes()
    # The last block that holds letters of an author's name: data of a table.
    author = warehouse.read_table("training_photos")["author_id"].iloc[-1]
    place = whole.rfind(str(author)[:6].encode())
    assert place > 0
    flip(warehouse.path, keep_time=True, where=(place + 0.5) / len(whole))
    plan = project_plan(copy, own_instance, verify=True)
    assert {step.target.asset for step in plan.steps} <= {"labeled_photos", "training_photos"}
    assert "warehouse.duckdb is damaged" in str(plan.steps[0].reasons[0])
    assert "`geoloc refresh --verify` makes its tables anew" in str(plan.steps[0].reasons[0])
    outcome = refresh(copy, own_instance, defs, verify=True)
    assert outcome.well, outcome.failed
    assert {target.asset for target in outcome.made} == {"labeled_photos", "training_photos"}
    assert contents(copy) == before


def test_files_that_were_only_copied_are_trusted_again(copy: Project, own_instance: dg.DagsterInstance) -> None:
    """Other times of change and the same bytes: nothing is made, and after a refresh nothing is read again."""
    for path in copy.layout.home.rglob("*.parquet"):
        os.utime(path)
    assert not project_plan(copy, own_instance)
    assert refresh(copy, own_instance, defs) == Outcome()
    assert not State(copy).receipts[Target("images", "sample-00")].touched(copy.layout.home)

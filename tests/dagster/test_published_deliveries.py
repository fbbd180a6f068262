"""Deliveries as they are published, through the assets: archives, URLs, tables with columns of any name."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
from PIL import Image

from geoloc_core.line.artifacts import Target
from geoloc_core.line.landing import SETTLED_AFTER_S, take_in
from geoloc_core.line.project import Project, open_project
from geoloc_core.line.staleness import State, make_plan
from geoloc_core.photos.rows import read_rows
from geoloc_dagster.definitions import defs
from geoloc_dagster.refresh import project_plan, remake

TO_IMAGES = ("deliveries", "raw_photos", "images")


def webdataset(path: Path, numbers: range) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for number in numbers:
            file = io.BytesIO()
            pixels = np.random.default_rng(number).integers(0, 255, (32, 48, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(file, "JPEG")
            place = {"latitude": 45 + number % 7, "longitude": 3 + number % 5}
            facts = {"id": f"w{number}", "author": f"a{number}", **place}
            archive.writestr(f"{number:05d}.jpg", file.getvalue())
            archive.writestr(f"{number:05d}.json", json.dumps(facts))


def make(project: Project, instance: dg.DagsterInstance, shard: str) -> dict[str, Any]:
    """Make the shard up to its pictures; what the UI shows of them."""
    for asset in TO_IMAGES:
        outcome = remake(project, instance, defs, asset, [shard])
        assert outcome.well, outcome.failed
    record = instance.get_latest_materialization_event(dg.AssetKey("images"))
    assert record is not None
    assert record.asset_materialization is not None
    return {name: value.value for name, value in record.asset_materialization.metadata.items()}


def test_a_webdataset_in_two_archives_goes_through_and_a_third_is_noticed(make_project, tmp_path, instance):
    folder = tmp_path / "wds"
    webdataset(folder / "00000.zip", range(12))
    webdataset(folder / "00001.zip", range(12, 20))
    project = make_project(tmp_path, training=[{"name": "wds", "metadata": str(folder)}])
    shown = make(project, instance, "wds")
    assert (shown["dagster/row_count"], shown["usable"], shown["not_usable"]) == (20, 20, 0)
    assert "| written | 20 |" in shown["unpacked"]
    assert set(read_rows(project.layout.images("wds"))["image_path"].str.slice(0, 10)) == {"00000.zip/", "00001.zip/"}
    made = {Target(asset, "wds") for asset in TO_IMAGES}
    assert not made & {step.target for step in project_plan(project, instance).steps}

    webdataset(folder / "00002.zip", range(20, 23))
    steps = {step.target: [str(reason) for reason in step.reasons] for step in make_plan(State(project)).steps}
    assert Target("deliveries", "wds") in steps
    assert any("pictures of wds" in reason for reason in steps[Target("images", "wds")])
    assert make(project, instance, "wds")["usable"] == 23


def test_an_archive_laid_into_the_landing_folder_brings_its_own_pictures(make_project, tmp_path, instance):
    bare = make_project(tmp_path)
    webdataset(bare.layout.landing / "spring.zip", range(9))
    later = (bare.layout.landing / "spring.zip").stat().st_ctime + SETTLED_AFTER_S + 5
    assert list(take_in(bare.profile, bare.layout, now=later).taken_in) == ["spring.zip"]
    project = open_project(str(bare.profile_path), bare.layout.home)
    assert make(project, instance, "spring")["usable"] == 9
    assert project.layout.pictures("spring").is_dir()

"""Garbage is stopped before the warehouse; what is only unusual is shown."""

import pandas as pd
import pytest

from geoloc_core.line.project import Project
from geoloc_core.photos.rows import read_rows, write_rows
from geoloc_dagster.checks import answer
from geoloc_dagster.checks.content import delivery_as_expected, delivery_is_not_garbage, previous_shard


@pytest.fixture
def hundred(made_project: Project, tmp_path, make_project):
    """A project of its own whose one shard has a hundred real places, ready to be damaged."""
    project = make_project(tmp_path / "own")
    shards = [read_rows(made_project.layout.raw_photos(f"sample-0{number}")) for number in range(3)]
    write_rows(pd.concat(shards, ignore_index=True).head(100), project.layout.raw_photos("sample-00"))
    rejected = read_rows(made_project.layout.rejected_rows("sample-00"))
    write_rows(rejected[rejected["reason"] != "out_of_range"], project.layout.rejected_rows("sample-00"))
    return project


def test_half_of_the_coordinates_exchanged_is_garbage(hundred: Project) -> None:
    assert delivery_is_not_garbage(hundred, "sample-00").passed
    path = hundred.layout.raw_photos("sample-00")
    photos = read_rows(path)
    half = (photos.index % 2 == 0) & (photos["longitude"].abs() <= 90)
    exchanged = photos.loc[half, ["longitude", "latitude"]].to_numpy()
    photos.loc[half, ["latitude", "longitude"]] = exchanged
    write_rows(photos, path)
    verdict = delivery_is_not_garbage(hundred, "sample-00")
    assert not verdict.passed
    assert "far from any land" in verdict.fault


def test_a_delivery_is_compared_with_the_one_before_and_has_pages(made_project: Project) -> None:
    assert previous_shard(made_project, "sample-00") == ""
    assert previous_shard(made_project, "sample-02") == "sample-01"
    assert previous_shard(made_project, "bench-a") == ""
    verdict = delivery_as_expected(made_project, "sample-01")
    assert any("drift" in name for name in verdict.figures)
    assert (made_project.layout.data_docs / "sample-01" / "index.html").is_file()


def test_what_cannot_be_read_does_not_hold(hundred: Project) -> None:
    hundred.layout.raw_photos("sample-00").write_bytes(b"no parquet")
    assert "cannot be read" in answer(delivery_is_not_garbage, hundred, "sample-00").fault

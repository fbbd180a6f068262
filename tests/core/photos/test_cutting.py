"""A file is read once, whatever the number of its shards, and every row is in one of them."""

from pathlib import Path

import pandas as pd
import pytest

from geoloc_core.line.layout import Layout
from geoloc_core.line.profile import Profile, parse_profile
from geoloc_core.photos import cutting
from geoloc_core.photos.rows import read_shard_rows
from geoloc_core.photos.sources.registry import read_metadata


def profile_of(dataset: dict) -> Profile:
    return parse_profile(
        {
            "name": "p",
            "features": {"a": ["tiny-clip"]},
            "experiments": ["a.linear.country.thesis"],
            "training": [{"name": "d", **dataset}],
        }
    )


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read, once for each reading."""
    read: list[Path] = []

    def counted(path: Path, *arguments: object, **options: object) -> object:
        read.append(path)
        # Small batches, so that shards and batches have borders of their own.
        return read_metadata(path, *arguments, rows_per_batch=5, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(cutting, "read_metadata", counted)
    return read


def write(path: Path, ids: list[str]) -> None:
    rows = [{"photo_id": name, "latitude": 10.0 + n, "longitude": 20.0 - n} for n, name in enumerate(ids)]
    pd.DataFrame(rows).to_csv(path, index=False)


def rows_of(profile: Profile, home: Path) -> list[tuple[list[int], list[int]]]:
    shards = [read_shard_rows(profile, name, Layout(home)) for name in profile.training_shards()]
    return [(shard.accepted["row_number"].tolist(), shard.rejected["row_number"].tolist()) for shard in shards]


def test_four_shards_cost_one_reading_and_a_duplicate_is_known_across_them(tmp_path: Path, readings: list) -> None:
    ids = [f"p{n}" for n in range(23)]
    ids[20] = "p1"
    write(tmp_path / "m.csv", ids)
    profile = profile_of({"metadata": str(tmp_path / "m.csv"), "shards": 4, "rows_per_shard": 6})
    expected = [
        (list(range(1, 7)), []),
        (list(range(7, 13)), []),
        (list(range(13, 19)), []),
        ([19, 20, 22, 23], [21]),
    ]
    assert rows_of(profile, tmp_path) == expected
    assert rows_of(profile, tmp_path) == expected
    assert len(readings) == 1


def test_another_content_another_size_or_another_reader_cuts_again(tmp_path: Path, readings: list) -> None:
    write(tmp_path / "m.csv", [f"p{n}" for n in range(10)])
    settings = {"metadata": str(tmp_path / "m.csv"), "shards": 2, "rows_per_shard": 4}
    assert rows_of(profile_of(settings), tmp_path)[0][0] == [1, 2, 3, 4]
    assert rows_of(profile_of({**settings, "rows_per_shard": 3}), tmp_path)[0][0] == [1, 2, 3]
    assert len(readings) == 2
    write(tmp_path / "m.csv", [f"q{n}" for n in range(11)])
    assert rows_of(profile_of(settings), tmp_path)[1][0] == list(range(5, 12))
    assert len(readings) == 3
    read_shard_rows(profile_of(settings), "d-00", Layout(tmp_path), reader_version="2")
    assert len(readings) == 4
    assert len(list(Layout(tmp_path).cut("d").iterdir())) == 1  # what is out of date does not stay


def test_a_damaged_cut_is_made_again(tmp_path: Path, readings: list) -> None:
    write(tmp_path / "m.csv", [f"p{n}" for n in range(10)])
    profile = profile_of({"metadata": str(tmp_path / "m.csv"), "shards": 2, "rows_per_shard": 4})
    expected = rows_of(profile, tmp_path)
    for file in Layout(tmp_path).cut("d").rglob("*.parquet"):
        file.write_bytes(file.read_bytes()[:-20])
    assert rows_of(profile, tmp_path) == expected
    assert len(readings) == 2


def test_a_file_that_ends_early_leaves_empty_shards(tmp_path: Path) -> None:
    write(tmp_path / "m.csv", ["a", "b", "c"])
    profile = profile_of({"metadata": str(tmp_path / "m.csv"), "shards": 3, "rows_per_shard": 2})
    assert rows_of(profile, tmp_path) == [([1, 2], []), ([3], []), ([], [])]


def test_columns_of_any_name_are_mapped_by_the_profile(tmp_path: Path) -> None:
    frame = pd.DataFrame({"key": ["x1", "x2"], "breite": [52.1, 48.2], "länge": [5.1, 16.4], "wer": ["a", "b"]})
    frame.to_parquet(tmp_path / "m.parquet")
    columns = {"photo_id": "key", "latitude": "breite", "longitude": "länge", "author_id": "wer"}
    profile = profile_of({"metadata": str(tmp_path / "m.parquet"), "columns": columns})
    rows = read_shard_rows(profile, "d", Layout(tmp_path)).accepted
    assert rows["photo_id"].tolist() == ["x1", "x2"]
    assert rows["latitude"].tolist() == [52.1, 48.2]
    assert rows["author_id"].tolist() == ["a", "b"]

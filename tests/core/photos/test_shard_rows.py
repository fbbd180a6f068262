"""Shards as rows of a file that is read once, and frames as files."""

import shutil

import pandas as pd
import pytest
from PIL import Image

from geoloc_core.errors import StaleArtifactError
from geoloc_core.photos import shard_rows
from geoloc_core.photos.rows import frame_version, read_rows, write_rows
from geoloc_core.photos.settings import Dataset, ImageLimits
from geoloc_core.photos.shard_rows import read_shard_rows
from geoloc_core.photos.sources.registry import read_metadata
from tests.core.photos.conftest import write_table


@pytest.fixture
def readings(monkeypatch):
    """The files that were read, once for each reading."""
    paths = []

    def counted(path, dataset, source, rows_per_batch, limits):
        paths.append(path)
        # Small batches, so that shards and batches have borders of their own.
        return read_metadata(path, dataset, source, rows_per_batch=5, limits=limits)

    monkeypatch.setattr(shard_rows, "read_metadata", counted)
    return paths


def dataset_of(tmp_path, ids=(), **settings):
    if ids:
        write_table(tmp_path / "m.csv", [{"photo_id": name} for name in ids])
    return Dataset(name="d", metadata=str(tmp_path / "m.csv"), **settings)


def rows_of(dataset, tmp_path):
    shards = [read_shard_rows(dataset, number, tmp_path / "cut") for number in range(dataset.shards)]
    return [(shard.accepted["row_number"].tolist(), shard.rejected["row_number"].tolist()) for shard in shards]


def test_four_shards_cost_one_reading_and_a_duplicate_is_recognised_across_them(tmp_path, readings):
    ids = [f"p{n}" for n in range(23)]
    ids[20] = "p1"
    dataset = dataset_of(tmp_path, ids, shards=4, rows_per_shard=6)
    expected = [(list(range(1, 7)), []), (list(range(7, 13)), []), (list(range(13, 19)), []), ([19, 20, 22, 23], [21])]
    assert rows_of(dataset, tmp_path) == expected  # the last shard takes the rest
    assert rows_of(dataset, tmp_path) == expected
    assert len(readings) == 1


def test_another_content_another_size_or_another_reader_cuts_again(tmp_path, readings):
    dataset = dataset_of(tmp_path, [f"p{n}" for n in range(10)], shards=2, rows_per_shard=4)
    assert rows_of(dataset, tmp_path)[0][0] == [1, 2, 3, 4]
    assert rows_of(dataset_of(tmp_path, shards=2, rows_per_shard=3), tmp_path)[0][0] == [1, 2, 3]
    assert len(readings) == 2
    dataset = dataset_of(tmp_path, [f"q{n}" for n in range(11)], shards=2, rows_per_shard=4)
    assert rows_of(dataset, tmp_path)[1][0] == list(range(5, 12))
    assert len(readings) == 3
    read_shard_rows(dataset, 0, tmp_path / "cut", reader_version="2")
    assert len(readings) == 4
    assert len(list((tmp_path / "cut").iterdir())) == 1  # what is stale does not stay


def test_a_damaged_cut_is_made_again(tmp_path, readings):
    dataset = dataset_of(tmp_path, [f"p{n}" for n in range(10)], shards=2, rows_per_shard=4)
    expected = rows_of(dataset, tmp_path)
    for file in (tmp_path / "cut").rglob("*.parquet"):
        file.write_bytes(file.read_bytes()[:-20])
    assert rows_of(dataset, tmp_path) == expected
    assert len(readings) == 2


def test_a_file_that_ends_early_leaves_empty_shards(tmp_path):
    dataset = dataset_of(tmp_path, "abc", shards=3, rows_per_shard=2)
    assert rows_of(dataset, tmp_path) == [([1, 2], []), ([3], []), ([], [])]


def test_columns_of_any_name_are_mapped_by_the_dataset(tmp_path):
    frame = pd.DataFrame({"key": ["x1", "x2"], "breite": [52.1, 48.2], "länge": [5.1, 16.4], "wer": ["a", "b"]})
    frame.to_parquet(tmp_path / "m.csv")
    columns = {"photo_id": "key", "latitude": "breite", "longitude": "länge", "author_id": "wer"}
    rows = read_shard_rows(dataset_of(tmp_path, columns=columns), 0, tmp_path / "cut").accepted
    assert rows[["photo_id", "latitude", "author_id"]].values.tolist() == [["x1", 52.1, "a"], ["x2", 48.2, "b"]]


def test_a_frame_comes_back_and_equal_frames_are_equal_bytes(tmp_path):
    frame = pd.DataFrame({"region_id": ["NAM", "NA"], "n": [1, 2]})
    write_rows(frame, tmp_path / "a.parquet")
    write_rows(frame.copy(), tmp_path / "b.parquet")
    assert read_rows(tmp_path / "a.parquet").equals(frame)
    assert read_rows(tmp_path / "a.parquet", ["n"]).equals(frame[["n"]])
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes((tmp_path / "b.parquet").read_bytes()[:300])
    with pytest.raises(StaleArtifactError, match=r"a\.parquet cannot be read"):
        read_rows(tmp_path / "a.parquet")


def test_a_version_is_of_values_names_types_and_order_and_of_nothing_else():
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
    assert frame_version(frame) == frame_version(frame.set_axis([5, 6]))
    different = [
        frame.iloc[::-1],
        frame.rename(columns={"a": "c"}),
        frame.astype({"a": "float32"}),
        frame.assign(a=[1.0, 3.0]),
    ]
    assert len({frame_version(other) for other in [frame, *different]}) == 5


@pytest.mark.parametrize("packed", [False, True])
def test_pictures_of_a_folder_or_an_archive_obey_the_limits_of_the_profile(tmp_path, packed):
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "a.png")
    if packed:
        shutil.make_archive(str(tmp_path / "photos"), "zip", tmp_path / "photos")
    dataset = Dataset(name="d", metadata=str(tmp_path / ("photos.zip" if packed else "photos")))
    for limits, reason in (
        (ImageLimits(max_pixels=64), "no_coordinates"),
        (ImageLimits(max_pixels=63), "too_many_pixels"),
        (ImageLimits(max_bytes=20), "too_many_bytes"),
    ):
        rows = read_shard_rows(dataset, 0, tmp_path / "cut", limits=limits)
        assert rows.rejected["reason"].tolist() == [reason]


def test_rows_that_were_cut_with_other_limits_are_cut_anew(tmp_path, readings):
    dataset = dataset_of(tmp_path, ["a", "b"], shards=2, rows_per_shard=1)
    for limits in (ImageLimits(), ImageLimits(max_pixels=9), ImageLimits(max_pixels=9), None):
        read_shard_rows(dataset, 0, tmp_path / "cut", limits=limits)
    assert len(readings) == 3

"""Shards as rows of a file, frames as files."""

from pathlib import Path

import pandas as pd
import pytest

from geoloc_core.errors import StaleArtifactError
from geoloc_core.line.layout import Layout
from geoloc_core.line.profile import parse_profile
from geoloc_core.photos.rows import frame_version, read_rows, read_shard_rows, tally, write_rows

HEADER = "IMG_ID,AUTHOR,LAT,LON,S3_Label,S16_Label,S365_Label,Prob_indoor,Prob_natural,Prob_urban\n"


def test_every_row_of_a_file_belongs_to_one_shard_and_the_last_takes_the_rest(tmp_path: Path) -> None:
    lines = [f"aa/bb/{1000 + row}.jpg,1@N0{row},{row}.5,{row}.25,0,1,2,0.1,0.2,0.7\n" for row in range(1, 24)]
    lines[4] = "aa/bb/7777.jpg,1@N01,,,0,1,2,0.1,0.2,0.7\n"
    (tmp_path / "m.csv").write_text(HEADER + "".join(lines))
    profile = parse_profile(
        {
            "name": "p",
            "features": {"a": ["tiny-clip"]},
            "experiments": ["a.linear.country.thesis"],
            "training": [
                {"name": "d", "metadata": str(tmp_path / "m.csv"), "images": ".", "shards": 3, "rows_per_shard": 7}
            ],
        }
    )
    shards = [read_shard_rows(profile, name, Layout(tmp_path)) for name in profile.training_shards()]
    rows = [sorted([*shard.accepted["row_number"], *shard.rejected["row_number"]]) for shard in shards]
    assert rows == [list(range(1, 8)), list(range(8, 15)), list(range(15, 24))]
    assert shards[0].rejected["row_number"].tolist() == [5]
    assert sum(len(shard.accepted) for shard in shards) == 22


def test_a_frame_comes_back_and_equal_frames_are_equal_bytes(tmp_path: Path) -> None:
    frame = pd.DataFrame({"region_id": ["NAM", "NA"], "n": [1, 2]})
    write_rows(frame, tmp_path / "a.parquet")
    write_rows(frame.copy(), tmp_path / "b.parquet")
    assert read_rows(tmp_path / "a.parquet").equals(frame)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    write_rows(pd.DataFrame({"n": range(1000)}), tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StaleArtifactError, match=r"a\.parquet cannot be read"):
        read_rows(tmp_path / "a.parquet")


def test_a_version_is_of_values_names_types_and_order_and_of_nothing_else() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
    same = frame.copy()
    same.index = pd.Index([5, 6])
    assert frame_version(frame) == frame_version(same)
    different = [
        frame.iloc[::-1],
        frame.rename(columns={"a": "c"}),
        frame.astype({"a": "float32"}),
        frame.assign(a=[1.0, 3.0]),
    ]
    assert len({frame_version(other) for other in [frame, *different]}) == 5


def test_tally_counts_the_most_frequent_first() -> None:
    assert list(tally(pd.Series(["b", "a", "a"])).items()) == [("a", 2), ("b", 1)]

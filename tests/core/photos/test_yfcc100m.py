"""YFCC100M's two releases, whole and damaged."""

import bz2
import gzip

import pytest

from geoloc_core.errors import InputError
from geoloc_core.photos.sources.registry import detect_source
from tests.core.photos.conftest import read, reasons

HASH = "0123456789abcdef0123456789abcdef"


def line(photo_id="6985418911", lon="-81.804885", lat="24.550558", accuracy="12", marker="0", columns=25, **other):
    url = f"http://farm8.staticflickr.com/7205/{photo_id}_df7747990d.jpg"
    row = [photo_id, other.get("nsid", "39089491%40N00"), "nick+name", "2012-02-16 09:56:37.0", "1331840483", "Canon"]
    row += ["IMG_0520", "My%09vacation", "canon,beach", "", lon, lat, accuracy]
    row += [f"http://www.flickr.com/photos/x/{photo_id}/", url, "License", "http://cc", "7205", "8"]
    row += ["df7747990d", "692d7e0a7f", "jpg", marker]
    if columns == 25:
        row = ["17", row[0], HASH, *row[1:]]
    return "\t".join(row).encode()


def write(path, *lines):
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


@pytest.mark.parametrize(("columns", "image_path"), [(25, f"012/345/{HASH}.jpg"), (23, "2e/b5/4325164013.jpg")])
def test_longitude_stands_before_latitude(tmp_path, columns, image_path):
    path = write(tmp_path / "yfcc100m_dataset", line("4325164013", columns=columns))
    assert detect_source(path).name == "yfcc100m"
    names = {"photo_id": "4325164013", "dataset": "yfcc100m", "author_id": "39089491@N00", "row_number": 1}
    url = "http://farm8.staticflickr.com/7205/4325164013_df7747990d.jpg"
    place = {"latitude": 24.550558, "longitude": -81.804885, "image_path": image_path, "image_url": url}
    assert read(path, dataset="yfcc100m").accepted.to_dict("records") == [{**names, **place}]


@pytest.mark.parametrize("columns", [23, 25])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress])
def test_every_damage_has_its_reason(tmp_path, columns, pack):
    cut, bytes_of = line("6", columns=columns)[:-60], line("8", nsid="\xff", columns=columns).decode()
    rows = {
        line("1", columns=columns): "",
        line("2", lon="", lat="", accuracy="", columns=columns): "no_coordinates",
        line("3", marker="1", columns=columns): "not_a_photo",
        line("4", lat="95.5", columns=columns): "out_of_range",
        line("5", lon="0.0", lat="0.0", columns=columns): "null_island",
        line("1", lat="2.5", columns=columns): "duplicate_id",
        cut: "truncated_line",
        line("7", columns=columns) + b"\tmore": "extra_fields",
        bytes_of.encode("latin-1"): "undecodable_text",
        line("9", marker="", columns=columns): "not_a_photo",
        line("", columns=columns): "no_photo_id",
        line("10", lon="12,5", columns=columns): "bad_coordinates",
        line("11", columns=columns): "",
    }
    path = tmp_path / "data.txt"
    path.write_bytes(pack(b"\n".join(rows)))
    batch = read(path)
    assert batch.accepted["photo_id"].tolist() == ["1", "11"]
    assert reasons(batch) == {number: reason for number, reason in enumerate(rows.values(), start=1) if reason}


def test_other_tables_are_not_taken_for_yfcc(tmp_path):
    path = write(tmp_path / "data.tsv", *[b"\t".join([b"word"] * 23)] * 5)
    with pytest.raises(InputError, match="none of the layouts"):
        read(path)
    with pytest.raises(InputError, match="neither 25 nor 23"):
        read(path, source="yfcc100m")


@pytest.mark.parametrize(
    ("name", "author", "reasons"),
    [
        ("yfcc100m_dataset_23col_1line.tsv", "47065077@N00", []),
        ("yfcc100m_dataset_25col_1line.tsv", None, ["no_coordinates"]),
    ],
)
def test_real_lines(shared_data, name, author, reasons):
    batch = read(shared_data / "metadata_samples" / name)
    assert batch.rejected["reason"].tolist() == reasons
    if author:
        row = batch.accepted.iloc[0]
        assert (row["photo_id"], row["author_id"]) == ("4571314348", author)
        assert (row["latitude"], row["longitude"]) == (55.010991, -2.335453)
        assert row["image_url"] == "http://farm5.staticflickr.com/4036/4571314348_03a71b7bbb.jpg"

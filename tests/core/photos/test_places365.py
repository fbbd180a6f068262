"""The CSV of MP-16 and of the benchmarks, whole and damaged."""

import bz2
import gzip

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoloc_core.errors import InputError, ProfileError
from geoloc_core.photos.sources.lines import coordinates_swapped
from geoloc_core.photos.sources.places365 import identify
from geoloc_core.photos.sources.registry import detect_source, read_metadata
from tests.core.photos.conftest import read, read_unless_swapped, reasons, row_numbers

HEADER = b"IMG_ID,AUTHOR,LAT,LON,S3_Label"


def write(path, *lines, end=b"\n"):
    path.write_bytes(b"\n".join([HEADER, *lines]) + end)
    return path


def test_rows_are_taken_as_published(tmp_path):
    path = write(tmp_path / "m.csv", b"2e/b5/4325164013.jpg,22489773@N02,40.445378999999996,116.66398999999998,2")
    photos = read(path, dataset="mp16").accepted
    place = {"latitude": 40.445378999999996, "longitude": 116.66398999999998}
    names = {"photo_id": "4325164013", "dataset": "mp16", "author_id": "22489773@N02"}
    picture = {"image_path": "2e/b5/4325164013.jpg", "image_url": ""}
    assert photos.to_dict("records") == [{**names, **place, **picture, "row_number": 1}]


ROWS = {
    b"a/1.jpg,A,10,20,0": "",
    b"a/2.jpg,A,,20,0": "no_coordinates",
    b"a/3.jpg,A,NA,20,0": "bad_coordinates",
    b"a/4.jpg,A,nan,20,0": "bad_coordinates",
    b"a/5.jpg,A,90.01,20,0": "out_of_range",
    b"a/6.jpg,A,10,-180.5,0": "out_of_range",
    b"a/7.jpg,A,0,0.0,0": "null_island",
    b"a/8.jpg,A,0,20,0": "",
    b"a/1.jpg,B,11,21,0": "duplicate_id",
    b"a/9.jpg,A,10": "truncated_line",
    b"a/10.jpg,A,10,20,0,1,2": "extra_fields",
    b"a/\xff11.jpg,A,10,20,0": "undecodable_text",
    b"": "empty_line",
    b"a/12.mp4,A,10,20,0": "not_a_photo",
    b"../../13.jpg,A,10,20,0": "unsafe_path",
    b",A,10,20,0": "no_photo_id",
    b"a/14.jpg,A, 1e1 ,+2.5e-1,0": "",
    b"a/15.jpg,A,1_0,20,0": "bad_coordinates",
    b"a/16\x00.jpg,A,10,20,0": "undecodable_text",
    b'"a/17.jpg","A, with a comma",10,20,0': "",
    b'"a/18.jpg,A,10,20,0': "truncated_line",
    b"a/" + b"x" * (1 << 21) + b".jpg,A,10,20,0": "line_too_long",
    b"NA/19.jpg,NA,-22.5,17.1,0": "",
    b"a/20.jpg,A,10,20,0": "",
}


def test_every_damage_has_its_reason(tmp_path):
    batch = read(write(tmp_path / "m.csv", *ROWS))
    assert reasons(batch) == {number: reason for number, reason in enumerate(ROWS.values(), start=1) if reason}
    accepted = batch.accepted.set_index("photo_id")
    assert accepted.index.tolist() == ["1", "8", "14", "17", "19", "20"]
    assert accepted.loc["14", ["latitude", "longitude"]].tolist() == [10.0, 0.25]
    assert accepted.loc["17", "author_id"] == "A, with a comma"
    assert accepted.loc["19", "author_id"] == "NA"
    assert batch.rejected.set_index("row_number").loc[12, "raw"] == "a/\\xff11.jpg,A,10,20,0"
    assert batch.rejected["raw"].str.len().max() <= 4000


def test_the_first_good_row_of_an_id_stays_also_across_batches(tmp_path):
    rows = [b"5.jpg,A,,,0", *[f"{number % 700}.jpg,A,1,2,0".encode() for number in range(2000)]]
    batch = read(write(tmp_path / "m.csv", *rows), rows_per_batch=64)
    assert batch.accepted["row_number"].tolist() == list(range(2, 702))
    assert batch.rejected["reason"].tolist() == ["no_coordinates", *["duplicate_id"] * 1300]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_compressed_whatever_the_name(tmp_path, pack):
    path = write(tmp_path / "m.csv", b"1.jpg,A,1,2,0", b"2.jpg,A,1,2,0")
    path.write_bytes(pack(path.read_bytes()))
    assert len(read(path).accepted) == 2
    content = pack(HEADER + b"\n" + b"".join(b"%d.jpg,A,1,2,0\n" % number for number in range(5000)))
    path.write_bytes(content[:-20])
    with pytest.raises(InputError, match="damaged after line"):
        read(path, source="places365")


def test_line_ends_and_byte_order_mark(tmp_path):
    path = tmp_path / "m.csv"
    path.write_bytes(b"\xef\xbb\xbf" + HEADER + b"\r\n1.jpg,A,1,2,0\r\n2.jpg,A,3,4,0")
    assert read(path).accepted["author_id"].tolist() == ["A", "A"]
    assert read(path).accepted["longitude"].tolist() == [2.0, 4.0]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("2e/b5/4325164013.jpg", ("4325164013", "")),
        ("104123223_7410c654ba_19_19355699@N00.jpg", ("104123223", "19355699@N00")),
        ("Ankara_00003_601190107_9f05b2251e_1292_8504005@N07.jpg", ("601190107", "8504005@N07")),
        ("new_york_00003_601190107_9f05b2251e_1292_8504005@N07.jpg", ("601190107", "8504005@N07")),
        ("aa/bb/holiday_2.png", ("holiday_2", "")),
    ],
)
def test_the_photo_id_is_flickrs(image, expected):
    assert identify(image) == expected


def test_swapped_headers_are_refused(tmp_path):
    rng = np.random.default_rng(0)
    rows = [f"{n}.jpg,A,{rng.uniform(-60, 60)},{rng.uniform(-180, 180)},0".encode() for n in range(300)]
    path = write(tmp_path / "m.csv", *rows)
    assert len(read(path).accepted) == 300
    path.write_bytes(path.read_bytes().replace(b"LAT,LON", b"LON,LAT"))
    with pytest.raises(InputError, match=r"LAT.*LON.* are swapped"):
        read(path)


def test_damage_is_not_taken_for_swapped_headers():
    lat, lon = np.array([10.0, 20.0] * 50), np.array([100.0, -50.0] * 50)
    assert coordinates_swapped(pd.Series(lon), pd.Series(lat))
    assert not coordinates_swapped(pd.Series(lat), pd.Series(lon))
    half = np.arange(100) % 4 < 2
    assert not coordinates_swapped(pd.Series(np.where(half, lat, lon)), pd.Series(np.where(half, lon, lat)))
    few = lat.copy()
    few[:4] = 95.0
    assert not coordinates_swapped(pd.Series(few), pd.Series(lat))
    few[:5] = 95.0
    assert coordinates_swapped(pd.Series(few), pd.Series(lat))
    assert not coordinates_swapped(pd.Series(["", "x"]), pd.Series(["", "y"]))


field = st.one_of(st.sampled_from([b"", b"0", b"NA", b"91", b"-33.5", b"151.25", b'"', b"x"]), st.binary(max_size=6))
good = st.builds(
    lambda number, lat, lon: b"aa/%d.jpg,u,%.5f,%.5f,0" % (number, lat, lon),
    st.integers(0, 30),
    st.floats(-90, 90),
    st.floats(-180, 180),
)
damaged = st.one_of(good, st.lists(field, max_size=8).map(b",".join), st.binary(max_size=40))


@settings(max_examples=40, deadline=None)
@given(lines=st.lists(damaged, max_size=40), rows_per_batch=st.integers(1, 50), newline=st.booleans())
def test_accepted_and_rejected_are_all_rows(tmp_path_factory, lines, rows_per_batch, newline):
    body = b"\n".join(lines)
    rows = body.split(b"\n")
    if rows[-1] == b"" or newline:
        body += b"\n"
    path = tmp_path_factory.getbasetemp() / "generated.csv"
    path.write_bytes(HEADER + b"\n" + body)
    batch = read_unless_swapped(path, rows_per_batch=rows_per_batch)
    assert batch is None or row_numbers(batch) == list(range(1, len(rows) + 1))


def test_detection_names_the_layouts(tmp_path):
    assert detect_source(write(tmp_path / "m.csv")).name == "places365"
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00" * 100)
    for name in ("other.csv", "binary.csv"):
        with pytest.raises(InputError, match="IMG_ID"):
            detect_source(tmp_path / name)
    with pytest.raises(InputError, match="does not exist"):
        detect_source(tmp_path / "nowhere.csv")
    with pytest.raises(ProfileError, match="places365"):
        read_metadata(tmp_path / "m.csv", "d", source="placez")


def test_real_im2gps(shared_data):
    batch = read(shared_data / "benchmarks" / "im2gps_places365.csv")
    assert (len(batch.accepted), len(batch.rejected)) == (237, 0)
    assert batch.accepted["author_id"].nunique() == 233
    assert batch.accepted["photo_id"].str.fullmatch(r"\d{6,11}").all()


def test_real_yfcc26k(shared_data):
    batch = read(shared_data / "benchmarks" / "yfcc26k_half_places365.csv", rows_per_batch=5000)
    assert (len(batch.accepted), len(batch.rejected)) == (12_800, 0)
    assert batch.accepted["author_id"].nunique() == 6476

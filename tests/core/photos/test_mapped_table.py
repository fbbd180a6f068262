"""Tables by their column names: OSV-5M, and any CSV, Parquet or GeoParquet."""

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geoloc_core.errors import InputError
from geoloc_core.photos.settings import RowChoice
from geoloc_core.photos.sources.mapped_table import guess_mapping, mapped_table
from geoloc_core.photos.sources.registry import detect_source
from tests.core.photos.conftest import read, read_unless_swapped, reasons, row_numbers

OSV5M = """id,latitude,longitude,thumb_original_url,country,sequence,cell,region,creator_username,creator_id
3859149887465501,-43.804769384023,-176.61409250805,https://x/1.jpg,NZ,seq1,"(0, 8)",Chatham Islands,r,111336221091714.0
1,10,20,,NA,seq2,"(0, 8)",Khomas,,
2,10,20,,NA,,"(0, 8)",Khomas,,
3,100,20,,NA,seq2,"(0, 8)",Khomas,,
4,10,20,,NA,seq2,(0, 8),Khomas,,
"""


def test_osv5m(tmp_path):
    (tmp_path / "train.csv").write_text(OSV5M)
    assert detect_source(tmp_path / "train.csv").name == "osv5m"
    batch = read(tmp_path / "train.csv")
    assert batch.accepted["author_id"].tolist() == ["111336221091714", "sequence:seq2", ""]
    assert batch.accepted["image_path"].tolist() == ["3859149887465501.jpg", "1.jpg", "2.jpg"]
    first = batch.accepted.iloc[0]
    assert (first["latitude"], first["longitude"]) == (-43.804769384023, -176.61409250805)
    assert first["image_url"] == "https://x/1.jpg"
    assert reasons(batch) == {4: "out_of_range", 5: "extra_fields"}


def test_a_tab_and_another_name(tmp_path):
    (tmp_path / "a.txt").write_text("photo_id\tlat\tlng\tuser\na\t1.5\t2.5\tNA\n")
    assert read(tmp_path / "a.txt").accepted[["author_id", "longitude"]].values.tolist() == [["NA", 2.5]]


def test_a_mapping_and_numbered_rows(tmp_path, shared_data):
    (tmp_path / "a.csv").write_text("breite,laenge,wer\n1,2,ich\nx,2,ich\n3,4,du\n")
    with pytest.raises(InputError, match="none of the layouts"):
        read(tmp_path / "a.csv")
    mapping = {"latitude": "breite", "longitude": "laenge", "author_id": "wer"}
    batch = read(tmp_path / "a.csv", source=mapped_table(mapping))
    assert batch.accepted["photo_id"].tolist() == ["1", "3"]
    with pytest.raises(InputError, match="no column hoehe; it has breite, laenge, wer"):
        read(tmp_path / "a.csv", source=mapped_table({"latitude": "breite", "longitude": "hoehe"}))
    with pytest.raises(InputError, match="needs latitude and longitude, or geometry"):
        mapped_table({"photo_id": "id"})
    with pytest.raises(InputError, match=r"a column mapping has photo_id, .* and not id"):
        mapped_table({"id": "photo_id"})
    real = shared_data / "benchmarks" / "mp16_like_coordinates_100k.csv"
    batch = read(real, source=mapped_table({"latitude": "LAT", "longitude": "LON"}))
    assert len(batch.accepted) + len(batch.rejected) == 100_000


def test_quoted_line_feeds(tmp_path):
    text = 'id,lat,lon,user\n1,1,2,"two\nlines"\n2,1,2,"a ""quote"" here"\n3,1,2,"never closed\n4,1,2,x\n5,1,2,y\n'
    (tmp_path / "a.csv").write_text(text)
    batch = read(tmp_path / "a.csv")
    assert batch.accepted["author_id"].tolist() == ["two\nlines", 'a "quote" here', "x", "y"]
    assert batch.accepted["row_number"].tolist() == [1, 2, 4, 5]
    assert reasons(batch) == {3: "truncated_line"}


def test_swapped_names_are_refused(tmp_path):
    frame = pd.DataFrame({"id": range(50), "lat": np.linspace(-170, 170, 50), "lon": np.linspace(-60, 60, 50)})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    for name in ("a.csv", "a.parquet"):
        with pytest.raises(InputError, match="swapped"):
            read(tmp_path / name)


def test_guessing_wants_an_id_and_a_position():
    assert guess_mapping(["lat", "lon"]) is None
    assert guess_mapping(["id", "lat"]) is None
    assert guess_mapping(["id", "geometry"]) is None
    assert guess_mapping(["id", "geometry"], "geometry") == {"photo_id": "id", "geometry": "geometry"}
    by_name = {"photo_id": "id", "latitude": "Lat", "longitude": "LON"}
    assert guess_mapping(["id", "geometry", "Lat", "LON"], "geometry") == by_name


def test_parquet_types(tmp_path):
    table = pa.table(
        {
            "photo_id": pa.array([1.0, 2.0, None, 4.0]),
            "latitude": pa.array(["1.5", "", "3", "4"]),
            "longitude": pa.array([1, 2, 3, 4], pa.int16()),
            "user": pa.array(["a", None, "b", "NA"]).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    batch = read(tmp_path / "a.parquet", rows_per_batch=3)
    assert batch.accepted[["photo_id", "author_id", "latitude", "longitude"]].values.tolist() == [
        ["1", "a", 1.5, 1.0],
        ["4", "NA", 4.0, 4.0],
    ]
    assert reasons(batch) == {2: "no_coordinates", 3: "no_photo_id"}
    assert json.loads(batch.rejected["raw"][0]) == {"photo_id": 2.0, "latitude": "", "longitude": 2, "user": None}


def test_parquet_text_that_is_not_utf8(tmp_path):
    bad = pa.array([b"ok", b"\xff"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"photo_id": bad, "lat": [1.0, 2.0], "lon": [1.0, 2.0]}), tmp_path / "a.parquet")
    batch = read(tmp_path / "a.parquet")
    assert batch.accepted["photo_id"].tolist() == ["ok"]
    assert reasons(batch) == {2: "undecodable_text"}


def test_geoparquet(tmp_path):
    points = [shapely.Point(5, 52), None, shapely.Point(200, 0), shapely.LineString([(0, 0), (1, 1)]), shapely.Point()]
    frame = gpd.GeoDataFrame({"id": list("abcde")}, geometry=points, crs="EPSG:4326")
    frame.to_parquet(tmp_path / "a.parquet")
    assert detect_source(tmp_path / "a.parquet").name == "columns"
    batch = read(tmp_path / "a.parquet")
    assert batch.accepted[["photo_id", "latitude", "longitude"]].values.tolist() == [["a", 52.0, 5.0]]
    assert reasons(batch) == {2: "no_coordinates", 3: "out_of_range", 4: "bad_coordinates", 5: "no_coordinates"}
    frame.iloc[:1].to_crs("EPSG:3857").to_parquet(tmp_path / "metres.parquet")
    with pytest.raises(InputError, match="EPSG:3857; reproject"):
        read(tmp_path / "metres.parquet")
    frame.iloc[:1].to_parquet(tmp_path / "native.parquet", geometry_encoding="geoarrow")
    assert read(tmp_path / "native.parquet").accepted["latitude"].tolist() == [52.0]


def test_damaged_parquet(tmp_path):
    frame = pd.DataFrame(
        {"id": [str(n) for n in range(5000)], "lat": 1.0, "lon": np.random.default_rng(0).random(5000)}
    )
    frame.to_parquet(tmp_path / "a.parquet", row_group_size=500)
    content = bytearray((tmp_path / "a.parquet").read_bytes())
    (tmp_path / "short.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="damaged"):
        read(tmp_path / "short.parquet", source="columns")
    content[2000:40000] = bytes(38000)
    (tmp_path / "holes.parquet").write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        read(tmp_path / "holes.parquet", source="columns")


number = st.one_of(st.floats(allow_nan=True), st.floats(-90, 90), st.none())


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.tuples(st.one_of(st.none(), st.text(max_size=3)), number, number), min_size=1, max_size=30),
    rows_per_batch=st.integers(1, 40),
)
def test_accepted_and_rejected_are_all_rows_of_a_parquet(tmp_path_factory, rows, rows_per_batch):
    path = tmp_path_factory.getbasetemp() / "generated.parquet"
    ids, lat, lon = zip(*rows, strict=True)
    table = pa.table(
        {"id": pa.array(ids, pa.string()), "lat": pa.array(lat, pa.float64()), "lon": pa.array(lon, pa.float64())}
    )
    pq.write_table(table, path)
    batch = read_unless_swapped(path, rows_per_batch=rows_per_batch)
    if batch is None:
        return
    assert row_numbers(batch) == list(range(1, len(rows) + 1))


cell = st.one_of(st.sampled_from(["1.5", "-20", "91", "", "0", "x", "NA"]), st.text("ab \n,\"'é", max_size=6))


@settings(max_examples=30, deadline=None)
@given(rows=st.lists(st.lists(cell, min_size=4, max_size=4), max_size=15), rows_per_batch=st.integers(1, 20))
def test_accepted_and_rejected_are_all_rows_of_a_quoted_csv(tmp_path_factory, rows, rows_per_batch):
    path = tmp_path_factory.getbasetemp() / "generated_quoted.csv"
    frame = pd.DataFrame(rows, columns=["id", "lat", "lon", "user"])
    frame.to_csv(path, index=False, quoting=1, lineterminator="\n")
    batch = read_unless_swapped(path, source="columns", rows_per_batch=rows_per_batch)
    if batch is None:
        return
    assert row_numbers(batch) == list(range(1, len(rows) + 1))
    kept = frame.iloc[batch.accepted["row_number"] - 1]
    assert batch.accepted["author_id"].tolist() == kept["user"].str.strip().tolist()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_several_datasets_share_a_file_and_every_row_is_one_of_theirs_or_has_a_reason(tmp_path, suffix):
    table = pd.DataFrame(
        {"id": [f"p{n}" for n in range(200)], "lat": 1.5, "lon": 2.5, "who": [f"a{n // 4}" for n in range(200)]}
    ).assign(kind=["city", "street"] * 100, terms=["CC BY 4.0"] * 199 + ["all rights reserved"], name="A b&c?.jpg")
    table.loc[0, "name"] = ""
    path = tmp_path / f"table.{suffix}"
    table.to_csv(path, index=False) if suffix == "csv" else table.to_parquet(path)
    mapping = {"photo_id": "id", "latitude": "lat", "longitude": "lon", "author_id": "who"}
    choice = {"licence": {"terms": "CC BY.*"}, "by": "who", "share": 0.3}
    url = "https://host/{name}?width=330"
    parts = {
        held_out: read(path, source=mapped_table(mapping, RowChoice(**choice, held_out=held_out), url))
        for held_out in (False, True)
    }
    kept, held_out = (set(parts[side].accepted["author_id"]) for side in (False, True))
    assert not kept & held_out
    # 50 authors, of which a keyed hash holds out 0.3: within three binomial deviations.
    assert abs(len(held_out) - 15) <= 3 * np.sqrt(50 * 0.3 * 0.7)
    assert sum(len(part.accepted) for part in parts.values()) == 199
    assert all(len(part.accepted) + len(part.rejected) == 200 for part in parts.values())
    assert sum((part.rejected["reason"] == "licence").sum() for part in parts.values()) == 1
    urls = pd.concat(part.accepted for part in parts.values()).set_index("photo_id")["image_url"]
    assert urls["p1"] == "https://host/A%20b%26c%3F.jpg?width=330"
    assert urls["p0"] == "", "an address with a hole in it is none"
    streets = read(path, source=mapped_table(mapping, RowChoice(where={"kind": "street"})))
    assert reasons(streets) == dict.fromkeys(range(1, 200, 2), "other_rows")
    with pytest.raises(InputError, match="has no column colour; it has id, lat"):
        read(path, source=mapped_table(mapping, RowChoice(by="colour")))

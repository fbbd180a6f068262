"""The DuckDB file: transactions, locks, order."""

import multiprocessing
import time

import duckdb
import numpy as np
import pandas as pd
import pytest

from geoloc_core.errors import InputError
from geoloc_core.photos.schemas import LabeledPhotos
from geoloc_core.photos.warehouse import Warehouse
from geoloc_core.tables import empty


def rows(shard, n, country="NLD"):
    return pd.DataFrame(
        {
            "photo_id": [f"{shard}-{number:04d}" for number in range(n)][::-1],
            "shard": shard,
            "country_id": country,
            "latitude": np.arange(n) / 7.0,
            "label_distance_km": np.full(n, np.nan, dtype=np.float32),
        }
    )


@pytest.fixture
def warehouse(tmp_path):
    return Warehouse(tmp_path / "w" / "photos.duckdb", patience_s=10)


def test_a_shard_is_replaced_and_the_others_stay(warehouse):
    assert warehouse.replace_shard("labeled_photos", "a", rows("a", 5)) == 5
    warehouse.replace_shard("labeled_photos", "b", rows("b", 3))
    warehouse.replace_shard("labeled_photos", "a", rows("a", 2, "BEL"))
    warehouse.replace_shard("labeled_photos", "a", rows("a", 2, "BEL"))
    table = warehouse.read_table("labeled_photos")
    assert table["photo_id"].tolist() == ["a-0000", "a-0001", "b-0000", "b-0001", "b-0002"]
    assert table["country_id"].tolist() == ["BEL"] * 2 + ["NLD"] * 3
    assert table["latitude"].tolist() == [1 / 7, 0.0, 2 / 7, 1 / 7, 0.0]
    assert table["label_distance_km"].dtype == np.float32
    assert table["label_distance_km"].isna().all()
    assert sorted(warehouse.rows_by_shard("labeled_photos")) == ["a", "b"]
    assert warehouse.count_by("labeled_photos", "country_id").values.tolist() == [["NLD", 3], ["BEL", 2]]
    assert warehouse.remove_shard("labeled_photos", "a") == 2
    assert warehouse.remove_shard("nowhere", "a") == 0
    assert sorted(warehouse.rows_by_shard("labeled_photos")) == ["b"]


def test_where_and_columns(warehouse):
    warehouse.replace_table("t", pd.concat([rows("a", 2), rows("b", 2, "BEL"), rows("c", 2, "FRA")]))
    found = warehouse.read_table("t", where={"country_id": ["BEL", "FRA"], "shard": "b"}, columns=["photo_id"])
    assert found.to_dict("list") == {"photo_id": ["b-0000", "b-0001"]}
    assert warehouse.read_table("t", where={"country_id": []}).empty
    assert warehouse.read_table("t", where={"country_id": "x' OR 1=1 --"}).empty


def test_an_empty_table_keeps_its_types(warehouse):
    warehouse.replace_shard("labeled_photos", "a", empty(LabeledPhotos))
    with warehouse.reader() as connection:
        types = dict(connection.execute("SELECT column_name, data_type FROM information_schema.columns").fetchall())
    assert types["country_id"] == "VARCHAR"
    assert types["latitude"] == "DOUBLE"
    assert types["label_distance_km"] == "FLOAT"
    assert warehouse.read_table("labeled_photos").empty


def test_mistakes_are_named(warehouse, tmp_path):
    with pytest.raises(InputError, match="no warehouse"):
        warehouse.read_table("t")
    assert sorted(warehouse.rows_by_shard("t")) == []
    warehouse.replace_table("t", rows("a", 2))
    with pytest.raises(InputError, match="no table other"):
        warehouse.read_table("other")
    with pytest.raises(InputError, match="shard b were given for shard a"):
        warehouse.replace_shard("t", "a", rows("b", 1))
    with pytest.raises(InputError, match="not a name"):
        warehouse.replace_table("t; DROP TABLE t", rows("a", 1))
    with pytest.raises(InputError, match="has the columns"):
        warehouse.replace_shard("t", "a", rows("a", 1).assign(extra=1))
    assert len(warehouse.read_table("t")) == 2  # the rows that were deleted first are back
    (tmp_path / "words.duckdb").write_text("these are words" * 1000)
    with pytest.raises(InputError, match="cannot be opened"):
        Warehouse(tmp_path / "words.duckdb").read_table("t")


def test_a_connection_is_closed_on_error(warehouse):
    warehouse.replace_table("t", rows("a", 1))
    for open_connection in (warehouse.reader, warehouse.writer):
        with pytest.raises(ZeroDivisionError), open_connection() as connection:
            1 / 0  # noqa: B018
        with pytest.raises(duckdb.ConnectionException):
            connection.execute("SELECT 1")


def _hold(path, seconds, ready):
    connection = duckdb.connect(str(path))
    ready.set()
    time.sleep(seconds)
    connection.close()


def test_it_waits_for_another_process(warehouse):
    warehouse.replace_table("t", rows("a", 1))
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_hold, args=(warehouse.path, 1.5, ready))
    process.start()
    assert ready.wait(30)
    impatient = Warehouse(warehouse.path, patience_s=0.2)
    with pytest.raises(InputError, match="in use by another process"):
        impatient.read_table("t")
    assert len(warehouse.read_table("t")) == 1
    process.join(30)


def _write_shards(path, writer, begin):
    begin.wait(60)
    for number in range(5):
        shard = f"w{writer}-{number}"
        Warehouse(path).replace_shard("t", shard, rows(shard, 40))


def test_four_processes_write_at_once_and_all_rows_land(tmp_path):
    """None of them made the file or the table: each meets the others at the very first write."""
    context = multiprocessing.get_context("spawn")
    begin = context.Barrier(4)
    writers = [context.Process(target=_write_shards, args=(tmp_path / "w.duckdb", n, begin)) for n in range(4)]
    for process in writers:
        process.start()
    for process in writers:
        process.join(120)
    assert [process.exitcode for process in writers] == [0, 0, 0, 0]
    expected = {f"w{writer}-{number}": 40 for writer in range(4) for number in range(5)}
    assert Warehouse(tmp_path / "w.duckdb").rows_by_shard("t", every_byte=True) == expected

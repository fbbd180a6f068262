"""Tables, archives and compressed files made to exhaust their reader: refused with a sentence, in bounded memory and time."""

import bz2
import gzip
import io
import json
import lzma
import resource
import struct
import subprocess
import sys
import tarfile
import time
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from geoloc_core.errors import InputError
from geoloc_core.photos import archives
from geoloc_core.photos.sources import lines, mapped_table
from geoloc_core.photos.sources.registry import detect_source
from tests.core.photos.conftest import jpeg, read, reasons


def parquet(path, columns, **options):
    pq.write_table(pa.table(columns), path, store_schema=False, compression="zstd", **options)
    return path


def repeated(value, n, kind=None):
    """A column of one value n times, which Parquet keeps once."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * n, pa.int32()), pa.array([value], kind))


def places(n):
    return {"lat": pa.array([52.0] * n), "lon": pa.array([5.0] * n)}


READ = "import pathlib, sys; from tests.core.photos.conftest import read; print(len(read(pathlib.Path(sys.argv[1])).rejected))"


def in_a_process(path, memory=2 << 30):
    """Rejected rows of `path`, read by a process that may take so many bytes of memory."""
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (memory, memory)),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return int(done.stdout)


def test_a_dictionary_that_repeats_a_megabyte_takes_it_once(tmp_path):
    """A file of 1 kB: 10,000 rows of a megabyte each would be 10 GB as text."""
    path = parquet(tmp_path / "bomb.parquet", {"id": repeated("x" * 1_000_000, 10_000), **places(10_000)})
    assert path.stat().st_size < 2000
    assert in_a_process(path) == 10_000
    batch = read(path)
    assert set(batch.rejected["reason"]) == {"line_too_long"}
    assert batch.rejected["raw"].str.len().max() <= 4_000
    points = repeated(struct.pack("<BIdd", 1, 1, 5.0, 52.0) + bytes(1_000_000), 2_000)
    path = parquet(tmp_path / "points.parquet", {"id": pa.array(range(2_000)), "geometry": points})
    batch = read(path, source=mapped_table.mapped_table({"photo_id": "id", "geometry": "geometry"}))
    assert set(batch.rejected["reason"]) == {"bad_coordinates"}


def test_prefixes_that_repeat_are_read_a_few_at_a_time(tmp_path):
    ids = [f"{'x' * 100_000}{n}" for n in range(2_000)]
    options = {"use_dictionary": False, "column_encoding": {"id": "DELTA_BYTE_ARRAY", "lat": "PLAIN", "lon": "PLAIN"}}
    path = parquet(tmp_path / "prefixes.parquet", {"id": pa.array(ids), **places(2_000)}, **options)
    assert path.stat().st_size < 100_000
    assert set(read(path).rejected["reason"]) == {"line_too_long"}


def test_rows_and_bytes_of_a_parquet_file_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(mapped_table, "ALWAYS_ALLOWED_ROWS", 10_000)
    path = parquet(tmp_path / "rows.parquet", {"id": repeated("a", 50_000), **places(50_000)})
    with pytest.raises(InputError, match="declares 50000 rows in"):
        read(path, source="columns")
    monkeypatch.setattr(mapped_table, "ALWAYS_ALLOWED_BYTES", 100_000)
    texts = {"id": pa.array(["x" * 200_000, "y"]), **places(2)}
    path = parquet(tmp_path / "bytes.parquet", texts, use_dictionary=False)
    with pytest.raises(InputError, match=r"unpacks to \d+ bytes, beyond the limit of 100000"):
        read(path, source="columns")


@pytest.mark.parametrize(
    ("column", "good"),
    [
        (pa.array([["a"], ["b"]]), False),
        (pa.array([{"a": 1}, {"a": 2}]), False),
        (pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())), False),
        (pa.array(["a", "b"], pa.string_view()), True),
        (pa.array([b"a", b"b"], pa.binary_view()), True),
        (pa.array(["a", "b"], pa.large_string()), True),
        (pa.array([True, False]), True),
        (pa.array([1, 2], pa.timestamp("us")), True),
        (pa.array([1, 2], pa.date32()), True),
        (pa.array([1.5, 2.5], pa.float16()), True),
        (pa.array([1, 2], pa.decimal256(60, 2)), True),
    ],
)
def test_columns_of_any_type(tmp_path, column, good):
    for name in ("id", "lat"):
        columns = {"id": pa.array(["a", "b"]), **places(2), name: column}
        pq.write_table(pa.table(columns), tmp_path / "a.parquet")
        if good:
            batch = read(tmp_path / "a.parquet")
            assert len(batch.accepted) + len(batch.rejected) == 2
            assert name == "lat" or len(batch.accepted) == 2
        else:
            with pytest.raises(InputError, match=f"the column {name} of .* holds"):
                read(tmp_path / "a.parquet", source="columns")


def test_metadata_nested_without_end(tmp_path):
    table = pa.table({"id": pa.array(["a"]), **places(1)}).replace_schema_metadata(
        {"geo": '{"columns":' + "[" * 100_000}
    )
    pq.write_table(table, tmp_path / "a.parquet")
    assert len(read(tmp_path / "a.parquet").accepted) == 1
    point = pa.array([struct.pack("<BIdd", 1, 1, 5.0, 52.0)])
    for geo in ({"columns": []}, {"columns": {"geometry": 1}}, {"primary_column": ["geometry"]}, []):
        columns = {"id": pa.array(["a"]), "geometry": point}
        table = pa.table(columns).replace_schema_metadata({"geo": json.dumps(geo)})
        pq.write_table(table, tmp_path / "b.parquet")
        source = mapped_table.mapped_table({"photo_id": "id", "geometry": "geometry"})
        assert read(tmp_path / "b.parquet", source=source).accepted["latitude"].tolist() == [52.0]
    deep = b"".join([struct.pack("<BII", 1, 7, 1)] * 100_000)  # shapely's reader would end the process
    columns = {"id": pa.array(["a", "b"]), "geometry": pa.array([deep, point[0].as_py()])}
    pq.write_table(pa.table(columns), tmp_path / "c.parquet")
    assert reasons(read(tmp_path / "c.parquet", source=source)) == {1: "bad_coordinates"}


def test_two_columns_of_one_name(tmp_path):
    names = ["id", "id", "lat", "lon"]
    pq.write_table(pa.table([pa.array(["a"])] * 2 + [pa.array([1.0])] * 2, names=names), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="several columns called id"):
        read(tmp_path / "a.parquet", source="columns")


ZEROS = {"z.bz2": bz2.compress, "z.gz": gzip.compress, "z.xz": lzma.compress}


@pytest.mark.parametrize("name", ZEROS)
def test_endless_zeros_are_refused_at_once(tmp_path, name, monkeypatch):
    path = tmp_path / name
    path.write_bytes(ZEROS[name](bytes(1 << 20)) * 300)
    begin = time.monotonic()
    with pytest.raises(InputError, match="none of the layouts"):
        detect_source(path)
    assert time.monotonic() - begin < 3
    monkeypatch.setattr(lines, "ALWAYS_ALLOWED_BYTES", 50_000_000)
    monkeypatch.setattr(lines, "MAX_EXPANSION", 2)
    with pytest.raises(InputError, match="unpacks to more than the limit of"):
        list(lines.read_lines(path))


def test_a_compressed_tar_is_not_read_as_text(tmp_path, monkeypatch):
    """Every recogniser of text used to unpack it all in search of a line's end."""
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz", compresslevel=1) as archive:
        info = tarfile.TarInfo("a.jpg")
        info.size = 300_000_000
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    begin = time.monotonic()
    assert detect_source(tmp_path / "a.tar.gz").name == "photo_archive"
    assert time.monotonic() - begin < 1


def test_members_of_a_tar_cost_no_memory(tmp_path):
    path = tmp_path / "many.tar"
    with tarfile.open(path, "w") as archive:
        for number in range(5_000):
            archive.addfile(tarfile.TarInfo(f"folder/{number}.txt"))
    tracemalloc.start()
    assert sum(1 for _ in archives.members(path)) == 5_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 500_000  # the list of all took 5 MB


def test_headers_of_a_tar_are_bounded(tmp_path, monkeypatch):
    for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
        info = tarfile.TarInfo("a.jpg")
        info.type, info.size = kind, 1 << 33
        content = info.tobuf(tarfile.GNU_FORMAT) + bytes(100_000)
        with tarfile.open(tmp_path / "first.tar", "w") as archive:
            archive.addfile(tarfile.TarInfo("b.jpg"))
        (tmp_path / "first.tar").write_bytes((tmp_path / "first.tar").read_bytes()[:512] + content)
        with pytest.raises(InputError, match="declares a name of 8589934592 bytes"):
            list(archives.members(tmp_path / "first.tar"))
    many = b"".join(pax_header(number) for number in range(5_000))
    (tmp_path / "chain.tar").write_bytes((tmp_path / "first.tar").read_bytes()[:512] + many)
    with pytest.raises(InputError, match="is damaged after 1 files"):
        list(archives.members(tmp_path / "chain.tar"))
    empty = tarfile.TarInfo("c.jpg").tobuf()
    (tmp_path / "endless.tar.gz").write_bytes(gzip.compress(empty * 100_000))
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED_BYTES", 10_000_000)
    with pytest.raises(InputError, match="unpacks to more than the limit"):
        list(archives.members(tmp_path / "endless.tar.gz"))


def pax_header(number):
    info = tarfile.TarInfo(f"{number}")
    info.type, info.size = tarfile.XHDTYPE, 512
    return info.tobuf() + b"12 path=abc\n".ljust(512, b"\0")


def test_a_sidecar_of_half_characters_and_deep_lists(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, content in [
            ("a.jpg", jpeg()),
            ("a.json", b'{"lat": 1, "lon": 2, "author": "\\ud800"}'),
            ("b.jpg", jpeg(3.0)),
            ("b.json", b"[" * 500_000),
        ]:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    assert read(tmp_path / "a.tar").accepted["author_id"].tolist() == ["\\ud800", ""]

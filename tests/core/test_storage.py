"""Bytes reach the disk whole or not at all."""

import hashlib
from pathlib import Path

import pytest

from geoloc_core import storage


def test_a_file_is_replaced_whole_and_a_failed_write_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file.bin"
    storage.write_bytes(target, b"old")

    def half() -> None:
        with storage.replacing(target) as file:
            file.write(b"half")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        half()
    assert target.read_bytes() == b"old"
    assert [path.name for path in target.parent.iterdir()] == ["file.bin"]


def test_a_replaced_file_is_readable_by_others(tmp_path: Path) -> None:
    storage.write_text(tmp_path / "a.txt", "x")
    assert (tmp_path / "a.txt").stat().st_mode & 0o444 == 0o444


def test_equal_values_are_equal_bytes_and_hashes(tmp_path: Path) -> None:
    storage.write_json(tmp_path / "a.json", {"b": 1, "a": [1.5, "é"]})
    storage.write_json(tmp_path / "b.json", {"a": [1.5, "é"], "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert storage.read_json(tmp_path / "a.json") == {"a": [1.5, "é"], "b": 1}
    assert storage.value_sha256({"b": 1, "a": 2}) == hashlib.sha256(b'{"a":2,"b":1}').hexdigest()
    assert storage.file_sha256(tmp_path / "a.json") == hashlib.sha256((tmp_path / "a.json").read_bytes()).hexdigest()


def test_a_value_that_json_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        storage.value_sha256({"a": float("nan")})


def test_an_object_store_is_written_through_fsspec() -> None:
    storage.write_bytes("memory://bucket/key.bin", b"abc")
    assert storage.read_bytes("memory://bucket/key.bin") == b"abc"
    assert storage.is_remote("s3://bucket/key")
    assert not storage.is_remote("/data/key")

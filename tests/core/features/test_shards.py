"""Embeddings on disk: every reader sees the same, damage is noticed, and shards join into one matrix."""

from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest

from geoloc_core.errors import StaleArtifactError
from geoloc_core.features.backbones import backbone
from geoloc_core.features.checkpoints import CheckpointIdentity, open_checkpoint
from geoloc_core.features.extract import EmbeddingBlock
from geoloc_core.features.shards import open_matrix, read_shard, shard_metadata, write_shard


@pytest.fixture(scope="module")
def identity(checkpoints: Path) -> CheckpointIdentity:
    spec = backbone("tiny-clip")
    open_checkpoint(spec, checkpoints)
    return open_checkpoint(spec, checkpoints).identity


def block(n: int, seed: int, broken: tuple[int, ...] = (), dimension: int = 192) -> EmbeddingBlock:
    vectors = np.random.default_rng(seed).standard_normal((n, dimension)).astype(np.float16)
    status = ["ok"] * n
    for row in broken:
        vectors[row] = np.nan
        status[row] = "truncated_image"
    return EmbeddingBlock([f"{seed}-{row}" for row in range(n)], vectors, status)


def test_a_shard_comes_back_as_it_was(tmp_path: Path, identity: CheckpointIdentity):
    written = block(50, 1, broken=(0, 7, 49))
    write_shard(tmp_path / "a.parquet", written, identity)
    read, metadata = read_shard(tmp_path / "a.parquet")
    assert read.photo_ids == written.photo_ids
    assert read.status == written.status
    np.testing.assert_array_equal(read.vectors, written.vectors)
    assert metadata["n"] == 50
    assert metadata["n_ok"] == 47
    assert metadata["identity"]["version"] == identity.version
    assert shard_metadata(tmp_path / "a.parquet") == metadata
    write_shard(tmp_path / "b.parquet", written, identity)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_pandas_and_duckdb_read_it_in_two_lines(tmp_path: Path, identity: CheckpointIdentity):
    written = block(20, 3, broken=(4,))
    path = tmp_path / "a.parquet"
    write_shard(path, written, identity)
    for frame in (pd.read_parquet(path), duckdb.sql(f"from '{path}'").df()):
        matrix = np.frombuffer(b"".join(frame["vector"]), "<f2").reshape(len(frame), -1)
        np.testing.assert_array_equal(matrix, written.vectors)
        assert frame["photo_id"].tolist() == written.photo_ids
        assert frame["status"].tolist() == written.status


def test_any_flipped_byte_of_the_vectors_is_noticed(tmp_path: Path, identity: CheckpointIdentity):
    path = tmp_path / "a.parquet"
    write_shard(path, block(40, 4), identity)
    good = path.read_bytes()
    for place in range(200, len(good) - 4000, 499):
        damaged = bytearray(good)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(StaleArtifactError, match="materialize"):
            read_shard(path)


def test_other_files_are_no_shards(tmp_path: Path):
    with pytest.raises(StaleArtifactError, match="cannot be read"):
        read_shard(tmp_path / "absent.parquet")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(StaleArtifactError, match="no shard of embeddings"):
        shard_metadata(tmp_path / "other.parquet")


def test_photos_of_two_shards_may_have_one_id(tmp_path: Path, identity: CheckpointIdentity):
    blocks = [block(30, 5, broken=(2,)), block(20, 6)]
    blocks[1].photo_ids[0] = "5-0"
    paths = [tmp_path / f"{number}.parquet" for number in range(2)]
    for path, one in zip(paths, blocks, strict=True):
        write_shard(path, one, identity)
    matrix, present = open_matrix(paths, ["6-19", "5-0", "nobody", "5-2", "5-0"], np.array([1, 0, 0, 0, 1]))
    assert matrix.dtype == np.float16
    assert present.tolist() == [True, True, False, False, True]
    expected = [blocks[1].vectors[19], blocks[0].vectors[0], blocks[1].vectors[0]]
    np.testing.assert_array_equal(matrix[present], expected)


def test_shards_of_different_checkpoints_do_not_join(tmp_path: Path, identity: CheckpointIdentity, checkpoints: Path):
    spec = backbone("tiny-clip").changed(dtype="bfloat16")
    write_shard(tmp_path / "a", block(3, 7), identity)
    write_shard(tmp_path / "b", block(3, 8), open_checkpoint(spec, checkpoints).identity)
    with pytest.raises(StaleArtifactError, match="2 checkpoints"):
        open_matrix([tmp_path / "a", tmp_path / "b"], ["7-0"], np.array([0]))


@pytest.fixture(scope="module")
def long_shards(tmp_path_factory: pytest.TempPathFactory, identity: CheckpointIdentity) -> tuple[list[Path], dict]:
    """Two shards of more than one row group each, and every vector by its photo."""
    folder = tmp_path_factory.mktemp("long")
    paths, expected = [], {}
    for seed, n in ((11, 20_000), (12, 9_000)):
        broken = (0, 8191, 8192, 8999)
        one = block(n, seed, broken=broken, dimension=16)
        paths.append(folder / f"{seed}.parquet")
        write_shard(paths[-1], one, replace(identity, dimension=16))
        expected |= {one.photo_ids[row]: one.vectors[row] for row in range(n) if row not in broken}
    return paths, expected


@pytest.mark.parametrize("order", ["as stored", "some of them", "shuffled some"])
@pytest.mark.parametrize("in_memory_bytes", [None, 0])
def test_a_matrix_holds_each_photo_s_own_vector(order: str, in_memory_bytes: int | None, long_shards):
    paths, expected = long_shards
    ids = [f"{seed}-{row}" for seed, n in ((11, 20_000), (12, 9_000)) for row in range(n)]
    rng = np.random.default_rng(0)
    if "some" in order:
        ids = [ids[row] for row in np.flatnonzero(rng.random(len(ids)) < 0.5)]
    if "shuffled" in order:
        ids = [ids[row] for row in rng.permutation(len(ids))]
    matrix, present = open_matrix(
        paths, ids, np.array([photo_id.startswith("12-") for photo_id in ids]), in_memory_bytes
    )
    assert isinstance(matrix, np.memmap) == (in_memory_bytes == 0)
    assert present.tolist() == [photo_id in expected for photo_id in ids]
    right = np.stack([expected.get(photo_id, np.zeros(16, np.float16)) for photo_id in ids])
    np.testing.assert_array_equal(matrix, right)


def test_a_flipped_byte_does_not_reach_a_matrix(tmp_path: Path, identity: CheckpointIdentity):
    path = tmp_path / "a.parquet"
    one = block(40, 13, broken=(5,))
    write_shard(path, one, identity)
    content = bytearray(path.read_bytes())
    place = content.index(one.vectors[20].tobytes())
    content[place + 7] ^= 1
    path.write_bytes(content)
    with pytest.raises(StaleArtifactError, match="damaged"):
        open_matrix([path], one.photo_ids, np.zeros(40))


def test_a_shard_without_a_single_vector(tmp_path: Path, identity: CheckpointIdentity):
    one = block(3, 14, broken=(0, 1, 2))
    write_shard(tmp_path / "a.parquet", one, identity)
    assert read_shard(tmp_path / "a.parquet")[0].status == one.status
    write_shard(tmp_path / "b.parquet", block(0, 15), identity)
    assert read_shard(tmp_path / "b.parquet")[0].photo_ids == []
    _, present = open_matrix([tmp_path / "a.parquet", tmp_path / "b.parquet"], one.photo_ids, np.zeros(3))
    assert not present.any()

"""Pictures come from folders, archives and the web, and the manifest says what became of each."""

import pytest

from geoloc_core.errors import InputError
from geoloc_core.photos.picture_paths import mp16_path
from geoloc_core.photos.pictures import gather_pictures, picture_folder
from geoloc_core.photos.settings import Dataset, FetchPolicy
from geoloc_core.photos.shard_rows import read_shard_rows
from tests.core.photos.conftest import jpeg, write_table, zipped


def dataset_of(tmp_path, rows=(), **settings):
    metadata = write_table(tmp_path / "m.csv", rows) if rows else settings.pop("metadata")
    return Dataset(name="d", metadata=metadata, **settings)


def gathered(dataset, tmp_path, **options):
    photos = read_shard_rows(dataset, 0, tmp_path / "cut").accepted
    return gather_pictures(photos, dataset, tmp_path / "own", tmp_path / "ledger.jsonl", **options)


def statuses(*arguments, **options):
    return gathered(*arguments, **options).manifest["status"].tolist()


def test_an_archive_is_unpacked_once(tmp_path):
    content = {f"a/{n}.jpg": jpeg(seed=n) for n in (1, 2)}
    archive = zipped(tmp_path / "photos.zip", {**content, "read.me": b"hello", "../3.jpg": jpeg(seed=3)})
    rows = [{"photo_id": n, "image_path": f"a/{n}.jpg"} for n in (1, 2, 4)]
    dataset = dataset_of(tmp_path, rows, images=str(archive))
    first = gathered(dataset, tmp_path)
    assert first.manifest["status"].tolist() == ["ok", "ok", "missing_file"]
    assert first.unpacked == {"not_a_photo": 1, "unsafe_path": 1, "written": 2}
    assert picture_folder(dataset, tmp_path / "own") == tmp_path / "own"
    assert not (tmp_path / "3.jpg").exists()

    (tmp_path / "own" / "a" / "1.jpg").unlink()  # it is not looked into again while it is the same archive ...
    assert statuses(dataset, tmp_path) == ["missing_file", "ok", "missing_file"]
    zipped(archive, {**content, "a/4.jpg": jpeg(seed=4)})
    again = gathered(dataset, tmp_path)  # ... and is when it is another
    assert again.manifest["status"].tolist() == ["ok"] * 3
    assert again.unpacked == {"already_there": 1, "written": 2}


@pytest.mark.parametrize(
    ("layout", "names"),
    [
        ("as_given", ["x/7.jpg", "x/8.jpg"]),
        ("mp16", [mp16_path("7"), mp16_path("8")]),
        ("by_name", ["some/where/7.jpg", "8.jpg"]),
    ],
)
def test_pictures_are_found_in_a_folder_of_archives(tmp_path, layout, names):
    for number, name in enumerate(names):
        zipped(tmp_path / "images" / f"{number:02d}.zip", {name: jpeg(seed=number)})
    rows = [{"photo_id": n, "image_path": f"x/{n}.jpg"} for n in (7, 8)]
    manifest = gathered(dataset_of(tmp_path, rows, images=str(tmp_path / "images"), layout=layout), tmp_path).manifest
    assert manifest["status"].tolist() == ["ok", "ok"]
    assert manifest["image_path"].tolist() == [f"00.zip/{names[0]}", f"01.zip/{names[1]}"]


def test_two_archives_with_the_same_picture_are_an_error_and_not_a_guess(tmp_path):
    for number in range(2):
        zipped(tmp_path / "images" / f"{number:02d}.zip", {"7.jpg": jpeg(seed=number)})
    dataset = dataset_of(tmp_path, [{"photo_id": 7, "image_path": "7.jpg"}], images=str(tmp_path / "images"))
    with pytest.raises(InputError, match=r"two archives hold the picture 7\.jpg: 00\.zip and 01\.zip"):
        gathered(dataset, tmp_path)


@pytest.mark.parametrize("names", [["00000.zip", "00001.zip"], ["photos.part1.zip", "photos.part2.zip"]])
def test_a_webdataset_of_several_archives_brings_its_own_metadata(tmp_path, names):
    for number, name in enumerate(names):
        facts = f'{{"id": "s{number}", "latitude": {40 + number}, "longitude": 3, "author": "me"}}'.encode()
        zipped(tmp_path / "wds" / name, {"0.jpg": jpeg(seed=number), "0.json": facts})
    dataset = dataset_of(tmp_path, metadata=str(tmp_path / "wds"))
    rows = read_shard_rows(dataset, 0, tmp_path / "cut").accepted
    assert rows[["photo_id", "latitude"]].values.tolist() == [["s0", 40.0], ["s1", 41.0]]
    manifest = gathered(dataset, tmp_path).manifest
    assert manifest["status"].tolist() == ["ok", "ok"]
    assert manifest["image_path"].tolist() == [f"{name}/0.jpg" for name in names]
    assert manifest["sha256"].nunique() == 2


def test_a_folder_of_pictures_is_used_where_it_lies(tmp_path):
    (tmp_path / "images" / "a").mkdir(parents=True)
    (tmp_path / "images" / "a" / "1.jpg").write_bytes(jpeg())
    zipped(tmp_path / "images" / "beside.zip", {"2.jpg": jpeg()})
    dataset = dataset_of(tmp_path, [{"photo_id": 1, "image_path": "a/1.jpg"}], images=str(tmp_path / "images"))
    assert statuses(dataset, tmp_path) == ["ok"]
    assert not (tmp_path / "own").exists()


def test_pictures_are_fetched_and_a_second_run_asks_only_for_what_may_still_come(tmp_path, server):
    paths = {1: "noise/20.jpg", 2: "404/2.jpg", 3: "shaky/3.jpg", **{n: f"noise/{n}.jpg" for n in range(10, 15)}}
    rows = [{"photo_id": n, "image_url": f"http://127.0.0.1:{server.port}/{path}"} for n, path in paths.items()]
    dataset = dataset_of(tmp_path, [*rows, {"photo_id": 77, "image_url": ""}], fetch=True)
    policy = FetchPolicy(attempts=1, allowed_networks=["127.0.0.1/32"])
    first = gathered(dataset, tmp_path, policy=policy)
    expected = ["ok", "not_found", "server_error", *["placeholder"] * 5, "no_image"]
    assert first.manifest["status"].tolist() == expected
    assert first.fetched == {"ok": 6, "not_found": 1, "server_error": 1}
    assert first.may_come_later == 1
    assert first.manifest["image_path"].tolist()[:2] == [mp16_path("1"), mp16_path("2")]
    assert server.asked["/shaky/3.jpg"] == 1

    server.asked.clear()
    server.asked["/shaky/3.jpg"] = 3  # its next answer is the picture
    second = gathered(dataset, tmp_path, policy=policy)
    assert server.asked == {"/shaky/3.jpg": 4}
    assert second.manifest["status"].tolist() == ["ok", "not_found", "ok", *["placeholder"] * 5, "no_image"]
    assert second.may_come_later == 0

"""Pictures come from folders, archives and the web, and the manifest tells of each."""

import io
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from geoloc_core.errors import InputError
from geoloc_core.line.layout import Layout
from geoloc_core.line.profile import Profile, parse_profile
from geoloc_core.photos.layouts import mp16_path
from geoloc_core.photos.pictures import gather_pictures, picture_folder
from geoloc_core.photos.rows import read_shard_rows


def jpeg(seed: int) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def metadata(path: Path, rows: list[dict[str, Any]]) -> str:
    spread = [{"latitude": 50.0 + n, "longitude": 4.0 + n, **row} for n, row in enumerate(rows)]
    pd.DataFrame(spread).to_csv(path, index=False)
    return str(path)


def profile_of(dataset: dict[str, Any], **more: Any) -> Profile:
    value = {
        "name": "p",
        "features": {"a": ["tiny-clip"]},
        "experiments": ["a.linear.country.thesis"],
        "training": [{"name": "d", **dataset}],
        **more,
    }
    return parse_profile(value)


def gathered(profile: Profile, home: Path) -> Any:
    layout = Layout(home)
    return gather_pictures(profile, "d", layout, read_shard_rows(profile, "d", layout).accepted)


def test_an_archive_is_unpacked_once(tmp_path: Path) -> None:
    zipped(tmp_path / "photos.zip", {"a/1.jpg": jpeg(1), "a/2.jpg": jpeg(2), "read.me": b"hello", "../3.jpg": jpeg(3)})
    table = metadata(tmp_path / "m.csv", [{"photo_id": n, "image_path": f"a/{n}.jpg"} for n in (1, 2, 4)])
    profile = profile_of({"metadata": table, "images": str(tmp_path / "photos.zip")})
    first = gathered(profile, tmp_path / "home")
    assert first.manifest["status"].tolist() == ["ok", "ok", "missing_file"]
    assert first.unpacked == {"not_a_photo": 1, "unsafe_path": 1, "written": 2}
    folder = Layout(tmp_path / "home").pictures("d")
    assert picture_folder(profile.training[0], Layout(tmp_path / "home")) == folder
    assert not (tmp_path / "home" / "pictures" / "3.jpg").exists()

    (folder / "a" / "1.jpg").unlink()  # it is not looked into again while it is the same archive ...
    assert gathered(profile, tmp_path / "home").manifest["status"].tolist() == ["missing_file", "ok", "missing_file"]
    zipped(tmp_path / "photos.zip", {"a/1.jpg": jpeg(1), "a/2.jpg": jpeg(2), "a/4.jpg": jpeg(4)})
    again = gathered(profile, tmp_path / "home")  # ... and is when it is another
    assert again.manifest["status"].tolist() == ["ok"] * 3
    assert again.unpacked == {"already_there": 1, "written": 2}


@pytest.mark.parametrize("layout", ["as_given", "mp16", "by_name"])
def test_pictures_are_found_in_a_folder_of_archives(tmp_path: Path, layout: str) -> None:
    names = {
        "as_given": ["x/7.jpg", "x/8.jpg"],
        "mp16": [mp16_path("7"), mp16_path("8")],
        "by_name": ["some/where/7.jpg", "8.jpg"],
    }[layout]
    for number, name in enumerate(names):
        zipped(tmp_path / "images" / f"{number:02d}.zip", {name: jpeg(number)})
    table = metadata(tmp_path / "m.csv", [{"photo_id": n, "image_path": f"x/{n}.jpg"} for n in (7, 8)])
    profile = profile_of({"metadata": table, "images": str(tmp_path / "images"), "layout": layout})
    manifest = gathered(profile, tmp_path / "home").manifest
    assert manifest["status"].tolist() == ["ok", "ok"]
    assert manifest["image_path"].tolist() == [f"00.zip/{names[0]}", f"01.zip/{names[1]}"]


def test_two_archives_with_the_same_picture_are_an_error_and_not_a_guess(tmp_path: Path) -> None:
    for number in range(2):
        zipped(tmp_path / "images" / f"{number:02d}.zip", {"7.jpg": jpeg(number)})
    table = metadata(tmp_path / "m.csv", [{"photo_id": 7, "image_path": "7.jpg"}])
    profile = profile_of({"metadata": table, "images": str(tmp_path / "images")})
    with pytest.raises(InputError, match=r"two archives hold the picture 7\.jpg: 00\.zip and 01\.zip"):
        gathered(profile, tmp_path / "home")


def test_a_webdataset_of_several_shards_brings_its_own_metadata(tmp_path: Path) -> None:
    for number in range(2):
        facts = f'{{"id": "s{number}", "latitude": {40 + number}, "longitude": 3, "author": "me"}}'.encode()
        zipped(tmp_path / "wds" / f"{number:05d}.zip", {"0.jpg": jpeg(number), "0.json": facts})
    profile = profile_of({"metadata": str(tmp_path / "wds")})
    rows = read_shard_rows(profile, "d", Layout(tmp_path / "home")).accepted
    assert rows["photo_id"].tolist() == ["s0", "s1"]
    assert rows["latitude"].tolist() == [40.0, 41.0]
    manifest = gathered(profile, tmp_path / "home").manifest
    assert manifest["status"].tolist() == ["ok", "ok"]
    assert manifest["image_path"].tolist() == ["00000.zip/0.jpg", "00001.zip/0.jpg"]
    assert manifest["sha256"].nunique() == 2


def test_archives_whose_names_begin_alike_do_not_overwrite_each_other(tmp_path: Path) -> None:
    for part in (1, 2):
        facts = f'{{"id": "p{part}", "latitude": {40 + part}, "longitude": 3}}'.encode()
        zipped(tmp_path / "wds" / f"photos.part{part}.zip", {"0.jpg": jpeg(part), "0.json": facts})
    manifest = gathered(profile_of({"metadata": str(tmp_path / "wds")}), tmp_path / "home").manifest
    assert manifest["status"].tolist() == ["ok", "ok"]
    assert manifest["sha256"].nunique() == 2


def test_a_folder_of_pictures_is_used_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "images" / "a").mkdir(parents=True)
    (tmp_path / "images" / "a" / "1.jpg").write_bytes(jpeg(1))
    zipped(tmp_path / "images" / "beside.zip", {"2.jpg": jpeg(2)})
    table = metadata(tmp_path / "m.csv", [{"photo_id": 1, "image_path": "a/1.jpg"}])
    profile = profile_of({"metadata": table, "images": str(tmp_path / "images")})
    assert gathered(profile, tmp_path / "home").manifest["status"].tolist() == ["ok"]
    assert not (tmp_path / "home" / "pictures").exists()


class Web:
    """Pictures on loopback: `/N.jpg` is one, but for those that are gone, busy, or answered with a stand-in."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.busy = {"/3.jpg"}
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.asked.append(self.path)
                number = int(self.path.strip("/").split(".")[0])
                status = 404 if number == 2 else 503 if self.path in web.busy else 200
                body = jpeg(99 if number >= 10 else number) if status == 200 else b"no"
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Silence."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, number: int) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/{number}.jpg"


@pytest.fixture
def web() -> Iterator[Web]:
    made = Web()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_pictures_are_fetched_and_a_second_run_asks_only_for_what_may_still_come(tmp_path: Path, web: Web) -> None:
    numbers = [1, 2, 3, *range(10, 15)]
    rows = [{"photo_id": n, "image_url": web.url(n)} for n in numbers] + [{"photo_id": 77, "image_url": ""}]
    dataset = {"metadata": metadata(tmp_path / "m.csv", rows), "fetch": True}
    rules = {"attempts": 2, "allowed_networks": ["127.0.0.1/32"]}
    profile = profile_of(dataset, fetching=rules)
    first = gathered(profile, tmp_path / "home")
    expected = ["ok", "not_found", "server_error", *["placeholder"] * 5, "no_image"]
    assert first.manifest["status"].tolist() == expected
    assert first.fetched == {"ok": 6, "not_found": 1, "server_error": 1}
    assert first.may_come_later == 1
    assert first.manifest["image_path"].tolist()[:2] == [mp16_path("1"), mp16_path("2")]
    assert web.asked.count("/3.jpg") == 2

    web.asked.clear()
    web.busy.clear()
    second = gathered(profile, tmp_path / "home")
    assert web.asked == ["/3.jpg"]
    assert second.manifest["status"].tolist() == ["ok", "not_found", "ok", *["placeholder"] * 5, "no_image"]
    assert second.may_come_later == 0


def test_an_address_inside_the_house_is_not_asked_by_default(tmp_path: Path, web: Web) -> None:
    rows = [{"photo_id": 1, "image_url": web.url(1)}]
    found = gathered(profile_of({"metadata": metadata(tmp_path / "m.csv", rows), "fetch": True}), tmp_path / "home")
    assert found.manifest["status"].tolist() == ["blocked_address"]
    assert web.asked == []

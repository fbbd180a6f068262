"""Tar, zip and WebDataset, and how they are unpacked; image layouts."""

import io
import json
import tarfile

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoloc_core.errors import InputError
from geoloc_core.photos import archives
from geoloc_core.photos.archives import unpack_images
from geoloc_core.photos.images import ImageLimits
from geoloc_core.photos.picture_paths import mp16_path, multimedia_commons_path, place_images
from geoloc_core.photos.sources.registry import detect_source
from tests.core.photos.conftest import jpeg, read, row_numbers, zipped


def tar(path, files, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, content in files:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


ROWS = [
    ("trip/a.jpg", jpeg(52.0), ""),
    ("trip/b.jpg", jpeg(), "no_coordinates"),
    ("notes.txt", b"hello", "not_a_photo"),
    ("../evil.jpg", jpeg(10.0), "unsafe_path"),
    ("link.jpg", None, "unsafe_path"),
    ("broken.jpg", b"broken", "not_an_image"),
    ("trip/a.jpg", jpeg(10.0), "duplicate_id"),
    ("c.JPG", jpeg(48.0), ""),
]
FILES = [(name, content) for name, content, _ in ROWS]


@pytest.mark.parametrize("pack", ["tar", "tar.gz", "tar.xz", "zip"])
def test_every_file_is_a_row(tmp_path, pack):
    path = tmp_path / f"photos.{pack}"
    if pack == "zip":
        with pytest.warns(UserWarning, match="Duplicate"):
            zipped(path, FILES)
    else:
        tar(path, FILES, {"tar": "w", "tar.gz": "w:gz", "tar.xz": "w:xz"}[pack])
    assert detect_source(path).name == "photo_archive"
    batch = read(path, rows_per_batch=3)
    assert batch.accepted[["photo_id", "image_path", "latitude", "longitude"]].values.tolist() == [
        ["trip/a.jpg", "trip/a.jpg", 52.0, 13.5],
        ["c.JPG", "c.JPG", 48.0, 13.5],
    ]
    rejected = list(zip(batch.rejected["raw"], batch.rejected["reason"], strict=True))
    assert rejected == [(name, reason) for name, _, reason in ROWS if reason]


def test_webdataset(tmp_path):
    path = tar(
        tmp_path / "00000.tar",
        [
            ("000/one.jpg", jpeg(10.0)),
            ("000/one.json", json.dumps({"lat": 52.5, "LON": 5.5, "author": "me", "url": "http://x/1.jpg"}).encode()),
            ("000/one.cls", b"3"),
            ("000/two.json", json.dumps({"latitude": "-1.25", "longitude": "2.5", "photo_id": 77}).encode()),
            ("000/two.jpg", jpeg()),
            ("000/three.jpg", jpeg(20.0)),
            ("000/three.json", b"{not json"),
            ("000/four.json", b"{}"),
            ("000/five.jpg", b"broken"),
            ("000/five.json", json.dumps({"lat": 1, "lon": 2}).encode()),
            ("000/six.jpg", jpeg()),
            ("000/six.json", json.dumps({"lat": 91, "lon": float("nan")}).encode()),
        ],
    )
    batch = read(path)
    columns = ["photo_id", "author_id", "latitude", "longitude", "image_path", "image_url"]
    assert batch.accepted[columns].values.tolist() == [
        ["000/one.jpg", "me", 52.5, 5.5, "000/one.jpg", "http://x/1.jpg"],
        ["77", "", -1.25, 2.5, "000/two.jpg", ""],
        ["000/three.jpg", "", 20.0, 13.5, "000/three.jpg", ""],
    ]
    assert batch.rejected["reason"].tolist() == ["not_a_photo", "not_an_image", "no_coordinates"]
    assert batch.rejected["row_number"].tolist() == [4, 5, 6]


def test_unpacking(tmp_path):
    limits = ImageLimits(max_bytes=5000)
    files = [*FILES[:6], ("c.JPG", jpeg(48.0)), ("huge.jpg", bytes(5001))]
    expected = {"not_a_photo": 1, "too_many_bytes": 1, "unsafe_path": 2, "written": 4}
    for path in (tar(tmp_path / "a.tar", files), zipped(tmp_path / "a.zip", files)):
        folder = tmp_path / path.suffix[1:] / "images"
        assert unpack_images(path, folder, limits) == expected
        assert (folder / "trip" / "a.jpg").read_bytes() == jpeg(52.0)
        assert not (folder.parent / "evil.jpg").exists()
        names = sorted(file.name for file in folder.rglob("*") if file.is_file())
        assert names == ["a.jpg", "b.jpg", "broken.jpg", "c.JPG"]
        again = {"already_there" if outcome == "written" else outcome: n for outcome, n in expected.items()}
        assert unpack_images(path, folder, limits) == again


def test_a_link_on_the_disk_is_not_followed_out(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "trip").symlink_to(tmp_path)
    assert unpack_images(tar(tmp_path / "a.tar", FILES[:1]), folder, ImageLimits()) == {"unsafe_path": 1}
    assert not (tmp_path / "a.jpg").exists()


def test_bombs_and_damage_are_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED_BYTES", 1_000_000)
    bomb = zipped(tmp_path / "bomb.zip", [(f"{n}.jpg", bytes(100_000)) for n in range(40)])
    with pytest.raises(InputError, match="20 times its size"):
        unpack_images(bomb, tmp_path / "out", ImageLimits())
    whole = tar(tmp_path / "a.tar.gz", [(f"{n}.jpg", jpeg(n + 1.0)) for n in range(30)], "w:gz")
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(whole.read_bytes()[:-600])
    with pytest.raises(InputError, match=r"damaged (after|in)"):
        read(cut)
    flipped = bytearray(zipped(tmp_path / "a.zip", FILES[:1]).read_bytes())
    flipped[60] ^= 0xFF
    (tmp_path / "flipped.zip").write_bytes(flipped)
    batch = read(tmp_path / "flipped.zip")
    assert batch.rejected[["raw", "reason"]].values.tolist() == [["trip/a.jpg", "unreadable_file"]]
    assert unpack_images(tmp_path / "flipped.zip", tmp_path / "out", ImageLimits()) == {"unreadable_file": 1}


member = st.tuples(
    st.sampled_from(["a.jpg", "b.jpg", "b.json", "d/a.png", "x.txt", "../u.jpg", "b.cls", "é.jpg"]),
    st.sampled_from([jpeg(1.0), jpeg(), b"", b"words", b'{"lat": 3, "lon": 4}', None]),
)


@settings(max_examples=30, deadline=None)
@given(files=st.lists(member, min_size=1, max_size=12), rows_per_batch=st.integers(1, 8))
def test_accepted_and_rejected_are_all_rows(tmp_path_factory, files, rows_per_batch):
    path = tar(tmp_path_factory.getbasetemp() / "generated.tar", files)
    batch = read(path, rows_per_batch=rows_per_batch, source="photo_archive")
    # Rows by another way of counting: pictures, links out of the archive, and other files that have no picture beside them.
    samples, previous = [], None
    for name, content in files:
        key = name.rsplit("/", 1)[0] * ("/" in name) + "|" + name.rsplit("/", 1)[-1].split(".")[0]
        if key != previous:
            samples.append([])
        samples[-1].append("link" if content is None else "picture" if name.endswith(("jpg", "png")) else "other")
        previous = key
    rows = sum(len(sample) - sample.count("other") * ("picture" in sample) for sample in samples)
    assert row_numbers(batch) == list(range(1, rows + 1))


def test_layouts(tmp_path):
    assert mp16_path("4325164013") == "2e/b5/4325164013.jpg"
    assert multimedia_commons_path("139a19f6") == "139/a19/139a19f6.jpg"
    photos = pd.DataFrame({"photo_id": ["1", "2"], "image_path": ["1.jpg", "2.jpg"]})
    (tmp_path / "00").mkdir()
    (tmp_path / "00" / "2.jpg").write_bytes(b"x")
    (tmp_path / "00" / "2.txt").write_bytes(b"x")
    assert place_images(photos, "as_given", tmp_path)["image_path"].tolist() == ["1.jpg", "2.jpg"]
    assert place_images(photos, "by_name", tmp_path)["image_path"].tolist() == ["1.jpg", "00/2.jpg"]
    assert place_images(photos, "mp16", tmp_path)["image_path"].tolist() == [mp16_path("1"), mp16_path("2")]
    (tmp_path / "2.JPG").write_bytes(b"x")
    with pytest.raises(InputError, match="two images of photo 2"):
        place_images(photos, "by_name", tmp_path)

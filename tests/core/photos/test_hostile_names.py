"""Names from outside that cannot be files, and links: one row is refused with its reason, never the shard."""

import pandas as pd
import pytest

from geoloc_core.photos.archives import unpack_images
from geoloc_core.photos.file_names import LONGEST_NAME, LONGEST_PATH, is_safe_path
from geoloc_core.photos.images import ImageLimits, RefusedImage, build_manifest, write_inside
from tests.core.photos.conftest import jpeg, read, reasons
from tests.core.photos.test_archives import tar, zipped
from tests.core.photos.test_fetch import fetch, photos

LONG = "x" * 252 + ".jpg"  # 256 bytes
CLASHES = [("a.jpg", jpeg(1.0)), ("a.jpg/b.jpg", jpeg(2.0)), ("c.jpg/d.jpg", jpeg(3.0)), ("c.jpg", jpeg(4.0))]


def test_which_names_can_be_files():
    assert len(LONG) - 1 == LONGEST_NAME
    for good in ("", "a.jpg", "./a.jpg", "a/b/c.jpg", "x" * 255, "é" * 127, "/".join(["ab"] * 341), "a..jpg"):
        assert is_safe_path(good), good
    unsafe = [LONG, f"{LONG}/a.jpg", "é" * 128, "/".join(["ab"] * 342), ".", "a/.", "a/", "..", "a/../b.jpg", "/a"]
    assert len("/".join(["ab"] * 342)) > LONGEST_PATH
    for bad in (*unsafe, "C:a", "a\\b", "a\x00b"):
        assert not is_safe_path(bad), bad


@pytest.mark.parametrize("pack", [tar, zipped])
def test_members_that_cannot_be_files(tmp_path, pack):
    path = pack(tmp_path / "a.archive", [*CLASHES, (LONG, jpeg(5.0)), ("." * 2, b"x"), ("last.jpg", jpeg(6.0))])
    assert unpack_images(path, tmp_path / "out", ImageLimits()) == {"unsafe_path": 4, "written": 3}
    assert (tmp_path / "out" / "last.jpg").read_bytes() == jpeg(6.0)
    batch = read(path)
    assert reasons(batch, "raw") == {LONG: "unsafe_path", "..": "not_a_photo"}
    # Its rows say where a picture should lie; one of two that cannot be there together is missing.
    manifest = build_manifest(batch.accepted, tmp_path / "out").set_index("photo_id")["status"]
    assert manifest.to_dict() == {
        "a.jpg": "ok",
        "a.jpg/b.jpg": "missing_file",
        "c.jpg/d.jpg": "ok",
        "c.jpg": "missing_file",
        "last.jpg": "ok",
    }


def test_a_picture_is_written_inside_or_refused(tmp_path):
    write_inside(tmp_path, "a/b.jpg", b"x")
    assert (tmp_path / "a" / "b.jpg").read_bytes() == b"x"
    for bad in ("a", "a/b.jpg/c.jpg", "a/b.jpg/c/d.jpg", "../c.jpg", ".", "x." + "y" * 253):
        with pytest.raises(RefusedImage) as caught:
            write_inside(tmp_path, bad, b"x")
        assert caught.value.reason == "unsafe_path"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b.jpg"]


def test_fetched_names_that_cannot_be_files(server, tmp_path):
    frame = photos(server, [f"ok/{number}" for number in range(5)])
    frame["photo_id"] = ["i" * 300, "p1", "p2", "p3", "p4"]  # the first would become a file of that name
    frame["image_path"] = ["", "a.jpg", "a.jpg/b.jpg", ".", "good.jpg"]
    statuses = fetch(server, tmp_path, frame)["status"].tolist()
    assert (statuses[0], statuses[3], statuses[4]) == ("unsafe_path", "unsafe_path", "ok")
    assert sorted(statuses[1:3]) == ["ok", "unsafe_path"]  # whichever comes first


def test_rows_with_such_names_are_refused(tmp_path):
    rows = {"id": list("abcd"), "lat": 52.0, "lon": 5.0, "path": ["1.jpg", LONG, ".", "b/"]}
    pd.DataFrame(rows).to_csv(tmp_path / "a.csv", index=False)
    assert reasons(read(tmp_path / "a.csv")) == {2: "unsafe_path", 3: "unsafe_path", 4: "unsafe_path"}


def linked(folder):
    """A folder of photos with links: to a photo and a folder inside, and out of it."""
    outside = folder.parent / "outside"
    for path in (outside / "o.jpg", folder / "trip" / "a.jpg", folder / "b.jpg"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(10.0))
    (folder / "inside.jpg").symlink_to("trip/a.jpg")
    (folder / "out.jpg").symlink_to(outside / "o.jpg")
    (folder / "twice").symlink_to("trip")
    (folder / "away").symlink_to(outside)
    (folder / "round.jpg").symlink_to("round.jpg")
    (folder / "nowhere.jpg").symlink_to("none.jpg")
    return folder


def test_one_rule_for_links(tmp_path):
    """A link is followed where its target lies inside the folder; evaluate, training and the manifest agree."""
    folder = linked(tmp_path / "photos")
    batch = read(folder)
    assert batch.accepted["photo_id"].tolist() == ["b.jpg", "inside.jpg", "trip/a.jpg"]
    refused = reasons(batch, "raw")
    assert refused.pop("round.jpg") in ("missing_file", "unreadable_file")
    expected = {"out.jpg": "unsafe_path", "nowhere.jpg": "missing_file", "twice": "not_a_photo", "away": "not_a_photo"}
    assert refused == expected
    everything = pd.DataFrame({"photo_id": [*batch.accepted["photo_id"], *batch.rejected["raw"]]})
    manifest = build_manifest(everything.assign(image_path=everything["photo_id"]), folder)
    assert manifest["status"].tolist()[:3] == ["ok"] * 3
    by_name = manifest.set_index("photo_id")["status"]
    assert (by_name["out.jpg"], by_name["away"], by_name["nowhere.jpg"]) == (
        "unsafe_path",
        "unsafe_path",
        "missing_file",
    )
    # The folder itself may be a link.
    (tmp_path / "link").symlink_to(folder)
    assert read(tmp_path / "link").accepted["photo_id"].tolist() == batch.accepted["photo_id"].tolist()


def test_the_same_rule_in_archives(tmp_path):
    import tarfile

    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(linked(tmp_path / "photos"), ".")
        hard = tarfile.TarInfo("hard.jpg")
        hard.type, hard.linkname = tarfile.LNKTYPE, "../outside/o.jpg"
        archive.addfile(hard)
    batch = read(tmp_path / "a.tar")
    assert sorted(batch.accepted["photo_id"]) == ["b.jpg", "trip/a.jpg"]
    refused = reasons(batch, "raw")
    assert {name for name, reason in refused.items() if reason == "unsafe_path"} == {"out.jpg", "away", "hard.jpg"}
    # A link to a member is no second photo: the member is a row.
    assert refused["inside.jpg"] == "not_a_photo"
    out = tmp_path / "out"
    assert unpack_images(tmp_path / "a.tar", out, ImageLimits())["written"] == 2
    assert not any(path.is_symlink() for path in out.rglob("*"))
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["o.jpg"]

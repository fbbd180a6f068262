"""A folder of photos with EXIF."""

import os

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from geoloc_core.errors import InputError
from geoloc_core.photos.reasons import IMAGE_REASONS, ROW_REASONS
from geoloc_core.photos.sources.base import collect
from geoloc_core.photos.sources.registry import detect_source, read_metadata


def photo(path, lat=(52.0, 30.0, 36.0), lat_ref="N"):
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if lat is not None:
        exif.get_ifd(0x8825).update({1: lat_ref, 2: lat, 3: "E", 4: (13.0, 15.0, 18.0)})
    Image.new("RGB", (8, 8)).save(path, exif=exif.tobytes())


def test_every_file_is_a_row(tmp_path):
    photo(tmp_path / "b.jpg")
    photo(tmp_path / "trip" / "b.jpg", lat_ref="S")
    photo(tmp_path / "trip" / "c.JPEG", lat=None)
    photo(tmp_path / ".thumbnails" / "t.jpg")
    (tmp_path / "trip" / "notes.txt").write_text("hello")
    (tmp_path / "film.mp4").write_bytes(b"")
    (tmp_path / "broken.jpg").write_bytes(b"broken")
    (tmp_path / os.fsdecode(b"\xff.jpg")).write_bytes(b"x")
    assert detect_source(tmp_path).name == "photo_folder"
    found = collect(read_metadata(tmp_path, "folder", rows_per_batch=2))
    assert found.accepted["photo_id"].tolist() == ["b.jpg", "trip/b.jpg"]
    assert found.accepted["image_path"].tolist() == ["b.jpg", "trip/b.jpg"]
    assert found.accepted["latitude"].tolist() == pytest.approx([52.51, -52.51], abs=1e-6)
    assert dict(zip(found.rejected["raw"], found.rejected["reason"], strict=True)) == {
        "broken.jpg": "not_an_image",
        "film.mp4": "not_a_photo",
        "\\xff.jpg": "undecodable_text",
        "trip/c.JPEG": "no_coordinates",
        "trip/notes.txt": "not_a_photo",
    }
    numbers = sorted([*found.accepted["row_number"], *found.rejected["row_number"]])
    assert numbers == list(range(1, 8))


def test_a_folder_without_pictures_is_not_recognised(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(InputError, match="folder of photos"):
        detect_source(tmp_path)


def test_real_photos(shared_data):
    folder = shared_data / "photos" / "exif_gps"
    labels = pd.read_csv(folder / "labels.csv", keep_default_na=False).set_index("file")
    found = collect(read_metadata(folder, "folder")).accepted.set_index("photo_id")
    assert sorted(found.index) == sorted(labels.index)
    assert found["latitude"].to_dict() == pytest.approx(labels["lat"].to_dict(), abs=1e-4)
    assert found["longitude"].to_dict() == pytest.approx(labels["lon"].to_dict(), abs=1e-4)


def test_real_edge_cases(shared_data):
    folder = shared_data / "photos" / "edge_cases"
    found = collect(read_metadata(folder, "folder"))
    assert found.accepted.empty
    assert len(found.rejected) == 25  # 24 pictures and labels.csv
    reasons = dict(zip(found.rejected["raw"], found.rejected["reason"], strict=True))
    assert reasons["88ed6df64d54f030.jpg"] == "not_an_image"
    assert reasons["labels.csv"] == "not_a_photo"
    assert reasons["bbbd7c5b45f95534.jpg"] == "no_coordinates"


content = st.sampled_from(["photo", "south", "no gps", "cut", "words", "empty", "link", "folder"])
name = st.text("abc.é-", min_size=1, max_size=4)
files = st.dictionaries(st.tuples(name, st.sampled_from([".jpg", ".JPG", ".png", ".txt", ""])), content, max_size=12)


@settings(max_examples=40, deadline=None)
@given(files=files, rows_per_batch=st.integers(1, 6))
def test_accepted_and_rejected_are_all_files(tmp_path_factory, files, rows_per_batch):
    folder = tmp_path_factory.mktemp("generated")
    for (stem, suffix), kind in files.items():
        path = folder / (stem + suffix)
        if path.exists() or path.name in (".", ".."):
            continue
        if kind == "folder":
            path.mkdir()
        elif kind == "link":
            path.symlink_to(folder / "nowhere")
        elif kind in ("words", "empty"):
            path.write_bytes(b"words" if kind == "words" else b"")
        else:
            photo(
                folder / "new.jpg",
                lat=None if kind == "no gps" else (52.0, 30.0, 0.0),
                lat_ref="S" if kind == "south" else "N",
            )
            whole = (folder / "new.jpg").read_bytes()
            (folder / "new.jpg").unlink()
            path.write_bytes(whole[:80] if kind == "cut" else whole)
    expected = sorted(path.name for path in folder.iterdir() if not path.name.startswith(".") and not path.is_dir())
    found = collect(read_metadata(folder, "folder", source="photo_folder", rows_per_batch=rows_per_batch))
    assert sorted([*found.accepted["photo_id"], *found.rejected["raw"]]) == expected
    assert sorted([*found.accepted["row_number"], *found.rejected["row_number"]]) == list(range(1, len(expected) + 1))
    assert set(found.rejected["reason"]) <= {*ROW_REASONS, *IMAGE_REASONS}

"""A folder of photos with EXIF."""

import os

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoloc_core.errors import InputError
from geoloc_core.photos.sources.registry import detect_source
from tests.core.photos.conftest import jpeg, read, reasons, row_numbers


def test_every_file_is_a_row(tmp_path):
    for folder in ("trip", ".thumbnails"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "b.jpg").write_bytes(jpeg((52.0, 30.0, 36.0), lat_ref="S"))
    (tmp_path / "b.jpg").write_bytes(jpeg((52.0, 30.0, 36.0)))
    (tmp_path / "trip" / "c.JPEG").write_bytes(jpeg())
    (tmp_path / "trip" / "notes.txt").write_text("hello")
    (tmp_path / "film.mp4").write_bytes(b"")
    (tmp_path / "broken.jpg").write_bytes(b"broken")
    (tmp_path / os.fsdecode(b"\xff.jpg")).write_bytes(b"x")
    assert detect_source(tmp_path).name == "photo_folder"
    batch = read(tmp_path, rows_per_batch=2)
    assert batch.accepted["photo_id"].tolist() == ["b.jpg", "trip/b.jpg"]
    assert batch.accepted["image_path"].tolist() == ["b.jpg", "trip/b.jpg"]
    assert batch.accepted["latitude"].tolist() == pytest.approx([52.51, -52.51], abs=1e-6)
    assert reasons(batch, "raw") == {
        "broken.jpg": "not_an_image",
        "film.mp4": "not_a_photo",
        "\\xff.jpg": "undecodable_text",
        "trip/c.JPEG": "no_coordinates",
        "trip/notes.txt": "not_a_photo",
    }
    assert row_numbers(batch) == list(range(1, 8))


def test_a_folder_without_pictures_is_not_recognised(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(InputError, match="folder of photos"):
        detect_source(tmp_path)


def test_real_photos(shared_data):
    folder = shared_data / "photos" / "exif_gps"
    labels = pd.read_csv(folder / "labels.csv", keep_default_na=False).set_index("file")
    batch = read(folder).accepted.set_index("photo_id")
    assert sorted(batch.index) == sorted(labels.index)
    assert batch["latitude"].to_dict() == pytest.approx(labels["lat"].to_dict(), abs=1e-4)
    assert batch["longitude"].to_dict() == pytest.approx(labels["lon"].to_dict(), abs=1e-4)


def test_real_edge_cases(shared_data):
    folder = shared_data / "photos" / "edge_cases"
    batch = read(folder)
    assert batch.accepted.empty
    assert len(batch.rejected) == 25  # 24 pictures and labels.csv
    by_name = reasons(batch, "raw")
    assert by_name["88ed6df64d54f030.jpg"] == "not_an_image"
    assert by_name["labels.csv"] == "not_a_photo"
    assert by_name["bbbd7c5b45f95534.jpg"] == "no_coordinates"


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
            whole = jpeg(None if kind == "no gps" else 52.0, lat_ref="S" if kind == "south" else "N")
            path.write_bytes(whole[:80] if kind == "cut" else whole)
    expected = sorted(path.name for path in folder.iterdir() if not path.name.startswith(".") and not path.is_dir())
    batch = read(folder, source="photo_folder", rows_per_batch=rows_per_batch)
    assert sorted([*batch.accepted["photo_id"], *batch.rejected["raw"]]) == expected
    assert row_numbers(batch) == list(range(1, len(expected) + 1))

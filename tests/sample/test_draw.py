import csv
import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from geoloc_core.errors import InputError, ProfileError
from geoloc_core.geography.boundaries import load_boundaries
from geoloc_core.photos.exif import read_gps
from geoloc_core.photos.images import load_image
from geoloc_core.photos.sources.registry import read_metadata
from geoloc_sample import draw
from geoloc_sample.draw import BAD_COORDINATES, BROKEN_FILES, ORIENTATIONS, SampleSpec, draw_delivery

SPEC = SampleSpec(0, 2, 60, {"bench": 30}, image_size=64, broken_share=0.1, bad_coordinates_share=0.1)


@pytest.fixture(scope="module")
def delivery(tmp_path_factory):
    """A folder with the shard sample-00 and the benchmark of SPEC, and their counts by name."""
    folder = tmp_path_factory.mktemp("deliveries")
    return folder, {
        name: draw_delivery(SPEC, name, folder / name, load_boundaries()) for name in ("sample-00", "bench")
    }


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def digest(folder: Path) -> str:
    files = [(path.name, path.read_bytes()) for path in sorted(folder.rglob("*")) if path.is_file()]
    return hashlib.sha256(repr(files).encode()).hexdigest()


def readable(path: Path) -> bool:
    try:
        load_image(path)
    except InputError:
        return False
    return True


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"shards": 101}, "shards is 101; it must be from 1 to 100"),
        ({"image_size": 5000}, "image_size is 5000"),
        ({"broken_share": 0.4}, "broken_share is 0.4"),
        ({"benchmarks": {"b": 0}}, "'b' has no photo"),
        ({"benchmarks": {"sample-01": 5}}, "the name of the training photos"),
    ],
)
def test_a_specification_that_cannot_be_drawn_is_refused(setting, words):
    with pytest.raises(ProfileError, match=words):
        SampleSpec(**setting)


def test_every_fault_is_counted_and_is_there(delivery):
    folder, counts = delivery[0] / "sample-00", delivery[1]["sample-00"]
    rows = rows_of(folder)
    files = [folder / "images" / row["IMG_ID"] for row in rows]
    assert [counts[kind] for kind in (*BROKEN_FILES, *BAD_COORDINATES)] == [2, 2, 1, 1, 2, 2, 2]
    assert (counts["rows"], counts["images"]) == (len(rows), sum(map(readable, files))) == (60, 54)
    present = [path.read_bytes() for path in files if path.exists()]
    assert (len(present), present.count(b"")) == (59, 1)
    assert sum(content.startswith(b"<!DOCTYPE") for content in present) == 2
    latitudes = [row["LAT"] for row in rows]
    assert latitudes.count("") == latitudes.count("0.0") == 2
    assert sum(latitude != "" and abs(float(latitude)) > 90 for latitude in latitudes) == 2
    batches = list(read_metadata(folder / "metadata.csv", "sample"))
    assert sum(len(batch.accepted) for batch in batches) == 54
    assert sum(len(batch.rejected) for batch in batches) == 6


def test_benchmarks_are_whole_and_share_no_author_or_photo_with_shards(delivery):
    folder, counts = delivery
    benchmark, training = rows_of(folder / "bench"), rows_of(folder / "sample-00")
    assert counts["bench"]["rows"] == counts["bench"]["images"] == len(benchmark) == 30
    assert sum(counts["bench"][kind] for kind in (*BROKEN_FILES, *BAD_COORDINATES)) == 0
    for column in ("AUTHOR", "IMG_ID"):
        assert {row[column] for row in benchmark}.isdisjoint(row[column] for row in training)


def test_exif_has_the_coordinates_and_the_orientation_and_nothing_else(delivery):
    for row in rows_of(delivery[0] / "bench"):
        path = delivery[0] / "bench" / "images" / row["IMG_ID"]
        with Image.open(path) as image:
            assert set(image.getexif()) == {0x0112, 0x8825}
        point = read_gps(path)
        assert (point.latitude, point.longitude) == pytest.approx((float(row["LAT"]), float(row["LON"])), abs=1e-7)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_turned_pictures_are_read_upright_from_files_of_the_given_size(orientation):
    upright = Image.fromarray(np.linspace(0, 255, 60 * 40 * 3).reshape(40, 60, 3).astype(np.uint8))
    content = draw.encode(upright, orientation, None, 9000)
    seen = load_image(content)
    assert (len(content), seen.size) == (9000, (60, 40))
    assert np.abs(np.asarray(seen, dtype=int) - np.asarray(upright, dtype=int)).mean() < 4


def test_equal_specifications_draw_equal_bytes_in_any_process(delivery, tmp_path):
    # A fifth shard changes nothing; nor does another hash seed than whichever this process has.
    script = (
        "import dataclasses, pathlib, sys; from tests.sample.test_draw import *\n"
        "draw_delivery(replace(SPEC, shards=5), 'sample-00', pathlib.Path(sys.argv[1]), load_boundaries())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"}
    root = Path(draw.__file__).parents[1]
    subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a")], check=True, env=environment, cwd=root, timeout=120
    )
    assert digest(tmp_path / "a") == digest(delivery[0] / "sample-00")
    draw_delivery(replace(SPEC, seed=1), "sample-00", tmp_path / "b", load_boundaries())
    assert digest(tmp_path / "b") != digest(tmp_path / "a")


def test_a_delivery_is_replaced_whole_and_anything_else_is_refused(tmp_path, monkeypatch):
    folder, precious = tmp_path / "d", tmp_path / "precious" / "thesis.txt"
    draw_delivery(SPEC, "sample-01", folder, load_boundaries())
    before = digest(folder)
    (folder / "images" / "stale.jpg").write_bytes(b"old")
    draw_delivery(SPEC, "sample-01", folder, load_boundaries())
    assert digest(folder) == before
    precious.parent.mkdir()
    precious.write_text("years of work")
    for path in (precious, precious.parent):
        with pytest.raises(InputError, match="not a delivery"):
            draw_delivery(SPEC, "bench", path, load_boundaries())
    with pytest.raises(ProfileError, match="no delivery 'sample-04'; there are sample-00, sample-01, bench"):
        draw_delivery(SPEC, "sample-04", folder, load_boundaries())
    monkeypatch.setattr(draw, "encode", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        draw_delivery(SPEC, "bench", folder, load_boundaries())
    assert digest(folder) == before
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["d", "precious"]

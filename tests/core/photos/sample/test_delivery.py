import csv
import hashlib
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from geoloc_core.errors import InputError
from geoloc_core.photos.exif import read_gps
from geoloc_core.photos.images import load_image
from geoloc_core.photos.sample import delivery
from geoloc_core.photos.sample.delivery import BAD_COORDINATES, BROKEN_FILES, COLUMNS, draw_delivery
from geoloc_core.photos.sample.spec import SampleSpec
from geoloc_core.photos.sources.registry import read_metadata


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def digest(folder: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        total.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


def good(row: dict[str, str]) -> bool:
    return row["LAT"] not in ("", "0.0") and abs(float(row["LAT"])) <= 90


def readable(path: Path) -> bool:
    try:
        load_image(path)
    except InputError:
        return False
    return True


def test_metadata_is_read_by_the_projects_own_source(small_delivery, small_spec):
    assert tuple(rows_of(small_delivery)[0]) == COLUMNS
    batches = list(read_metadata(small_delivery / "metadata.csv", "sample"))
    accepted = sum(len(batch.accepted) for batch in batches)
    rejected = sum(len(batch.rejected) for batch in batches)
    assert accepted + rejected == small_spec.photos_per_shard
    bad = sum(not good(row) for row in rows_of(small_delivery))
    assert rejected == bad == round(small_spec.bad_coordinates_share * small_spec.photos_per_shard)


def test_counts_say_what_lies_there(tmp_path, two_countries):
    spec = SampleSpec(photos_per_shard=80, image_size=64, authors=12, broken_share=0.1, bad_coordinates_share=0.075)
    counts = draw_delivery(spec, "sample-01", tmp_path / "d", two_countries)
    files = [tmp_path / "d" / "images" / row["IMG_ID"] for row in rows_of(tmp_path / "d")]
    assert counts["rows"] == len(files) == 80
    assert {kind: counts[kind] for kind in BROKEN_FILES} == dict.fromkeys(BROKEN_FILES, 2)
    assert {kind: counts[kind] for kind in BAD_COORDINATES} == dict.fromkeys(BAD_COORDINATES, 2)
    assert counts["images"] == sum(readable(path) for path in files) == 72
    assert sum(not path.exists() for path in files) == counts["missing"]
    assert sum(path.exists() and path.stat().st_size == 0 for path in files) == counts["empty"]
    assert sum(path.exists() and path.read_bytes().startswith(b"<!DOCTYPE") for path in files) == 2
    assert counts["authors"] == len({row["AUTHOR"] for row in rows_of(tmp_path / "d")})
    latitudes = [row["LAT"] for row in rows_of(tmp_path / "d")]
    assert (
        latitudes.count("")
        == latitudes.count("0.0")
        == sum(lat != "" and abs(float(lat)) > 90 for lat in latitudes)
        == 2
    )


def test_exif_tells_the_coordinates_and_the_way_up_and_nothing_else(small_delivery):
    orientations = Counter()
    for row in rows_of(small_delivery):
        path = small_delivery / "images" / row["IMG_ID"]
        if not path.exists() or not readable(path):
            continue
        with Image.open(path) as image:
            exif = image.getexif()
            assert set(exif) <= {0x0112, 0x8825}
            orientations[exif[0x0112]] += 1
            assert set(exif.get_ifd(0x8825)) <= {0, 1, 2, 3, 4}
        found = read_gps(path)
        if good(row):
            assert not isinstance(found, str)
            assert found.latitude == pytest.approx(float(row["LAT"]), abs=1e-7)
            assert found.longitude == pytest.approx(float(row["LON"]), abs=1e-7)
        else:
            assert isinstance(found, str)
    assert orientations[1] > 40


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_turned_pictures_come_out_upright(orientation):
    upright = Image.fromarray(np.linspace(0, 255, 60 * 40 * 3).reshape(40, 60, 3).astype(np.uint8))
    turn = delivery.ORIENTATIONS[orientation]
    stored = upright if turn is None else upright.transpose(turn)
    sheet = delivery._Sheet(60, 40, orientation, 95, 9000)
    content = delivery._encode(stored, delivery._exif(orientation, None), sheet)
    assert len(content) == 9000
    seen = load_image(content)
    assert seen.size == (60, 40)
    assert np.abs(np.asarray(seen, dtype=int) - np.asarray(upright, dtype=int)).mean() < 3


@pytest.mark.parametrize("room", [4, 5, 64_999, 65_000, 65_001, 65_003, 65_004, 130_002, 200_000])
def test_a_comment_fills_any_room(room):
    jpeg = delivery._with_comment(_small_jpeg(), room)
    assert len(jpeg) == len(_small_jpeg()) + room
    assert load_image(jpeg).size == (16, 8)


def _small_jpeg() -> bytes:
    import io

    buffer = io.BytesIO()
    Image.new("RGB", (16, 8), (10, 90, 200)).save(buffer, "JPEG")
    return buffer.getvalue()


def test_equal_specifications_draw_equal_bytes_in_any_order_and_process(
    tmp_path, small_spec, small_delivery, two_countries
):
    draw_delivery(small_spec, "bench", tmp_path / "first", two_countries)
    draw_delivery(small_spec, "sample-00", tmp_path / "again", two_countries)
    assert digest(tmp_path / "again") == digest(small_delivery)
    # A fifth shard leaves the others as they are.
    draw_delivery(replace(small_spec, shards=5), "sample-00", tmp_path / "more", two_countries)
    assert digest(tmp_path / "more") == digest(small_delivery)


def test_bytes_do_not_depend_on_the_process(tmp_path, embedded):
    spec = SampleSpec(photos_per_shard=12, image_size=64, authors=5)
    script = (
        "import sys, pathlib\n"
        "from geoloc_core.geography.boundaries import load_boundaries\n"
        "from geoloc_core.photos.sample.delivery import draw_delivery\n"
        "from geoloc_core.photos.sample.spec import SampleSpec\n"
        "spec = SampleSpec(photos_per_shard=12, image_size=64, authors=5)\n"
        "draw_delivery(spec, 'sample-02', pathlib.Path(sys.argv[1]), load_boundaries())\n"
    )
    # Another hash seed than whichever this process has.
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    command = [sys.executable, "-c", script, str(tmp_path / "there")]
    subprocess.run(command, check=True, env=environment, timeout=120)
    draw_delivery(spec, "sample-02", tmp_path / "here", embedded)
    assert digest(tmp_path / "there") == digest(tmp_path / "here")


@pytest.mark.parametrize("change", [{"seed": 1}, {"photos_per_shard": 61}, {"image_size": 80}])
def test_another_specification_draws_other_bytes(change, tmp_path, small_spec, small_delivery, two_countries):
    draw_delivery(replace(small_spec, **change), "sample-00", tmp_path / "d", two_countries)
    assert digest(tmp_path / "d") != digest(small_delivery)


def test_benchmarks_are_whole_and_share_no_author_or_photo_with_shards(
    tmp_path, small_spec, small_delivery, two_countries
):
    counts = draw_delivery(small_spec, "bench", tmp_path / "bench", two_countries)
    assert counts["images"] == counts["rows"] == 30
    rows, training = rows_of(tmp_path / "bench"), rows_of(small_delivery)
    assert all(good(row) and readable(tmp_path / "bench" / "images" / row["IMG_ID"]) for row in rows)
    for column in ("AUTHOR", "IMG_ID"):
        assert {row[column] for row in rows}.isdisjoint(row[column] for row in training)


def test_a_delivery_is_replaced_and_anything_else_is_refused(tmp_path, small_spec, two_countries):
    folder = tmp_path / "d"
    draw_delivery(small_spec, "sample-00", folder, two_countries)
    (folder / "images" / "stale.jpg").write_bytes(b"old")
    draw_delivery(small_spec, "sample-01", folder, two_countries)
    assert not (folder / "images" / "stale.jpg").exists()
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not a delivery"):
        draw_delivery(small_spec, "sample-00", precious, two_countries)
    with pytest.raises(InputError, match="is a file"):
        draw_delivery(small_spec, "sample-00", precious / "thesis.txt", two_countries)
    assert (precious / "thesis.txt").read_text() == "years of work"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "precious"]


def test_a_drawing_that_fails_leaves_the_old_delivery(tmp_path, small_spec, two_countries, monkeypatch):
    folder = tmp_path / "d"
    draw_delivery(small_spec, "sample-00", folder, two_countries)
    before = digest(folder)

    def fails(*_arguments):
        raise OSError("no space left on device")

    monkeypatch.setattr(delivery, "_file_bytes", fails)
    with pytest.raises(OSError, match="no space"):
        draw_delivery(small_spec, "sample-01", folder, two_countries)
    assert digest(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["d"]

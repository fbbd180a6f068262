import hashlib
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from geoloc_core.errors import InputError, ProfileError
from geoloc_core.geography.boundaries import load_boundaries, make_boundary_set
from geoloc_core.geography.locate import RegionLocator
from geoloc_core.photos.exif import read_gps
from geoloc_core.photos.images import load_image
from geoloc_core.photos.sources.registry import read_metadata
from geoloc_sample import draw
from geoloc_sample.draw import BAD_COORDINATES, BROKEN_FILES, ORIENTATIONS, SampleSpec, draw_delivery
from geoloc_sample.scenery import Traits, draw_traits
from geoloc_sample.world import HOME_SHARE, LOCAL_SHARE, SEA_SHARE, Place, World, stream

WORLD = World(20240, load_boundaries())
SPEC = SampleSpec(0, 2, 60, {"bench": 30}, image_size=64, broken_share=0.1, bad_coordinates_share=0.1)


@pytest.fixture(scope="module")
def delivery(tmp_path_factory):
    """A folder with the shard sample-00 and the benchmark of SPEC, and their counts by name."""
    folder = tmp_path_factory.mktemp("deliveries")
    names, boundaries = ("sample-00", "bench"), load_boundaries()
    return folder, {name: draw_delivery(SPEC, name, folder / name, boundaries) for name in names}


def digest(folder: Path) -> str:
    files = [(path.name, path.read_bytes()) for path in sorted(folder.rglob("*")) if path.is_file()]
    return hashlib.sha256(repr(files).encode()).hexdigest()


def readable(path: Path) -> bool:
    with suppress(InputError):
        return bool(load_image(path))
    return False


def test_what_cannot_be_drawn_is_refused(tmp_path):
    with pytest.raises(ProfileError, match="shards is 101; it must be from 1 to 100"):
        SampleSpec(shards=101)
    for benchmarks in ({"b": 0}, {"sample-01": 5}):
        with pytest.raises(ProfileError, match="has no photo or the name of the training photos"):
            SampleSpec(benchmarks=benchmarks)
    with pytest.raises(InputError, match="has no country of the sample"):
        World(1, make_boundary_set("ice", "", load_boundaries().countries.query("region_id == 'ATA'")))
    with pytest.raises(ProfileError, match="no delivery 'sample-04'; there are sample-00, sample-01, bench"):
        draw_delivery(SPEC, "sample-04", tmp_path, load_boundaries())


def test_every_fault_is_counted_and_is_there(delivery):
    folder, counts = delivery[0] / "sample-00", delivery[1]["sample-00"]
    rows = pd.read_csv(folder / "metadata.csv")
    files = [folder / "images" / image_id for image_id in rows["IMG_ID"]]
    assert [counts[kind] for kind in (*BROKEN_FILES, *BAD_COORDINATES)] == [2, 2, 1, 1, 2, 2, 2]
    assert (counts["rows"], counts["images"]) == (len(rows), sum(map(readable, files))) == (60, 54)
    present = [path.read_bytes() for path in files if path.exists()]
    assert (len(present), present.count(b"")) == (59, 1)
    assert sum(content.startswith(b"<!DOCTYPE") for content in present) == 2
    latitude = rows["LAT"]
    assert [latitude.isna().sum(), (latitude == 0).sum(), (latitude.abs() > 90).sum()] == [2, 2, 2]
    batches = [(len(batch.accepted), len(batch.rejected)) for batch in read_metadata(folder / "metadata.csv", "sample")]
    assert np.sum(batches, axis=0).tolist() == [54, 6]


def test_benchmarks_are_whole_with_authors_of_their_own_and_exif_of_coordinates_and_orientation(delivery):
    folder, counts = delivery[0] / "bench", delivery[1]["bench"]
    benchmark, training = (pd.read_csv(delivery[0] / name / "metadata.csv") for name in ("bench", "sample-00"))
    assert counts["rows"] == counts["images"] == len(benchmark) == 30
    assert not benchmark["AUTHOR"].isin(training["AUTHOR"]).any()
    assert not benchmark["IMG_ID"].isin(training["IMG_ID"]).any()
    for row in benchmark.itertuples():
        with Image.open(folder / "images" / row.IMG_ID) as image:
            assert set(image.getexif()) == {0x0112, 0x8825}
        point = read_gps(folder / "images" / row.IMG_ID)
        assert (point.latitude, point.longitude) == pytest.approx((row.LAT, row.LON), abs=1e-7)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_turned_pictures_are_read_upright_from_files_of_the_given_size(orientation):
    upright = Image.fromarray(np.linspace(0, 255, 60 * 40 * 3).reshape(40, 60, 3).astype(np.uint8))
    content = draw.encode(upright, orientation, None, 9000)
    seen = load_image(content)
    assert (len(content), seen.size) == (9000, (60, 40))
    assert np.abs(np.asarray(seen, dtype=int) - np.asarray(upright, dtype=int)).mean() < 4


def test_equal_specifications_draw_equal_bytes_in_any_process(delivery, tmp_path):
    # A fifth shard changes nothing; nor does another hash seed than whichever this process has.
    script = f"""from tests.sample.test_draw import *
draw_delivery(replace(SPEC, shards=5), "sample-00", Path({str(tmp_path / "a")!r}), load_boundaries())"""
    environment = {**os.environ, "PYTHONHASHSEED": "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment, cwd=Path(draw.__file__).parents[1])
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
    monkeypatch.setattr(draw, "encode", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        draw_delivery(SPEC, "bench", folder, load_boundaries())
    assert digest(folder) == before
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["d", "precious"]


@pytest.fixture(scope="module")
def places():
    authors = WORLD.authors("training", 360)
    return [WORLD.place(authors, stream("test", number)) for number in range(3000)]


def test_places_lie_in_their_cells_or_at_sea(places):
    boundaries = load_boundaries()
    longitude, latitude = (np.array([getattr(place, name) for place in places]) for name in ("longitude", "latitude"))
    found = RegionLocator(boundaries).locate(longitude=longitude, latitude=latitude)
    setting = np.array([place.setting for place in places])
    for name, quality in (("land", "inside"), ("coast", "near"), ("ocean", "none")):
        assert set(found.quality[setting == name].tolist()) == {quality}
    assert found.distance_km[setting == "coast"].max() < 17
    assert np.mean(setting != "land") == pytest.approx(SEA_SHARE, abs=0.008)
    cells = boundaries.subdivisions["region_id"].to_numpy()[found.index["subdivision"]]
    assert all(cell == place.cells[-1] for cell, place in zip(cells, places, strict=True) if place.setting == "land")


def test_countries_have_the_shares_of_mp16_and_several_cells(places):
    cells = [place.cells for place in places if place.setting == "land"]
    usa = [cell for country, cell in cells if country == "USA"]
    assert len(usa) / len(cells) == pytest.approx(0.30, abs=0.03)
    assert len(set(usa)) == 17
    assert len({country for country, _ in cells}) >= 75
    assert len(WORLD.shares) == 80
    assert sum(WORLD.shares.values()) == pytest.approx(WORLD.weights.sum()) == pytest.approx(1.0)
    for country, per_cent in (("GBR", 9.9), ("NAM", 0.15)):
        assert WORLD.shares[country] / WORLD.shares["USA"] == pytest.approx(per_cent / 30.1)


def test_authors_have_several_photos_and_most_are_from_home(places):
    authors = [author for residents in WORLD.authors("training", 360).values() for author in residents]
    home = {author_id: WORLD.cells[cell] for author_id, cell in authors}
    assert len(home) == len(authors)
    land = [place for place in places if place.setting == "land"]
    residents = [place for place in land if home[place.author_id].country_id == place.cells[0]]
    # Those who travel may still travel within the country that they live in.
    assert LOCAL_SHARE < len(residents) / len(land) < LOCAL_SHARE + 0.12
    assert np.mean([home[place.author_id].cell_id == place.cells[1] for place in residents]) > HOME_SHARE
    assert 3000 / len({place.author_id for place in places}) > 5


def test_looks_belong_to_cells_and_climate_to_latitude():
    def traits(latitude: float, *cells: str, number: int = 0) -> Traits:
        return draw_traits(3, Place(latitude, 9.0, cells, "", "land"), stream("photo", number))

    one, other = ([traits(48, "DEU", cell, number=n).colour["grass"] for n in range(40)] for cell in ("DE-BW", "DE-BY"))
    elsewhere = np.array([traits(48, f"C{number}", "x").colour["grass"] for number in range(40)])
    assert 0 < np.std(one, axis=0).max() < 0.6 * elsewhere.std(axis=0).max()
    assert np.abs(np.mean(one, axis=0) - np.mean(other, axis=0)).max() > 5
    south, north = ({traits(latitude, f"C{number}").plant for number in range(60)} for latitude in (3, 62))
    assert "palm" in south - north
    assert "conifer" in north - south

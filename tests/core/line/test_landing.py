"""The landing folder: complete files become shards, the same content once, nothing half-written."""

import bz2
import gzip
import lzma
import os
import time
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from geoloc_core.errors import GeolocError, InputError
from geoloc_core.line.landing import SETTLED_AFTER_S, count_rows, read_ledger, take_in
from geoloc_core.line.project import Project, open_project
from geoloc_core.photos.sources import registry

LATER = SETTLED_AFTER_S + 5


def lay(project: Project, name: str, rows: int = 3, first: int = 0) -> Path:
    """A metadata file in MP-16's layout."""
    lines = ["IMG_ID,AUTHOR,LAT,LON"] + [
        f"aa/bb/{i}.jpg,author{i % 5},{40 + i % 10}.5,5.25" for i in range(first, first + rows)
    ]
    project.layout.landing.mkdir(parents=True, exist_ok=True)
    file = project.layout.landing / name
    file.write_text("\n".join(lines) + "\n")
    return file


def look(project: Project, after: float = LATER) -> dict[str, str]:
    """One look at the landing folder, some time after now; what it says of each file."""
    intake = take_in(project.profile, project.layout, now=time.time() + after)
    return {**intake.taken_in, **intake.waiting, **intake.refused}


@pytest.fixture
def bare(tmp_path: Path, make_project) -> Project:
    """A project in which nothing was made."""
    return make_project(tmp_path)


def again(project: Project) -> Project:
    return open_project(str(project.profile_path), project.layout.home)


def test_a_file_that_was_just_changed_is_given_time(bare: Project) -> None:
    file = lay(bare, "new.csv")
    os.utime(file, (0, 0))  # as `cp -p` and rsync set the time of writing back to the source's
    assert look(bare, after=0) == {"new.csv": "new.csv was changed a moment ago and is given time to be complete"}
    assert again(bare).profile.training_shards() == ("sample-00", "sample-01", "sample-02")
    assert look(bare) == {"new.csv": "new.csv was taken in: 1 shard of new"}
    assert again(bare).profile.training_shards() == ("sample-00", "sample-01", "sample-02", "new")


def test_unfinished_and_hidden_names_are_no_deliveries(bare: Project) -> None:
    for name in ("a.csv.part", ".b.csv", "c.csv.tmp"):
        lay(bare, name)
    (bare.layout.landing / "images").mkdir()
    assert look(bare) == {}


def test_the_same_content_twice_is_one_delivery(bare: Project) -> None:
    lay(bare, "first.csv")
    look(bare)
    lay(bare, "second.csv")
    assert look(bare) == {"second.csv": "second.csv holds the same as first.csv: one delivery, first"}
    assert look(bare) == {}
    assert [item.dataset.name for item in read_ledger(bare.layout).deliveries] == ["first"]
    assert len(read_ledger(bare.layout).seen) == 2


def test_new_content_under_the_same_name_is_the_same_delivery(bare: Project) -> None:
    lay(bare, "first.csv")
    look(bare)
    lay(bare, "first.csv", rows=7)
    assert look(bare) == {"first.csv": "first.csv has new content: 1 shard of first"}
    assert again(bare).profile.training_shards()[-1] == "first"


def test_a_renamed_file_stays_the_delivery_that_it_was(bare: Project) -> None:
    file = lay(bare, "first.csv")
    look(bare)
    file.rename(file.with_name("other.csv"))
    assert look(bare) == {"other.csv": "first.csv is called other.csv now: first"}
    (delivery,) = read_ledger(bare.layout).deliveries
    assert Path(delivery.dataset.metadata).name == "other.csv"
    assert delivery.dataset.name == "first"


def test_a_large_file_becomes_several_shards_that_hold_every_row(tmp_path: Path, make_project) -> None:
    project = make_project(tmp_path, landing={"rows_per_shard": 4})
    lay(project, "many.csv", rows=13)
    assert look(project) == {"many.csv": "many.csv was taken in: 3 shards of many"}
    from geoloc_core.photos.shard_rows import read_shard_rows

    profile = again(project).profile
    names = profile.training_shards()[3:]
    assert names == ("many-00", "many-01", "many-02")
    sizes = [len(read_shard_rows(*profile.dataset_of(name), project.layout.cut("many")).accepted) for name in names]
    assert sizes == [4, 4, 5]


def test_what_has_no_known_layout_is_refused_until_it_changes(bare: Project) -> None:
    bare.layout.landing.mkdir(parents=True)
    file = bare.layout.landing / "notes.txt"
    file.write_text("bring milk\n")
    told = look(bare)["notes.txt"]
    assert told.startswith("refused notes.txt: ")
    assert look(bare)["notes.txt"] == told
    assert again(bare).profile.training_shards() == ("sample-00", "sample-01", "sample-02")
    (bare.layout.landing / "torn.parquet").write_bytes(b"PAR1" + b"\x00" * 40)
    assert "torn.parquet" in look(bare)["torn.parquet"]
    lay(bare, "notes.txt")
    assert look(bare)["notes.txt"] == "notes.txt was taken in: 1 shard of notes"


def test_names_that_are_taken_get_the_beginning_of_the_hash(bare: Project) -> None:
    lay(bare, "sample.csv")
    lay(bare, "bench-a.csv", first=50)
    look(bare)
    first, second = (item.dataset.name for item in read_ledger(bare.layout).deliveries)
    assert first.startswith("bench-a-")
    assert second.startswith("sample-")
    assert len(first) == len("bench-a-") + 8
    again(bare)


def test_a_ledger_that_cannot_be_read_is_an_error_and_not_an_empty_one(bare: Project) -> None:
    bare.layout.landed.parent.mkdir(parents=True, exist_ok=True)
    bare.layout.landed.write_text("{")
    with pytest.raises(InputError, match="the ledger of deliveries"):
        again(bare)


def test_a_profile_that_takes_a_landed_name_is_told_so(bare: Project, tmp_path: Path, make_project) -> None:
    lay(bare, "mine.csv")
    look(bare)
    clash = [{"name": "mine", "metadata": "mine.csv", "images": "."}]
    clashing = make_project(tmp_path / "other", training=clash)
    with pytest.raises(GeolocError, match=r"landed\.json: two datasets give the shard 'mine'"):
        open_project(str(clashing.profile_path), bare.layout.home)


def test_rows_of_a_parquet_file_are_its_own_count(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    pd.DataFrame({"x": range(17)}).to_parquet(file)
    assert count_rows(file) == 17


def test_a_bad_file_never_blocks_the_others(bare: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is refused with its reason and left where it lies; the good one beside them is taken in."""
    landing = bare.layout.landing
    landing.mkdir(parents=True)
    nested = pa.table({"id": pa.array([["a"]]), "lat": pa.array([1.0]), "lon": pa.array([2.0])})
    pq.write_table(nested, landing / "lists.parquet")
    (landing / "torn.parquet").write_bytes(b"PAR1" + bytes(range(200)))
    for name, compress in (("z.bz2", bz2.compress), ("z.gz", gzip.compress), ("z.xz", lzma.compress)):
        (landing / name).write_bytes(compress(bytes(1 << 20)) * 100)
    (landing / "gone.csv").symlink_to(landing / "nowhere")
    os.mkfifo(landing / "pipe.csv")
    (landing / os.fsdecode(b"\xff.csv")).write_text("id,lat,lon\n")
    (landing / "surprise.csv").write_text("id,lat,lon\n1,2,3\n")
    lay(bare, "good.csv")
    detect = registry.detect_source

    def surprised(path: Path) -> object:
        if path.name == "surprise.csv":
            raise RecursionError("maximum recursion depth exceeded")
        return detect(path)

    monkeypatch.setattr(registry, "detect_source", surprised)
    begin = time.monotonic()
    said = look(bare)
    assert time.monotonic() - begin < 20
    assert said.pop("good.csv") == "good.csv was taken in: 1 shard of good"
    refused = {"lists.parquet", "torn.parquet", "z.bz2", "z.gz", "z.xz", "\\xff.csv", "surprise.csv"}
    assert set(said) == refused
    assert [s[:60] for name, s in said.items() if not s.startswith(f"refused {name}: ")] == []
    assert "RecursionError" in said["surprise.csv"]
    assert len(list(landing.iterdir())) == len(refused) + 3
    assert again(bare).profile.training_shards()[-1] == "good"

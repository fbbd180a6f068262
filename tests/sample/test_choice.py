"""Which photos and which features a sample takes: decided once for a data folder, and said."""

import json
import shutil
import socket
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from geoloc_core.errors import ProfileError
from geoloc_core.features.backbones import backbone
from geoloc_core.features.checkpoints import open_checkpoint
from geoloc_core.line.artifacts import targets
from geoloc_core.line.choice import Choice, answers, read_choice, record_choice
from geoloc_core.line.make import make
from geoloc_core.line.profile import load_profile
from geoloc_core.line.project import SOURCE_ROOT, dataset_of, open_project
from geoloc_core.line.steps import Job
from geoloc_core.photos.rows import read_rows
from geoloc_core.storage import file_sha256
from geoloc_dagster.cli import main
from scripts.build_manifest import MANIFEST
from tests.sample.commons_server import commons_server, picture

SAMPLE = SOURCE_ROOT / "profiles" / "sample.yaml"
ROWS = 40


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Neither folder nor network, whatever the machine has."""
    for name in ("GEOLOC_SAMPLE_PHOTOS", "GEOLOC_SAMPLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GEOLOC_COMMONS", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def closed_port():
    """A port of loopback on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder as GEOLOC_SAMPLE_PHOTOS names it: pictures, and a labels.csv of Commons photos and street views."""
    folder = tmp_path / "photos"
    (folder / "images").mkdir(parents=True)
    labels = pd.read_csv(MANIFEST, keep_default_na=False).head(ROWS).drop(columns="commons_file").assign(set="cities")
    street = labels.assign(file="s" + labels["file"], set="osv5m_playset", author="m" + labels["author"])
    labels.loc[0, "licence"] = "All rights reserved"
    both = pd.concat([labels, street])
    both.to_csv(folder / "labels.csv", index=False)
    for name in both["file"]:
        (folder / "images" / name).write_bytes(picture(name))
    monkeypatch.setenv("GEOLOC_SAMPLE_PHOTOS", str(folder))
    return folder


@pytest.fixture
def profile(tmp_path):
    """The sample's profile on a manifest of few rows, with backbones that are made here; loopback may be fetched from."""
    values = yaml.safe_load(SAMPLE.read_text())
    manifest = pd.read_csv(MANIFEST, keep_default_na=False).head(ROWS)
    manifest.loc[1, "licence"] = "All rights reserved"
    manifest.to_csv(tmp_path / "manifest.csv", index=False)
    commons = values["sample"]["commons"]
    commons["fetching"] |= {"allowed_networks": ["127.0.0.1/32"], "attempts": 1}
    for dataset in (*commons["training"], *commons["benchmarks"]):
        dataset["metadata"] = "manifest.csv"
    values["features"] |= {"lite0": ["tiny-clip"], "lite2": ["tiny-vit"], "lite0+lite2": ["tiny-clip", "tiny-vit"]}
    path = tmp_path / "sample.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def opened(profile, tmp_path):
    return open_project(str(profile), tmp_path / "home")


def shard_rows(project, shard):
    """Accepted rows, rejected rows and the manifest of pictures of a shard, which is made."""
    for asset in ("deliveries", "raw_photos", "images"):
        make(Job(project, shard), asset)
    paths = (project.layout.raw_photos(shard), project.layout.rejected_rows(shard), project.layout.images(shard))
    return [read_rows(path) for path in paths]


def test_the_folder_comes_first_and_is_divided_by_author_and_by_place(photos, profile, tmp_path):
    project = opened(profile, tmp_path)
    assert project.choice.sample == "photos"
    assert project.profile.training_shards() == ("commons", "osv5m")
    assert project.profile.benchmark_names() == ("commons-authors", "osv5m-street")
    rows = {shard: shard_rows(project, shard) for shard in project.profile.shards()}
    for accepted, rejected, pictures in rows.values():
        assert len(accepted) + len(rejected) == 2 * ROWS, "every row of the file is accepted or has a reason"
        assert (pictures["status"] == "ok").all()
    labels = pd.read_csv(photos / "labels.csv").set_index("file")
    for training, benchmark, column in (("commons", "commons-authors", "author"), ("osv5m", "osv5m-street", "place")):
        one, other = (labels.loc[rows[shard][0]["photo_id"]] for shard in (training, benchmark))
        assert len(one) + len(other) == ROWS - (training == "commons")
        assert len(other), "something is held out"
        assert not set(one[column]) & set(other[column])
    reasons = pd.concat([rows[shard][1]["reason"] for shard in ("commons", "commons-authors")]).value_counts()
    assert reasons["licence"] == 1, "a picture that its licence denies is a row with that reason"


def test_who_is_held_out_depends_on_the_author_alone(photos, profile, tmp_path):
    project = opened(profile, tmp_path)
    before = set(shard_rows(project, "commons-authors")[0]["author_id"])
    labels = pd.read_csv(photos / "labels.csv", keep_default_na=False)
    more = labels.head(10).assign(file="n" + labels["file"].head(10), author=[f"new {n}" for n in range(10)])
    pd.concat([more, labels.iloc[::-1]]).to_csv(photos / "labels.csv", index=False)
    after = set(shard_rows(project, "commons-authors")[0]["author_id"])
    assert before == {author for author in after if not author.startswith("new ")}


def test_without_a_folder_the_pictures_come_from_commons_politely_and_once(profile, tmp_path, monkeypatch):
    with commons_server() as server:
        monkeypatch.setenv("GEOLOC_COMMONS", server.address)
        project = opened(profile, tmp_path)
        assert project.choice.sample == "commons"
        assert "Wikimedia Commons" in project.profile.notice
        manifest = pd.read_csv(MANIFEST, keep_default_na=False).head(ROWS).set_index("file")
        names = manifest["commons_file"].to_dict()
        gone, busy = list(names.values())[2], list(names.values())[3]
        server.status |= {gone: 404, busy: 503}
        frames = {shard: shard_rows(project, shard) for shard in project.profile.shards()}
        accepted = pd.concat([frame[0] for frame in frames.values()])
        pictures = pd.concat([frame[2] for frame in frames.values()]).set_index("photo_id")
        rejected = pd.concat([frame[1] for frame in frames.values()])["reason"].value_counts()
        assert (len(accepted), rejected["licence"]) == (ROWS - 1, 1)
        status = pictures["status"].to_dict()
        by_name = {names[photo]: status[photo] for photo in status}
        assert (by_name.pop(gone), by_name.pop(busy)) == ("not_found", "server_error")
        # A row whose page has a number only names nothing to fetch.
        assert by_name.pop("") == "missing_file"
        assert set(by_name.values()) == {"ok"}
        assert server.widths == {"330"}
        assert all("geoloc" in agent for agent in server.agents)
        # The hash of the content is recorded.
        photo = next(photo for photo in status if status[photo] == "ok")
        shard = next(shard for shard, frame in frames.items() if photo in set(frame[0]["photo_id"]))
        file = project.layout.pictures(dataset_of(project.profile, project.layout, shard)[0].name) / photo
        assert pictures.loc[photo, "sha256"] == file_sha256(file)
        assert file.read_bytes() == picture(names[photo])
        # Again: only what failed for a reason that passes is asked for.
        server.status.clear()
        asked = dict(server.asked)
        for shard in project.profile.shards():
            make(Job(project, shard), "images")
        more = {name: count - asked[name] for name, count in server.asked.items() if count > asked[name]}
        assert more == {busy: 1}


def test_the_address_guard_holds_for_the_sample_as_well(profile, tmp_path, monkeypatch):
    values = yaml.safe_load(profile.read_text())
    del values["sample"]["commons"]["fetching"]["allowed_networks"]
    profile.write_text(yaml.safe_dump(values, sort_keys=False))
    with commons_server() as server:
        monkeypatch.setenv("GEOLOC_COMMONS", server.address)
        project = opened(profile, tmp_path)
        status = shard_rows(project, "commons-authors")[2]["status"]
        assert set(status) == {"blocked_address"}
        assert sum(server.asked.values()) == 0


def test_with_neither_photos_are_drawn_and_one_sentence_says_so(profile, tmp_path):
    project = opened(profile, tmp_path)
    assert project.choice.sample == "drawn"
    assert project.profile.notice.startswith("The photos of this sample are drawn")
    assert project.profile.drawn is not None


def test_a_data_folder_never_turns_into_another_data_set(photos, profile, tmp_path, monkeypatch):
    project = opened(profile, tmp_path)
    assert not project.layout.choice.exists(), "nothing is written by looking"
    make(Job(project, ""), "regions")
    assert json.loads(project.layout.choice.read_text())["sample"] == "photos"
    monkeypatch.delenv("GEOLOC_SAMPLE_PHOTOS")
    later = opened(profile, tmp_path)
    assert later.profile == project.profile
    monkeypatch.setenv("GEOLOC_SAMPLE", "drawn")
    with pytest.raises(
        ProfileError, match=r"was made with the sample 'photos' and GEOLOC_SAMPLE asks for 'drawn'; unset"
    ):
        opened(profile, tmp_path)
    monkeypatch.delenv("GEOLOC_SAMPLE")
    shutil.move(photos, tmp_path / "moved")
    monkeypatch.setenv("GEOLOC_SAMPLE_PHOTOS", str(tmp_path / "moved"))
    assert opened(profile, tmp_path).profile.training[0].metadata == str(tmp_path / "moved" / "labels.csv")


def test_of_two_processes_the_first_decides_and_a_damaged_record_is_named(tmp_path):
    path = tmp_path / "home" / "choice.json"
    record_choice(path, Choice("photos", (("GEOLOC_SAMPLE_PHOTOS", "/p"),), ("clip",)))
    record_choice(path, Choice("photos", (("GEOLOC_SAMPLE_PHOTOS", "/p"),), ("clip",)))
    with pytest.raises(ProfileError, match="another process chose other photos"):
        record_choice(path, Choice("drawn"))
    assert read_choice(path).sample == "photos"
    path.write_text('{"sample": "photos"}')
    with pytest.raises(ProfileError, match=r"choice\.json is damaged; delete"):
        read_choice(path)


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("GEOLOC_SAMPLE_PHOTOS", "/no/such/folder", "is /no/such/folder, which is no folder; correct it, or unset it"),
        ("GEOLOC_SAMPLE", "photos", "asks for 'photos', but GEOLOC_SAMPLE_PHOTOS is not set"),
        ("GEOLOC_SAMPLE", "mine", "GEOLOC_SAMPLE is 'mine'; choose one of photos, commons, drawn"),
    ],
)
def test_what_cannot_be_chosen_is_one_sentence(profile, tmp_path, monkeypatch, capsys, variable, value, words):
    monkeypatch.setenv(variable, value)
    assert main(["plan", "--profile", str(profile), "--home", str(tmp_path / "home")]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_a_server_that_says_nothing_costs_no_more_than_the_time_it_has():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.monotonic()
        assert not answers(f"http://127.0.0.1:{silent.getsockname()[1]}/", "geoloc", seconds=0.5)
        assert time.monotonic() - began < 2.0


def lay(name, source, folder):
    """Seeded small weights of the backbone `source`, where the weights of the backbone `name` would be."""
    own = load_profile(SAMPLE).backbone(name)
    made = open_checkpoint(backbone(source), folder / "made")
    shutil.copytree(made.path, folder / own.folder_name, dirs_exist_ok=True)


def test_features_whose_weights_can_be_had_are_taken_and_the_others_are_named_once(profile, tmp_path):
    features = ("clip", "clip+vit", "vit+segvit")
    left = opened(profile, tmp_path)
    assert left.choice.left_out == features
    assert left.profile.notice.count("Left out: the experiments of clip, clip+vit, vit+segvit") == 1
    assert not [key for key in left.profile.experiment_keys() if key.startswith(("clip", "vit"))]
    assert not [str(target) for target in targets(left.profile) if "clip-b-32" in str(target)]
    folder = tmp_path / "other" / "checkpoints"
    folder.mkdir(parents=True)
    lay("clip-b-32", "tiny-clip", folder)
    lay("vit-b-16-in21k", "tiny-vit", folder)
    some = open_project(str(profile), tmp_path / "other")
    assert some.choice.left_out == ("vit+segvit",)
    assert "clip+vit.mlp.country.thesis" in some.profile.experiment_keys()
    lay("segformer-b0-vit", "tiny-segvit", folder)
    # A new environment, as what was decided is remembered by the process until something is made.
    taken = open_project(str(profile), Path(shutil.copytree(tmp_path / "other", tmp_path / "third")))
    assert taken.choice.left_out == ()
    assert len([key for key in taken.profile.experiment_keys() if key.split(".")[0] in features]) == 6
    assert "Left out" not in taken.profile.notice


def test_a_hub_that_answers_has_the_weights(profile, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with commons_server() as hub:
        # It answers every address with a picture, which is all that is asked of it here.
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        assert opened(profile, tmp_path).choice.left_out == ()

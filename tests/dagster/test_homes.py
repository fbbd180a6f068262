"""A data folder is one profile's, can be copied and moved, and nothing outside it, or unasked inside it, is removed."""

import json
import sqlite3
from pathlib import Path

import dagster as dg
import pytest
import yaml

from geoloc_core.errors import InputError, ProfileError
from geoloc_core.line.artifacts import Target
from geoloc_core.line.project import Project, open_project
from geoloc_core.line.receipts import Receipt, Stamp, read_receipt, write_receipt
from geoloc_core.line.staleness import State
from geoloc_core.storage import file_sha256
from geoloc_dagster.aftermath import put_right
from geoloc_dagster.cli import main
from geoloc_dagster.definitions import defs
from geoloc_dagster.refresh import open_instance, project_plan, refresh
from geoloc_dagster.tracking import mend_store
from tests.conftest import ProjectMaker, copy_of
from tests.dagster.tiny_line import forget

GONE = Target("heads", "gone.linear.country.thesis")
HEAD = "clip.linear.country.thesis"


def geoloc(project: Project, *command: str) -> int:
    return main([*command, "--profile", str(project.profile_path), "--home", str(project.home)])


def leave(project: Project, target: Target, *files: str) -> None:
    """A receipt on the disk that names these files, as an attacker, a slip or an earlier profile may leave it."""
    stamp = {"files": {name: [4, 0, "0" * 64] for name in files}}
    values = {"code_version": "1", "data_version": "v", "made_from": {}, **vars(target), **stamp}
    path = project.layout.receipt(target.asset, target.partition)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def test_a_folder_made_by_one_profile_is_refused_to_another(tmp_path: Path, make_project: ProjectMaker) -> None:
    project = make_project(tmp_path)
    project.settle()
    edited = make_project(tmp_path / "edited", seed=3)
    assert open_project(str(edited.profile_path), project.home).profile.seed == 3
    other = make_project(tmp_path / "other", name="other")
    sentence = r"belongs to the profile 'tiny', not to 'other'; add `--profile tiny`"
    with pytest.raises(ProfileError, match=sentence):
        open_project(str(other.profile_path), project.home)
    project.layout.owner.write_text("[]")
    with pytest.raises(ProfileError, match=r"home\.json cannot be read"):
        open_project(str(project.profile_path), project.home)


def test_orphans_stay_until_somebody_asks_for_their_removal(
    made_project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = copy_of(made_project, tmp_path / "copy")
    file = project.home / "heads" / GONE.partition / "head.json"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x" * 1_500_000)
    stamps = {str(file.relative_to(project.home)): Stamp.of(file)}
    rest = {"code_version": "1", "data_version": "v", "made_from": {}, "files": stamps}
    write_receipt(project.layout, Receipt(**vars(GONE), **rest))
    assert geoloc(project, "refresh") == 0
    assert capsys.readouterr().out.endswith("1 orphan (1.5 MB) stay; --prune removes them.\n")
    assert file.is_file()
    assert geoloc(project, "refresh", "--prune") == 0
    said = capsys.readouterr()
    assert f"pruning: 1 orphan (1.5 MB) that the profile no longer names: {GONE}" in said.err
    assert "1 removed" in said.out
    assert not file.parent.exists()
    assert read_receipt(project.layout, GONE) is None


@pytest.mark.parametrize("name", ["../victim", "/victim", "heads/../../victim", "warehouse.duckdb", "receipts/x", ""])
def test_a_receipt_that_names_what_is_not_its_own_is_set_aside_once_and_removes_nothing(
    tmp_path: Path, make_project: ProjectMaker, name: str
) -> None:
    project = make_project(tmp_path)
    victims = [tmp_path / "victim", project.home / "warehouse.duckdb"]
    project.home.mkdir()
    victims[0].write_text("mine")
    leave(project, GONE, str(victims[0]) if name == "/victim" else name)
    state = State(project)
    assert state.orphans() == []
    assert [path.name for path in state.strays] == [f"{GONE.partition}.json"]
    with open_instance(project.layout) as instance:
        (sentence,) = put_right(project, instance)
        assert "is no receipt (" in sentence
        assert f"is not one of {GONE.asset}" in sentence
        assert list(put_right(project, instance)) == []
    assert victims[0].read_text() == "mine"


@pytest.mark.parametrize("content", ["", "[]", "{", '{"asset": "heads"}', "null", '{"asset": 3}', "9" * 5000, "\xff"])
def test_a_receipt_of_another_shape_is_one_sentence_that_names_the_file(
    tmp_path: Path, make_project: ProjectMaker, content: str
) -> None:
    project = make_project(tmp_path)
    path = project.layout.receipt("regions", "")
    path.parent.mkdir(parents=True)
    path.write_bytes(content.encode("latin-1"))
    (stray,) = project_plan(project, None).strays
    assert stray.startswith(f"{path} is no receipt: ")
    assert "\n" not in stray
    assert State(project).reasons(Target("regions"))[0].what.startswith("its receipt cannot be read: ")


def test_a_receipt_in_the_place_of_another_is_no_orphan(tmp_path: Path, make_project: ProjectMaker) -> None:
    project = make_project(tmp_path)
    leave(project, GONE)
    path = project.layout.receipt(GONE.asset, GONE.partition)
    path.rename(path.with_name("copy.json"))
    state = State(project)
    assert state.orphans() == []
    assert list(state.strays.values()) == [f"it is the receipt of {GONE}"]


def test_what_lies_behind_a_link_is_not_removed(tmp_path: Path, make_project: ProjectMaker) -> None:
    project = make_project(tmp_path)
    project.home.mkdir()
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    (outside / "head.json").write_text("mine")
    (project.home / "heads").symlink_to(outside)
    leave(project, Target("heads", "gone"), "heads/head.json")
    state = State(project)
    state.remove(*state.orphans())
    assert (outside / "head.json").read_text() == "mine"
    assert State(project).receipts == {}


def hashes(folder: Path) -> dict[Path, str]:
    return {path: file_sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.slow
def test_a_copied_folder_refreshes_without_a_write_to_the_original(made_project: Project, tmp_path: Path) -> None:
    original = copy_of(made_project, tmp_path / "original")
    before = hashes(original.home)
    copied = copy_of(original, tmp_path / "copied")
    forget(copied, lambda target: target == Target("validation_report", HEAD))
    heard: list[str] = []
    with open_instance(copied.layout) as instance:
        outcome = refresh(copied, instance, defs, lambda event, target, detail: heard.append(f"{event} {detail}"))
    assert outcome.well, outcome.failed
    assert Target("validation_report", HEAD) in outcome.made
    assert any("copied or moved" in line for line in heard)
    assert hashes(original.home) == before
    with sqlite3.connect(copied.layout.mlflow_home / "mlflow.db") as connection:
        dump = "\n".join(connection.iterdump())
    assert str(original.home) not in dump
    assert (copied.layout.mlflow_home / "artifacts").as_uri() in dump
    assert mend_store(copied.layout) == ""


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 4096])
def test_damaged_records_of_mlflow_are_set_aside(tmp_path: Path, make_project: ProjectMaker, content: bytes) -> None:
    layout = make_project(tmp_path).layout
    database = layout.mlflow_home / "mlflow.db"
    database.parent.mkdir(parents=True)
    database.write_bytes(content)
    assert "set aside as mlflow.db.damaged" in mend_store(layout)
    assert not database.exists()
    assert database.with_name("mlflow.db.damaged").read_bytes() == content
    assert mend_store(layout) == ""


def test_damaged_records_of_dagster_name_the_folder_to_delete(
    tmp_path: Path, make_project: ProjectMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    project = make_project(tmp_path)
    with open_instance(project.layout) as instance:
        instance.get_runs()
    for database in project.layout.dagster_home.rglob("*.db"):
        database.write_bytes(b"no database at all" * 400)
    assert geoloc(project, "plan") == 2
    said = capsys.readouterr().err
    assert said.startswith(f"geoloc: Dagster's records in {project.layout.dagster_home} cannot be read (")
    assert "delete that folder and run `geoloc refresh`" in said
    assert "Traceback" not in said


def test_a_data_folder_that_cannot_be_one_is_one_sentence(
    tmp_path: Path, make_project: ProjectMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    project = make_project(tmp_path)
    for folder in (project.profile_path, project.profile_path / "below"):
        assert main(["refresh", "--profile", str(project.profile_path), "--home", str(folder)]) == 2
        assert capsys.readouterr().err.startswith(f"geoloc: {project.profile_path}")


def test_a_read_only_data_folder_is_one_sentence(
    tmp_path: Path, make_project: ProjectMaker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the super-user, as whom containers run tests, no folder is read-only: what the system says is said for it."""
    project = make_project(tmp_path)

    def refuse(path: Path, *args: object, **more: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert geoloc(project, "refresh") == 2
    assert "cannot be used (Permission denied); give a data folder that is yours" in capsys.readouterr().err


def test_a_benchmark_without_a_place_is_refused_before_anything_is_made(
    tmp_path: Path, make_project: ProjectMaker
) -> None:
    metadata = tmp_path / "flat.csv"
    metadata.write_text("IMG_ID,LAT,LON\n" + "".join(f"{number}.jpg,,\n" for number in range(30)))
    project = make_project(tmp_path, benchmarks=[{"name": "flat", "metadata": str(metadata), "images": str(tmp_path)}])
    with (
        open_instance(project.layout) as instance,
        pytest.raises(InputError, match=r"no row of the benchmark 'flat', .*flat\.csv, is .* \(no_coordinates 30\)"),
    ):
        refresh(project, instance, defs)
    assert not (project.home / "receipts").exists()


def test_a_shard_without_a_usable_picture_is_told_and_not_called_made(
    tmp_path: Path, make_project: ProjectMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    metadata = tmp_path / "mine.csv"
    rows = [f"{number}.jpg,48.8,2.3" for number in range(20)]
    metadata.write_text("\n".join(["IMG_ID,LAT,LON", *rows, "x.jpg,,"]) + "\n")
    project = make_project(tmp_path, training=[{"name": "mine", "metadata": str(metadata), "images": str(tmp_path)}])
    assert geoloc(project, "run", "images", "--partition", "mine") == 0
    said = capsys.readouterr()
    assert "EMPTY      images[mine]" in said.err
    assert "20 of 20 pictures cannot be used: missing_file 20; nothing is left of mine\n" in said.out
    assert "1 of 21 rows cannot be used: no_coordinates 1\n" in said.out


def test_the_sensor_leaves_orphans_unless_the_profile_says_remove(tmp_path: Path, make_project: ProjectMaker) -> None:
    from geoloc_dagster.sensors import removals_tick

    project = make_project(tmp_path)
    leave(project, GONE)
    kept = removals_tick(project)
    assert isinstance(kept, dg.SkipReason)
    assert str(kept.skip_message).startswith("1 orphan (0.0 MB) stay; `orphans: remove` in the profile")
    values = yaml.safe_load(project.profile_path.read_text())
    live = project.profile_path.with_name("live.yaml")
    live.write_text(yaml.safe_dump({**values, "orphans": "remove"}))
    tick = removals_tick(open_project(str(live), project.home))
    assert isinstance(tick, dg.SensorResult)
    assert len(tick.run_requests or ()) == 1

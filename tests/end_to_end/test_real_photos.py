"""Real photos and real metadata through the line: answered, or refused with a reason, and all of them counted."""

import json
from pathlib import Path

import pandas as pd
import pytest

from geoloc_core.geography.boundaries import load_boundaries
from geoloc_core.geography.locate import RegionLocator
from geoloc_core.line.project import Project
from geoloc_core.photos.labels import label_photos
from geoloc_core.photos.sources.registry import read_metadata
from geoloc_dagster.cli import main


def arguments(project: Project) -> list[str]:
    return ["--profile", str(project.profile_path), "--home", str(project.layout.home)]


@pytest.fixture
def edge_cases(shared_data: Path) -> list[Path]:
    return sorted(path for path in (shared_data / "photos" / "edge_cases").iterdir() if path.suffix in {".jpg", ".png"})


def test_every_im2gps_photo_ends_as_a_country_a_nearest_country_or_a_reason(shared_data: Path) -> None:
    batches = list(read_metadata(shared_data / "benchmarks" / "im2gps_places365.csv", "im2gps"))
    accepted = pd.concat([batch.accepted for batch in batches], ignore_index=True)
    rejected = sum(len(batch.rejected) for batch in batches)
    assert len(accepted) + rejected == 237
    labeled = label_photos(accepted, "im2gps", RegionLocator(load_boundaries("embedded"), near_cap_km=25.0))
    quality = labeled["label_quality"].value_counts()
    assert quality.sum() == len(accepted)
    assert set(quality.index) <= {"inside", "near", "none"}
    near = labeled[labeled["label_quality"] == "near"]
    assert (near["country_id"] != "").all()
    assert near["label_distance_km"].between(0, 25).all()
    assert (labeled.loc[labeled["label_quality"] == "inside", "label_distance_km"] == 0).all()
    assert (labeled.loc[labeled["label_quality"] == "none", "country_id"] == "").all()
    # The coarse coast of the embedded boundaries leaves about a tenth of the photos outside every polygon.
    assert 200 <= quality["inside"] <= 225
    assert quality.get("none", 0) <= 3


def test_evaluate_the_folder_of_photos_with_gps(shared_data, made_project, tmp_path, capsys):
    folder = shared_data / "photos" / "exif_gps"
    assert main(["evaluate", *arguments(made_project), str(folder), "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    for heading in ("Within 200 km", "Within 750 km", "Within 2500 km"):
        assert heading in out
    predictions = pd.read_parquet(tmp_path / "predictions.parquet")
    truth = pd.read_csv(folder / "labels.csv", keep_default_na=False)
    assert len(predictions) == 88
    joined = predictions.set_index("photo_id").join(truth.set_index("file"))
    assert (joined["latitude"] - joined["lat"]).abs().max() < 1e-4
    assert (joined["longitude"] - joined["lon"]).abs().max() < 1e-4
    assert (joined["country_id"] == joined["ne_adm0_a3"]).mean() > 0.97
    assert (tmp_path / "map_errors.png").stat().st_size > 10_000
    assert "map" in (tmp_path / "report.html").read_text().lower()


def test_edge_cases_are_answered_or_refused_with_a_reason(edge_cases, made_project, tmp_path, capsys):
    assert main(["evaluate", *arguments(made_project), str(edge_cases[0].parent), "--out", str(tmp_path)]) == 2
    refused = pd.read_parquet(tmp_path / "refused.parquet")
    assert f"0 photos evaluated, {len(refused)} of {len(refused)} files refused" in capsys.readouterr().out
    assert set(refused["name"]) >= {path.name for path in edge_cases}
    assert (refused["reason"] != "").all()

    assert main(["predict", *arguments(made_project), "--json", *map(str, edge_cases)]) == 1
    answers = json.loads(capsys.readouterr().out)
    assert [answer["file"] for answer in answers] == [str(path) for path in edge_cases]
    details = [answer["detail"] for answer in answers if answer["status"] != "ok"]
    assert all(details)
    assert 10 <= len(details) <= 12
    assert all(answer["country_id"] for answer in answers if answer["status"] == "ok")

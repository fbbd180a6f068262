"""The same answers from `geoloc predict`, from MLflow's model in this process, and from `mlflow models serve`."""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from geoloc_core.answers.predict import Predictor
from geoloc_core.errors import CheckpointError
from geoloc_core.line.project import SOURCE_ROOT, Project
from geoloc_core.storage import read_json
from geoloc_dagster.tracking import ALIAS, MODEL_NAME, PROVISIONAL, tracking_uri
from scripts.stack import free_ports
from tests.servers import answers, post, wait_until

KEY = "clip+vit.linear.hierarchical.default"


def photos_of(project: Project) -> list[Path]:
    manifest = pd.read_parquet(project.layout.images("bench-a"))
    root = project.layout.delivery("bench-a") / "images"
    return [root / path for path in manifest.loc[manifest["status"] == "ok", "image_path"].head(3)]


def assert_same(actual: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Equal but for what they are called and the last digits of a sum."""
    for one, other in zip(actual, expected, strict=True):
        assert set(one) == set(other)
        for name, value in other.items():
            if name in ("file", "country_set", "next_best"):
                continue
            assert one[name] == (pytest.approx(value, abs=1e-5) if isinstance(value, float) else value), name
        for name in ("country_set", "next_best"):
            assert [region["region_id"] for region in one[name]] == [region["region_id"] for region in other[name]]


@pytest.fixture
def served(made_project: Project, tmp_path: Path) -> Iterator[str]:
    """The address of the champion, served on loopback; the server and its workers end with the test."""
    alias = ALIAS if read_json(made_project.layout.champion_decision)[0]["accepted"] else PROVISIONAL
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/{MODEL_NAME}@{alias}"]
    command += ["--env-manager", "local", "-h", "127.0.0.1", "-p", port, "-w", "1"]
    variables = {
        "MLFLOW_TRACKING_URI": tracking_uri(made_project),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONPATH": os.pathsep.join([str(SOURCE_ROOT), os.environ.get("PYTHONPATH", "")]),
        # MLflow starts uvicorn by its name.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    log = tmp_path / "served.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env={**os.environ, **variables}, stdout=out, stderr=out, start_new_session=True
        )
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/ping"), process, log, 180)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


@pytest.mark.slow
def test_a_served_champion_says_what_predict_says(made_project: Project, served: str) -> None:
    photos = photos_of(made_project)
    predictor = Predictor.load(made_project.layout.model, made_project.checkpoints)
    expected = json.loads(json.dumps([answer.model_dump() for answer in predictor.predict(photos)]))
    contents = [{"image_base64": base64.b64encode(photo.read_bytes()).decode()} for photo in photos]
    for inputs in ([{"path": str(photo)} for photo in photos], contents):
        assert_same(post(served, {"inputs": inputs})["predictions"], expected)


def test_every_head_is_a_model_that_answers_by_itself(made_project: Project) -> None:
    import mlflow
    from mlflow import MlflowClient

    project = made_project
    uri = tracking_uri(project)
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiment = client.get_experiment_by_name("geoloc")
    runs = client.search_runs([experiment.experiment_id], f"tags.`geoloc.experiment` = '{KEY}'")
    trained = [run for run in runs if "geoloc.inputs" in run.data.tags]
    assert len(trained) == 1
    assert trained[0].data.metrics["validation.accuracy"] > 0
    (logged,) = client.search_logged_models([experiment.experiment_id], f"source_run_id = '{trained[0].info.run_id}'")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        model = mlflow.pyfunc.load_model(logged.model_uri)
        photos = photos_of(project)
        predictions = model.predict([{"path": str(photos[0])}, {"image": photos[1].read_bytes()}])
    finally:
        mlflow.set_tracking_uri(before)
    packed = Predictor.load(project.layout.packed_head(KEY), project.checkpoints)
    assert_same(predictions, json.loads(json.dumps([answer.model_dump() for answer in packed.predict(photos[:2])])))
    # The weights lie on the disk once: the head's, the package's and the store's are one file by several names.
    weights = project.layout.head(KEY) / "head.safetensors"
    assert (project.layout.packed_head(KEY) / "head" / "head.safetensors").samefile(weights)
    assert weights.stat().st_nlink >= 3


def test_other_weights_than_those_it_was_trained_with_are_refused(made_project: Project, tmp_path: Path) -> None:
    shutil.copytree(made_project.checkpoints, tmp_path / "checkpoints")
    (weights,) = (tmp_path / "checkpoints" / "tiny-clip").glob("*.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.unlink()
    weights.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"not the one that the model was trained with|is not what it was"):
        Predictor.load(made_project.layout.packed_head(KEY), tmp_path / "checkpoints")

"""The same answers from `geoloc predict`, from MLflow's model in this process, and from `mlflow models serve`."""

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from geoloc_core.answers.predict import Predictor
from geoloc_core.errors import CheckpointError
from geoloc_core.line.project import Project
from geoloc_core.storage import read_json
from geoloc_dagster.tracking import ALIAS, MODEL_NAME, PROVISIONAL, tracking_uri

KEY = "clip+vit.linear.hierarchical.default"


def photos_of(project: Project) -> list[Path]:
    manifest = pd.read_parquet(project.layout.images("bench-a"))
    root = project.layout.delivery("bench-a") / "images"
    return [root / path for path in manifest.loc[manifest["status"] == "ok", "image_path"].head(3)]


def same(answers: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Equal but for what they are called and the last digits of a sum."""
    assert len(answers) == len(expected)
    for one, other in zip(answers, expected, strict=True):
        assert set(one) == set(other)
        for name, value in other.items():
            if name in ("file", "country_set", "next_best"):
                continue
            assert one[name] == (pytest.approx(value, abs=1e-5) if isinstance(value, float) else value), name
        for name in ("country_set", "next_best"):
            assert [region["region_id"] for region in one[name]] == [region["region_id"] for region in other[name]]


@pytest.fixture
def served(made_project: Project) -> Iterator[str]:
    """The address of the champion, served on the loopback; the server and its workers end with the test."""
    alias = ALIAS if read_json(made_project.layout.champion_decision)[0]["accepted"] else PROVISIONAL
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/{MODEL_NAME}@{alias}"]
    command += ["--env-manager", "local", "-h", "127.0.0.1", "-p", str(port), "-w", "1"]
    paths = os.pathsep.join([str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")])
    told = {"MLFLOW_TRACKING_URI": tracking_uri(made_project), "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONPATH": paths}
    # MLflow starts uvicorn by its name.
    told["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    log = made_project.layout.home / "served.log"
    with log.open("wb") as out:
        child = subprocess.Popen(command, env={**os.environ, **told}, stdout=out, stderr=out, start_new_session=True)
    try:
        until = time.monotonic() + 180
        while not answers_ping(port):
            assert child.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < until, log.read_text()[-3000:]
            time.sleep(0.3)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(child.pid, signal.SIGTERM)
        child.wait(30)


def answers_ping(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5) as answer:
            return int(answer.status) == 200
    except (urllib.error.URLError, OSError):
        return False


@pytest.mark.slow
def test_a_served_champion_says_what_predict_says(made_project: Project, served: str) -> None:
    photos = photos_of(made_project)
    project = made_project
    predictor = Predictor.load(project.layout.model, project.checkpoints)
    expected = [answer.as_dict() for answer in predictor.predict(photos)]
    as_bytes = [{"image_base64": base64.b64encode(photo.read_bytes()).decode()} for photo in photos]
    for inputs in ([{"path": str(photo)} for photo in photos], as_bytes):
        request = urllib.request.Request(
            f"{served}/invocations",
            json.dumps({"inputs": inputs}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            same(json.load(answer)["predictions"], json.loads(json.dumps(expected)))


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
        given = [{"path": str(photos[0])}, {"image": photos[1].read_bytes()}]
        answers = model.predict(given)
    finally:
        mlflow.set_tracking_uri(before)
    packed = Predictor.load(project.layout.packed_head(KEY), project.checkpoints)
    same(answers, json.loads(json.dumps([answer.as_dict() for answer in packed.predict(photos[:2])])))
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

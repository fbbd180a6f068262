"""What MLflow is told: a run for each head, a registered model for the champion.

MLflow is imported inside functions (it takes seconds). The store is one SQLite file below the data folder, or whatever
GEOLOC_MLFLOW_URI names.
"""

import contextlib
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from geoloc_core.storage import value_sha256
from geoloc_dagster.project import Project

EXPERIMENT = "geoloc"
MODEL_NAME = "geoloc"
ALIAS = "champion"
# MLflow takes at most this many parameters or metrics in one call, and texts of this length.
LONGEST_VALUE = 500


@dataclass(frozen=True)
class RegisteredModel:
    """A version in MLflow's registry."""

    name: str
    version: str


class HeadRun:
    """One open MLflow run."""

    def __init__(self, client: Any, run_id: str) -> None:
        self._client = client
        self.run_id = run_id

    def log(
        self, parameters: Mapping[str, Any], metrics: Mapping[str, float], history: pd.DataFrame, files: list[Path]
    ) -> None:
        """Parameters, final metrics, the history epoch by epoch, and the head's files."""
        from mlflow.entities import Metric, Param

        now = 0
        final = [Metric(f"held_out.{name}", value, now, 0) for name, value in metrics.items()]
        by_epoch = [
            Metric(str(name), float(value), now, int(row["epoch"]))
            for row in history.to_dict("records")
            for name, value in row.items()
            if name != "epoch" and value == value
        ]
        params = [Param(name, str(value)[:LONGEST_VALUE]) for name, value in parameters.items()]
        self._client.log_batch(self.run_id, metrics=final + by_epoch[:900], params=params)
        for file in files:
            self._client.log_artifact(self.run_id, str(file), "head")


def tracking_uri(project: Project) -> str:
    """The store's address."""
    given = os.environ.get("GEOLOC_MLFLOW_URI")
    if given:
        return given
    project.layout.mlflow_home.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{project.layout.mlflow_home / 'mlflow.db'}"


@contextlib.contextmanager
def head_run(project: Project, experiment: str, dagster_run_id: str, made_from: Mapping[str, str]) -> Iterator[HeadRun]:
    """A run that carries what the head was made from; it ends as failed when the block raises."""
    client, experiment_id = _client(project)
    tags = {
        "mlflow.runName": experiment,
        "geoloc.experiment": experiment,
        "geoloc.profile": project.profile.name,
        "geoloc.inputs": value_sha256(dict(made_from)),
        "dagster.run_id": dagster_run_id,
    }
    run = client.create_run(experiment_id, tags=tags)
    try:
        yield HeadRun(client, run.info.run_id)
    except BaseException:
        client.set_terminated(run.info.run_id, "FAILED")
        raise
    client.set_terminated(run.info.run_id, "FINISHED")


def register_champion(project: Project, folder: Path, experiment: str, content_version: str) -> RegisteredModel:
    """Register the packed champion as a pyfunc model and point the alias `champion` at it.

    The same package is registered once: when the version behind the alias has this content already, it stays.
    """
    client, experiment_id = _client(project)
    import mlflow
    from mlflow.utils.logging_utils import disable_logging

    current = _current(client)
    if current is not None and current.tags.get("geoloc.content") == content_version:
        return RegisteredModel(MODEL_NAME, str(current.version))
    mlflow.set_tracking_uri(tracking_uri(project))
    serving = Path(__file__).resolve().parents[1] / "geoloc_core" / "serving.py"
    # MLflow writes a dozen lines of no use here (progress of eight small files, a guess at pip's version, type hints).
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    disable_logging()
    with warnings.catch_warnings(), mlflow.start_run(experiment_id=experiment_id, run_name=f"champion {experiment}"):
        warnings.simplefilter("ignore")
        logged = mlflow.pyfunc.log_model(
            name=MODEL_NAME,
            python_model=str(serving),
            artifacts={"model": str(folder)},
            model_config={"checkpoints": str(project.checkpoints)},
            pip_requirements=["geoloc"],
            registered_model_name=MODEL_NAME,
        )
    version = str(logged.registered_model_version)
    client.set_model_version_tag(MODEL_NAME, version, "geoloc.content", content_version)
    client.set_model_version_tag(MODEL_NAME, version, "geoloc.experiment", experiment)
    client.set_registered_model_alias(MODEL_NAME, ALIAS, version)
    return RegisteredModel(MODEL_NAME, version)


def _client(project: Project) -> tuple[Any, str]:
    """A client of the project's store and the id of its experiment."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import logging

    # The first use of a store migrates its tables, one line of log for each of some forty steps.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    from mlflow import MlflowClient

    uri = tracking_uri(project)
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return client, found.experiment_id
    place = (project.layout.mlflow_home / "artifacts").as_uri() if uri.startswith("sqlite") else None
    return client, client.create_experiment(EXPERIMENT, artifact_location=place)


def _current(client: Any) -> Any:
    """The registered version behind the alias, or None."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(MODEL_NAME, ALIAS)
    except MlflowException:
        return None

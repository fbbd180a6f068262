"""MLflow, imported inside functions as it takes seconds: a run for each head, a registered model for the champion.

The store is an SQLite file in the data folder, or the one that GEOLOC_MLFLOW_URI names.
"""

import contextlib
import io
import logging
import os
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from geoloc_core.line.layout import Layout
from geoloc_core.line.make import Recorder
from geoloc_core.line.project import SOURCE_ROOT, Project
from geoloc_core.line.steps import Output
from geoloc_core.storage import file_sha256, share_file, value_sha256

EXPERIMENT = MODEL_NAME = "geoloc"
# Where MLflow's store keeps addresses of files: table and column.
ADDRESSES = (
    ("experiments", "artifact_location"), ("runs", "artifact_uri"), ("logged_models", "artifact_location"),
    ("model_versions", "source"), ("model_versions", "storage_location"),
)  # fmt: skip
ALIAS, PROVISIONAL = "champion", "provisional"
# MLflow's limits: characters of a value, and metrics in one call.
LONGEST_VALUE, MOST_METRICS = 500, 1000


def tracking_uri(project: Project) -> str:
    """The address of the store."""
    if uri := os.environ.get("GEOLOC_MLFLOW_URI"):
        return uri
    project.layout.mlflow_home.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{project.layout.mlflow_home / 'mlflow.db'}"


def mend_store(layout: Layout) -> str:
    """Set a damaged store aside, and bind one whose data folder was copied or moved to where it lies now; what was mended.

    MLflow writes whole addresses of files into its records: unbound, a copy would write into the original's folder.
    """
    database, here = layout.mlflow_home / "mlflow.db", (layout.mlflow_home / "artifacts").as_uri()
    if not database.is_file():
        return ""
    try:
        with contextlib.closing(sqlite3.connect(database, timeout=60)) as connection, connection:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'experiments'").fetchone():
                return ""
            query = "SELECT artifact_location FROM experiments WHERE name = ?"
            (there,) = connection.execute(query, (EXPERIMENT,)).fetchone() or (here,)
            if there == here:
                return ""
            for table, column in ADDRESSES:
                change = f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE {column} = ? OR {column} LIKE ? || '/%'"
                connection.execute(change, (here, len(there) + 1, there, there))
            return f"MLflow's store had been copied or moved from {there}: it is bound to this data folder"
    except sqlite3.OperationalError:
        return ""  # another process holds it; MLflow waits, or says so itself
    except sqlite3.DatabaseError as error:
        for file in layout.mlflow_home.glob("mlflow.db*"):
            if not file.name.endswith(".damaged"):
                file.replace(file.with_name(f"{file.name}.damaged"))
        return f"MLflow's records were damaged ({error}): they are set aside as mlflow.db.damaged, and new ones begin"


def _link(project: Project, name: str, page: str) -> dg.MetadataValue:
    """A page of the MLflow server; without a server the name and the command that shows it."""
    uri = tracking_uri(project)
    if uri.startswith(("http://", "https://")):
        # Browsers may know the server by another name than processes in its network.
        return dg.MetadataValue.url(f"{(os.environ.get('GEOLOC_MLFLOW_UI') or uri).rstrip('/')}/#/{page}")
    return dg.MetadataValue.md(f"{name}; see it with `mlflow ui --backend-store-uri '{uri}'`")


def log_head(
    project: Project, experiment: str, output: Output, dagster_run_id: str, made_from: Mapping[str, str]
) -> dg.MetadataValue:
    """A run with the inputs, parameters, final metrics and history of a head; its link. The weights come with the model."""
    from mlflow.entities import Metric, Param

    client, experiment_id = _client(project)
    tags = {
        "mlflow.runName": experiment,
        "geoloc.experiment": experiment,
        "geoloc.head": output.version,
        "geoloc.profile": project.profile.name,
        "geoloc.inputs": value_sha256(dict(made_from)),
        "dagster.run_id": dagster_run_id,
    }
    files = [project.layout.head(experiment) / name for name in ("head.json", "history.csv")]
    final = {name: value for name, value in output.facts.items() if name.startswith("validation_")}
    metrics = [Metric(f"held_out.{name[11:]}", float(value), 0, 0) for name, value in final.items()]
    history = pd.read_csv(files[1]).melt(id_vars="epoch").dropna().sort_values("epoch", kind="stable")
    metrics += [
        Metric(row["variable"], float(row["value"]), 0, int(row["epoch"])) for row in history.to_dict("records")
    ]
    params = [Param(name, str(value)[:LONGEST_VALUE]) for name, value in output.facts["recipe"].items()]
    run_id = client.create_run(experiment_id, tags=tags).info.run_id
    status = "FAILED"
    try:
        client.log_batch(run_id, metrics=metrics[:MOST_METRICS], params=params)
        for file in files:
            client.log_artifact(run_id, str(file), "head")
        status = "FINISHED"
    finally:
        client.set_terminated(run_id, status)
    return _link(project, f"run `{run_id}`", f"experiments/{experiment_id}/runs/{run_id}")


def log_head_model(
    project: Project, folder: Path, experiment: str, head_version: str, scores: Mapping[str, float]
) -> str:
    """Log a packed head as a pyfunc model in the run of its training, with its validation scores; the model's address."""
    client, experiment_id = _client(project)
    runs = client.search_runs([experiment_id], f"tags.`geoloc.head` = '{head_version}'", max_results=1)
    # In a new store, which does not know the training, the model gets a run of its own.
    with _active_run(project, experiment_id, runs[0].info.run_id if runs else None, experiment):
        import mlflow

        mlflow.set_tags({"geoloc.experiment": experiment, "geoloc.head": head_version})
        mlflow.log_metrics({f"validation.{name}": value for name, value in scores.items()})
        return str(_log_package(client, project, folder, "head").model_uri)


def register_champion(
    project: Project, folder: Path, experiment: str, content_version: str, accepted: bool, why: str
) -> str:
    """Register the packed model as a pyfunc model; its version. If its alias has this content, only the reason changes.

    The alias is `champion` if the champion rule accepted it, `provisional` if it answers because there is no champion.
    """
    client, experiment_id = _client(project)
    alias = ALIAS if accepted else PROVISIONAL
    models = client.search_registered_models(f"name = '{MODEL_NAME}'")
    version = str(models[0].aliases.get(alias, "")) if models else ""
    if not version or client.get_model_version(MODEL_NAME, version).tags.get("geoloc.content") != content_version:
        with _active_run(project, experiment_id, None, f"champion {experiment}"):
            logged = _log_package(client, project, folder, MODEL_NAME, registered_as=MODEL_NAME)
        version = str(logged.registered_model_version)
        client.set_model_version_tag(MODEL_NAME, version, "geoloc.content", content_version)
        client.set_model_version_tag(MODEL_NAME, version, "geoloc.experiment", experiment)
        client.set_registered_model_alias(MODEL_NAME, alias, version)
    client.set_model_version_tag(MODEL_NAME, version, "geoloc.decision", why[:LONGEST_VALUE])
    client.update_model_version(MODEL_NAME, version, f"{experiment}. {why}")
    if accepted:
        client.delete_registered_model_alias(MODEL_NAME, PROVISIONAL)
    return version


@contextlib.contextmanager
def _active_run(project: Project, experiment_id: str, run_id: str | None, name: str) -> Iterator[None]:
    """MLflow's global active run, which logging a model needs, without the dozen lines that MLflow writes there."""
    import mlflow

    uri_before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(tracking_uri(project))
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    try:
        run = mlflow.start_run(run_id, experiment_id=experiment_id, run_name=name)
        with contextlib.redirect_stderr(io.StringIO()), run:
            yield
    finally:
        mlflow.set_tracking_uri(uri_before)


def _log_package(client: Any, project: Project, folder: Path, name: str, registered_as: str | None = None) -> Any:
    """Log a packed folder. In a store on this disk equal files become links, so that large weights are stored once."""
    import mlflow
    from mlflow.utils.file_utils import local_file_uri_to_path

    logged = mlflow.pyfunc.log_model(
        name=name,
        python_model=str(SOURCE_ROOT / "geoloc_core" / "answers" / "serve.py"),
        artifacts={"model": str(folder)},
        model_config={"checkpoints": str(project.checkpoints)},
        pip_requirements=["geoloc"],
        registered_model_name=registered_as,
    )
    location = local_file_uri_to_path(client.get_logged_model(logged.model_id).artifact_location)
    copy = Path(location) / "artifacts" / folder.name
    for target in copy.rglob("*"):
        source = folder / target.relative_to(copy)
        if target.is_file() and source.is_file() and file_sha256(source) == file_sha256(target):
            share_file(source, target)
    return logged


def _client(project: Project) -> tuple[Any, str]:
    """A client of the project's store and the id of its experiment."""
    # Read while MLflow is imported. Left alone it logs each migration of a new store, and that there is no pip.
    for name, value in {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "WARNING"}.items():
        os.environ.setdefault(name, value)
    for name, level in {"alembic": logging.WARNING, "mlflow.utils.environment": logging.ERROR}.items():
        logging.getLogger(name).setLevel(level)
    from mlflow import MlflowClient

    uri = tracking_uri(project)
    if uri.startswith("sqlite") and (mended := mend_store(project.layout)):
        logging.getLogger(__name__).warning(mended)
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    if experiment := client.get_experiment_by_name(EXPERIMENT):
        return client, experiment.experiment_id
    place = (project.layout.mlflow_home / "artifacts").as_uri() if uri.startswith("sqlite") else None
    return client, client.create_experiment(EXPERIMENT, artifact_location=place)


def recorder(project: Project, asset: str, key: str, dagster_run_id: str) -> Recorder:
    """What MLflow is to record of an artifact; nothing of most."""

    def head(output: Output, made_from: Mapping[str, str]) -> Mapping[str, Any]:
        return {"mlflow_run": log_head(project, key, output, dagster_run_id, made_from)}

    def model(output: Output, made_from: Mapping[str, str]) -> Mapping[str, Any]:
        scores = {name: value for name, value in output.facts.items() if isinstance(value, float)}
        folder = project.layout.packed_head(key)
        return {"mlflow_model": log_head_model(project, folder, key, made_from[f"heads[{key}]"], scores)}

    def champion(output: Output, made_from: Mapping[str, str]) -> Mapping[str, Any]:
        facts, why = output.facts, " ".join(output.facts["decision"]["reasons"])
        version = register_champion(
            project, project.layout.model, facts["experiment"], output.version, facts["accepted"], why
        )
        link = _link(project, f"`models:/{MODEL_NAME}/{version}`", f"models/{MODEL_NAME}/versions/{version}")
        return {"mlflow_model": MODEL_NAME, "mlflow_version": version, "mlflow_page": link}

    recorders: dict[str, Recorder] = {"heads": head, "validation_report": model, "champion": champion}
    return recorders.get(asset, lambda output, made_from: {})

"""What MLflow is told: a run for each head, a registered model for the champion.

MLflow is imported inside functions (it takes seconds). The store is one SQLite file below the data folder, or whatever
GEOLOC_MLFLOW_URI names.
"""

import contextlib
import io
import logging
import os
import urllib.parse
import urllib.request
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from geoloc_core.line.make import Recorder
from geoloc_core.line.project import Project
from geoloc_core.line.steps import Output
from geoloc_core.storage import file_sha256, share_file, value_sha256

EXPERIMENT = "geoloc"
MODEL_NAME = "geoloc"
ALIAS = "champion"
PROVISIONAL = "provisional"
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
        """Parameters, final metrics, the history epoch by epoch, and small files; the weights come with the model."""
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


def run_link(project: Project, run_id: str) -> dg.MetadataValue:
    """Where a run can be seen: its page where a server keeps the store, else its id and the command that shows it."""
    return _page(project, f"run `{run_id}`", lambda: f"experiments/{_client(project)[1]}/runs/{run_id}")


def model_link(project: Project, model: "RegisteredModel") -> dg.MetadataValue:
    """The same for a version of the registered model."""
    name, version = model.name, model.version
    return _page(project, f"`models:/{name}/{version}`", lambda: f"models/{name}/versions/{version}")


def _page(project: Project, called: str, place: Callable[[], str]) -> dg.MetadataValue:
    uri = tracking_uri(project)
    if uri.startswith(("http://", "https://")):
        # Inside a network the server may have another name than the one that people's browsers know.
        shown = (os.environ.get("GEOLOC_MLFLOW_UI") or uri).rstrip("/")
        return dg.MetadataValue.url(f"{shown}/#/{place()}")
    return dg.MetadataValue.md(f"{called}; see it with `mlflow ui --backend-store-uri '{uri}'`")


@contextlib.contextmanager
def head_run(
    project: Project, experiment: str, head_version: str, dagster_run_id: str, made_from: Mapping[str, str]
) -> Iterator[HeadRun]:
    """A run that carries what the head was made from; it ends as failed when the block raises."""
    client, experiment_id = _client(project)
    tags = {
        "mlflow.runName": experiment,
        "geoloc.experiment": experiment,
        "geoloc.head": head_version,
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


def log_head_model(
    project: Project, folder: Path, experiment: str, head_version: str, scores: Mapping[str, float]
) -> str:
    """Log a packed head as a pyfunc model in the run that trained it, with its validation scores; the model's address."""
    client, experiment_id = _client(project)
    found = client.search_runs([experiment_id], f"tags.`geoloc.head` = '{head_version}'", max_results=1)
    # A store that was begun anew knows nothing of the training: the model gets a run of its own.
    run_id = found[0].info.run_id if found else None
    tags = {"geoloc.experiment": experiment, "geoloc.head": head_version}
    with _run(project, experiment_id, run_id, experiment):
        import mlflow

        mlflow.set_tags(tags)
        mlflow.log_metrics({f"validation.{name}": value for name, value in scores.items()})
        return str(_log_package(client, project, folder, "head").model_uri)


def register_champion(
    project: Project, folder: Path, experiment: str, content_version: str, accepted: bool, why: str
) -> RegisteredModel:
    """Register the packed model as a pyfunc model, and say why it was chosen.

    One that was accepted by the champion's rule gets the alias `champion`; one that only answers for want of a champion is
    called `provisional`. The same package is registered once: when the version behind the alias has this content already,
    it stays, and only hears why.
    """
    client, experiment_id = _client(project)
    alias = ALIAS if accepted else PROVISIONAL
    current = _current(client, alias)
    if current is not None and current.tags.get("geoloc.content") == content_version:
        version = str(current.version)
    else:
        with _run(project, experiment_id, None, f"champion {experiment}"):
            logged = _log_package(client, project, folder, MODEL_NAME, registered_as=MODEL_NAME)
        version = str(logged.registered_model_version)
        client.set_model_version_tag(MODEL_NAME, version, "geoloc.content", content_version)
        client.set_model_version_tag(MODEL_NAME, version, "geoloc.experiment", experiment)
        client.set_registered_model_alias(MODEL_NAME, alias, version)
    client.set_model_version_tag(MODEL_NAME, version, "geoloc.decision", why[:LONGEST_VALUE])
    client.update_model_version(MODEL_NAME, version, f"{experiment}. {why}")
    if accepted and _current(client, PROVISIONAL) is not None:
        client.delete_registered_model_alias(MODEL_NAME, PROVISIONAL)
    return RegisteredModel(MODEL_NAME, version)


@contextlib.contextmanager
def _run(project: Project, experiment_id: str, run_id: str | None, name: str) -> Iterator[None]:
    """MLflow's own notion of the run at work, as its models can only be logged in one; quiet."""
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(tracking_uri(project))
    # MLflow writes a dozen lines of no use here (progress of eight small files, a guess at pip's version, type hints, what
    # it registered), some of them whatever its own switch says. What goes wrong is an exception, and is not held back.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            where = None if run_id else experiment_id
            with mlflow.start_run(run_id, experiment_id=where, run_name=None if run_id else name):
                yield
    finally:
        mlflow.set_tracking_uri(before)


def _log_package(client: Any, project: Project, folder: Path, name: str, registered_as: str | None = None) -> Any:
    """Log a packed folder; in a store on this disk its files become second names of the package's own."""
    import mlflow

    serving = Path(__file__).resolve().parents[1] / "geoloc_core" / "answers" / "serve.py"
    logged = mlflow.pyfunc.log_model(
        name=name,
        python_model=str(serving),
        artifacts={"model": str(folder)},
        model_config={"checkpoints": str(project.checkpoints)},
        pip_requirements=["geoloc"],
        registered_model_name=registered_as,
    )
    place = urllib.parse.urlparse(str(client.get_logged_model(logged.model_id).artifact_location))
    if place.scheme in ("", "file"):
        _share(folder, Path(urllib.request.url2pathname(place.path)) / "artifacts" / folder.name)
    return logged


def _share(folder: Path, copy: Path) -> None:
    """Let equal files of a copy be the same bytes on the disk: a large head is kept once, not three times."""
    for source in folder.rglob("*"):
        target = copy / source.relative_to(folder)
        if source.is_file() and target.is_file() and file_sha256(source) == file_sha256(target):
            share_file(source, target)


def _client(project: Project) -> tuple[Any, str]:
    """A client of the project's store and the id of its experiment."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # The first use of a store migrates its tables, one line of log for each of some forty steps. MLflow sets up its log
    # while it is imported, by this variable.
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # An environment made by uv has no pip, whose version MLflow would write down.
    logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)
    from mlflow import MlflowClient

    uri = tracking_uri(project)
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return client, found.experiment_id
    place = (project.layout.mlflow_home / "artifacts").as_uri() if uri.startswith("sqlite") else None
    return client, client.create_experiment(EXPERIMENT, artifact_location=place)


def _current(client: Any, alias: str) -> Any:
    """The registered version behind an alias, or None."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(MODEL_NAME, alias)
    except MlflowException:
        return None


def recorder(project: Project, asset: str, key: str, dagster_run_id: str) -> Recorder:
    """What MLflow is to record of an artifact; nothing of most."""

    def head(output: Output, made_from: Mapping[str, str]) -> Mapping[str, Any]:
        folder = project.layout.head(key)
        metrics = {
            name.removeprefix("validation_"): float(value)
            for name, value in output.facts.items()
            if name.startswith("validation_")
        }
        history = pd.read_csv(folder / "history.csv")
        with head_run(project, key, output.version, dagster_run_id, made_from) as run:
            run.log(output.facts["recipe"], metrics, history, [folder / "head.json", folder / "history.csv"])
        return {"mlflow_run": run_link(project, run.run_id)}

    def model(output: Output, made_from: Mapping[str, str]) -> Mapping[str, Any]:
        scores = {name: value for name, value in output.facts.items() if isinstance(value, float)}
        folder = project.layout.packed_head(key)
        return {"mlflow_model": log_head_model(project, folder, key, made_from[f"heads[{key}]"], scores)}

    def champion(output: Output, made_from: Mapping[str, str]) -> Mapping[str, Any]:
        facts = output.facts
        why = " ".join(facts["decision"]["reasons"])
        registered = register_champion(
            project, project.layout.model, facts["experiment"], output.version, facts["accepted"], why
        )
        link = model_link(project, registered)
        return {"mlflow_model": registered.name, "mlflow_version": registered.version, "mlflow_page": link}

    recorders: dict[str, Recorder] = {"heads": head, "validation_report": model, "champion": champion}
    return recorders.get(asset, lambda output, made_from: {})

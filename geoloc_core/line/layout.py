"""Where each artifact is: the one place that paths come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from geoloc_core.line.artifacts import LINE


class Place:
    """A path that every data folder has at the same place."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, layout: Layout, owner: type) -> Path:
        return layout.home / self.name


@dataclass(frozen=True)
class Layout:
    """The data folder of one profile. Every place and method gives a path and makes nothing."""

    home: Path

    # What belongs to the project as a whole.
    owner = Place("home.json")  # the name of the profile that the folder was made by
    dagster_home = Place("dagster")  # Dagster's own records: runs, events, schedules
    mlflow_home = Place("mlflow")  # MLflow's database and artifacts
    warehouse = Place("warehouse.duckdb")
    checkpoints = Place("checkpoints")  # a folder of weights for each backbone that is made here
    data_docs = Place("data_docs")  # Great Expectations' pages, one site for each shard
    choice = Place("choice.json")  # which photos and which optional features were decided on
    refresh_lock = Place("refresh.lock")  # held by the one refresh that is at work
    landing = Place("landing")  # metadata files laid here become deliveries
    landed = Place("landed.json")  # the ledger of what was found in the landing folder
    failures = Place("failures.log")  # one line for each run that failed
    regions = Place("regions.parquet")  # the boundary set in use, as GeoParquet
    results = Place("results")  # tables, maps and the HTML report
    model = Place("model")  # the champion, packed so that it answers by itself
    champion_decision = Place("champion.json")  # why the champion moved or stayed

    def path(self, asset: str, key: str = "") -> Path:
        """The file or folder of an artifact, by the table."""
        folder, name = self.home / asset, key.replace("|", "/")
        return (folder / name if name else folder).with_name((Path(name).name or asset) + LINE[asset].suffix)

    def receipt(self, asset: str, key: str) -> Path:
        """What a target was made from and what came out."""
        return self.home / "receipts" / asset / f"{key.replace('|', '/') or 'whole'}.json"

    def pictures(self, dataset: str) -> Path:
        """Folder of the pictures of a dataset that were fetched, or unpacked from an archive."""
        return self.home / "pictures" / dataset

    def fetched(self, dataset: str) -> Path:
        """The ledger of what was requested from the web for a dataset."""
        return self.home / "pictures" / f"{dataset}.fetched.jsonl"

    def cut(self, dataset: str) -> Path:
        """A dataset's rows by shard, from one reading of its file; a cache."""
        return self.home / "cache" / "cut" / dataset

    # Artifacts, and what lies beside them.

    def delivery(self, shard: str) -> Path:
        """Folder of a delivery that is made here (the sample)."""
        return self.path("deliveries", shard)

    def raw_photos(self, shard: str) -> Path:
        """Accepted rows of a shard."""
        return self.path("raw_photos", shard)

    def rejected_rows(self, shard: str) -> Path:
        """Rejected rows of a shard, each with its reason."""
        return self.raw_photos(shard).with_suffix(".rejected.parquet")

    def images(self, shard: str) -> Path:
        """Manifest of a shard's pictures."""
        return self.path("images", shard)

    def backbone(self, name: str) -> Path:
        """Identity of a backbone's checkpoint."""
        return self.path("backbones", name)

    def embeddings(self, backbone: str, shard: str) -> Path:
        """Vectors of one shard from one backbone."""
        return self.path("embeddings", f"{backbone}|{shard}")

    def embedding_report(self, backbone: str, shard: str) -> Path:
        """How the vectors of one shard were made: how many, how fast, on what."""
        return self.embeddings(backbone, shard).with_suffix(".json")

    def class_weights(self, level: str) -> Path:
        """Weight of each class, by scheme."""
        return self.path("class_weights", level)

    def region_anchors(self, level: str) -> Path:
        """The points that regions answer with, by kind."""
        return self.path("region_anchors", level)

    def region_cells(self, level: str) -> Path:
        """Where the training photos of each region are, gathered in cells."""
        return self.region_anchors(level).with_suffix(".cells.parquet")

    def head(self, experiment: str) -> Path:
        """Folder of a trained head."""
        return self.path("heads", experiment)

    def validation_report(self, experiment: str) -> Path:
        """Folder of one experiment's scores and predictions on the validation photos."""
        return self.path("validation_report", experiment)

    def packed_head(self, experiment: str) -> Path:
        """One head, packed so that it answers by itself; beside its validation report."""
        return self.validation_report(experiment) / "model"

    def benchmark_report(self, experiment: str, benchmark: str) -> Path:
        """Folder of one experiment's scores and predictions on a benchmark."""
        return self.path("benchmark_report", f"{benchmark}|{experiment}")

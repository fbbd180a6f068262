"""What each column of each table means, and which columns upstream it comes from.

The Dagster UI shows both beside the column's type; column lineage is told as well in Dagster's own terms. Types and rules
come from the table's pandera contract where it has one, and from the written Parquet file where it has none. Imports
nothing heavy.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg


@dataclass(frozen=True)
class Column:
    """A sentence about a column, and the columns that it is made from, each as `asset.column`."""

    text: str
    made_from: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        """The sentence and where it comes from, as Dagster's open UI shows descriptions and draws no column lineage."""
        return f"{self.text} ← {', '.join(self.made_from)}" if self.made_from else self.text


def _same(asset: str, *names: str) -> dict[str, Column]:
    """Columns that go through unchanged, with the sentence that they have in `asset`."""
    return {name: Column(COLUMNS[asset][name].text, (f"{asset}.{name}",)) for name in names}


# Where the contract of a table is; the others are described by their file.
CONTRACTS = {
    "raw_photos": "geoloc_core.photos.schemas:RawPhotos",
    "images": "geoloc_core.photos.schemas:ImageManifest",
    "labeled_photos": "geoloc_core.photos.schemas:LabeledPhotos",
    "training_photos": "geoloc_core.photos.schemas:TrainingPhotos",
    "class_distribution": "geoloc_core.photos.schemas:ClassDistribution",
    "validation_report": "geoloc_core.evaluation.prediction_table:Predictions",
    "benchmark_report": "geoloc_core.evaluation.prediction_table:Predictions",
}

COLUMNS: dict[str, dict[str, Column]] = {}
COLUMNS["regions"] = {
    "level": Column("country or subdivision"),
    "region_id": Column("Code of the region in the boundary set; unique within its level"),
    "parent_id": Column("The country that a sub-division belongs to"),
    "name": Column("Name of the region"),
    "country": Column("Name of the country"),
    "iso_a2": Column("ISO 3166-1 code of two letters; empty where there is none"),
    "continent": Column("Continent of the country"),
    "geometry": Column("Polygon in longitude and latitude (WGS 84), as WKB"),
}
COLUMNS["raw_photos"] = {
    "photo_id": Column("Name of the photo, unique within its dataset"),
    "dataset": Column("The dataset that the delivery belongs to"),
    "author_id": Column("Who took the photo, as the delivery tells; the split keeps an author on one side"),
    "latitude": Column("Degrees north, WGS 84: where the photo was taken"),
    "longitude": Column("Degrees east, WGS 84: where the photo was taken"),
    "image_path": Column("The picture's file, relative to the dataset's folder of images"),
    "image_url": Column("Where the picture was published; empty where it is not told"),
    "row_number": Column("Row of the delivery that this photo comes from, from 1"),
}
COLUMNS["images"] = {
    **_same("raw_photos", "photo_id", "image_path"),
    "status": Column("ok, or why there is no usable picture", ("raw_photos.image_path",)),
    "detail": Column("What exactly was wrong", ("raw_photos.image_path",)),
    "bytes": Column("Size of the file", ("raw_photos.image_path",)),
    "width": Column("Pixels; 0 where there is no usable picture", ("raw_photos.image_path",)),
    "height": Column("Pixels; 0 where there is no usable picture", ("raw_photos.image_path",)),
    "sha256": Column("Hash of the file", ("raw_photos.image_path",)),
    "phash": Column("Perceptual hash: near-duplicates differ in few bits", ("raw_photos.image_path",)),
}
_PLACE = ("raw_photos.latitude", "raw_photos.longitude", "regions.geometry")
COLUMNS["labeled_photos"] = {
    **_same("raw_photos", "photo_id", "dataset"),
    "shard": Column("The shard that the photo came in"),
    **_same("raw_photos", "author_id", "latitude", "longitude"),
    "country_id": Column("The country that the point lies in, or near; empty where there is none", _PLACE),
    "subdivision_id": Column(
        "The first-level sub-division that the point lies in, or near; empty where there is none", _PLACE
    ),
    "label_quality": Column("How the label is known: inside a polygon, near one, or none", _PLACE),
    "label_distance_km": Column("Kilometres to the polygon; 0 inside it", _PLACE),
}
COLUMNS["training_photos"] = {
    **_same(
        "labeled_photos",
        "photo_id",
        "dataset",
        "shard",
        "author_id",
        "latitude",
        "longitude",
        "country_id",
        "subdivision_id",
    ),
    "split": Column(
        "train, or validation: by a keyed hash of the author, so that it never moves", ("labeled_photos.author_id",)
    ),
}
_LABELS = ("training_photos.country_id", "training_photos.subdivision_id")
COLUMNS["class_distribution"] = {
    "level": Column("country or subdivision"),
    "region_id": Column("A region that has photos", _LABELS),
    "name": Column("Name of the region", ("regions.name",)),
    "n_photos": Column("Photos of the region", _LABELS),
    "n_train": Column("Of these, photos to learn from", (*_LABELS, "training_photos.split")),
    "n_validation": Column("Of these, photos to validate on", (*_LABELS, "training_photos.split")),
    "share": Column("Of all photos of the level", _LABELS),
}
COLUMNS["embeddings"] = {
    "photo_id": Column("Name of the photo, unique within its dataset", ("images.photo_id",)),
    "vector": Column("The backbone's output for the picture, float16", ("images.image_path",)),
    "status": Column("ok, or why there is no vector", ("images.status",)),
    "image_sha256": Column("Hash of the picture that the vector was computed from", ("images.sha256",)),
}
COLUMNS["class_weights"] = {
    "region_id": Column("A region with photos to learn from", _LABELS),
    "n_photos": Column("Photos to learn from", (*_LABELS, "training_photos.split")),
    **{
        name: Column(text, (*_LABELS, "training_photos.split"))
        for name, text in {
            "inverse": "Weight of one photo: 1 / n (the thesis), scaled so that the average photo weighs 1",
            "sqrt": "1 / square root of n, scaled likewise",
            "effective": "By the effective number of samples (Cui et al. 2019), scaled likewise",
            "none": "1 for every photo",
        }.items()
    },
}
_FITTED = ("training_photos.latitude", "training_photos.longitude", *_LABELS, "regions.geometry")
COLUMNS["region_anchors"] = {
    "region_id": Column("The region that answers", ("regions.region_id",)),
    "kind": Column("How the point was chosen: centroid of the polygon, or fitted to the training photos"),
    "latitude": Column("Degrees north of the point that the region answers with", _FITTED),
    "longitude": Column("Degrees east of the point that the region answers with", _FITTED),
    "n_photos": Column("Training photos that it was fitted to", _LABELS),
}
_ASKED = ("embeddings.vector",)


def _predictions(photos: str) -> dict[str, Column]:
    """The table of answers over the photos of an upstream table."""
    truth = {name: Column(COLUMNS[photos][name].text, (f"{photos}.{name}",)) for name in ("photo_id", "author_id")}
    place = {name: Column(COLUMNS[photos][name].text, (f"{photos}.{name}",)) for name in ("latitude", "longitude")}
    true_country = f"{photos}.country_id"
    point = (*_ASKED, "region_anchors.latitude", "region_anchors.longitude")
    return {
        **truth,
        **place,
        "country_id": Column("The true country", (true_country,)),
        "continent": Column("Continent of the true country", (true_country,)),
        "predicted_country_id": Column("The most probable country", _ASKED),
        "probability": Column("Its probability", _ASKED),
        "rank": Column("Place of the true country among all, from 1", (*_ASKED, true_country)),
        "topk_ids": Column("The most probable countries, best first", _ASKED),
        "topk_probabilities": Column("Their probabilities", _ASKED),
        "predicted_latitude": Column("Degrees north of the answered point", point),
        "predicted_longitude": Column("Degrees east of the answered point", point),
        "distance_km": Column(
            "Great-circle kilometres from the truth", (*point, f"{photos}.latitude", f"{photos}.longitude")
        ),
        "status": Column("ok, or why there is no answer", ("embeddings.status",)),
        "subdivision_id": Column("The true sub-division", (f"{photos}.subdivision_id",)),
        "predicted_subdivision_id": Column("The most probable sub-division of the answered country", _ASKED),
        "truth_probability": Column("The probability that the truth was given", (*_ASKED, true_country)),
        "brier": Column("Brier score of the photo, 0 to 2", (*_ASKED, true_country)),
    }


COLUMNS["validation_report"] = _predictions("training_photos")
COLUMNS["benchmark_report"] = _predictions("labeled_photos")


def table_metadata(asset: str, file: Path | None) -> dict[str, Any]:
    """Column schema and column lineage of an asset that is a table; nothing for one that is none.

    `file` is the Parquet file that was written, for tables without a contract.
    """
    columns = COLUMNS.get(asset)
    if columns is None:
        return {}
    if asset in CONTRACTS:
        module, name = CONTRACTS[asset].split(":")
        schema = contract_schema(getattr(importlib.import_module(module), name), columns)
    elif file is not None:
        schema = file_schema(file, columns)
    else:
        return {}
    return {"dagster/column_schema": schema, "dagster/column_lineage": column_lineage(columns)}


def column_lineage(columns: Mapping[str, Column]) -> dg.TableColumnLineage:
    """The columns upstream that each column is made from."""
    return dg.TableColumnLineage(
        {
            name: [
                dg.TableColumnDep(dg.AssetKey(source.split(".")[0]), source.split(".")[1]) for source in one.made_from
            ]
            for name, one in columns.items()
            if one.made_from
        }
    )


def contract_schema(model: Any, columns: Mapping[str, Column]) -> dg.TableSchema:
    """The columns of a pandera model, with what they mean and what must hold of each."""
    from geoloc_core.tables import schema_of

    found = []
    for name, column in schema_of(model).columns.items():
        checks = [str(check.error or check.name) for check in column.checks]
        found.append(
            dg.TableColumn(
                name=str(name),
                type=str(column.dtype),
                description=_described(columns, str(name)),
                constraints=dg.TableColumnConstraints(
                    nullable=bool(column.nullable), unique=bool(column.unique), other=checks
                ),
            )
        )
    return dg.TableSchema(columns=found)


def file_schema(file: Path, columns: Mapping[str, Column]) -> dg.TableSchema:
    """The columns of a Parquet file, with what they mean."""
    import pyarrow.parquet as pq

    written = pq.read_schema(file)
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=field.name,
                type=str(field.type),
                description=_described(columns, field.name),
            )
            for field in written
        ]
    )


def _described(columns: Mapping[str, Column], name: str) -> str:
    """What is written here of a column. One that was forgotten fails a test, and no run."""
    return columns[name].description if name in columns else ""

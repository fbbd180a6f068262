"""The contract of every table that this room writes, one pandera model each.

A model says which columns a table has, in which order, of which type and within which bounds. `validate` holds a frame
against its model before the frame is written and tells what is wrong in one sentence. Missing text is the empty
string, never NaN or None.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors
from pandera.typing.pandas import Series

from geoloc_core.errors import InputError

LABEL_QUALITIES = ("inside", "near", "none")
SPLITS = ("train", "validation")
EXCLUSION_REASONS = (
    "no_label",
    "benchmark_photo",
    "benchmark_author",
    "near_duplicate_of_benchmark",
    "image_not_usable",
    "duplicate_photo",
    "below_min_support",
)


class _Table(pa.DataFrameModel):
    """What all tables share: exactly the named columns, in order, converted to their types."""

    class Config:
        """pandera's own settings."""

        strict = True
        ordered = True
        coerce = True


class RawPhotos(_Table):
    """Photos of a delivery as published: one row for each usable photo."""

    photo_id: Series[str] = pa.Field(unique=True, str_length={"min_value": 1})
    dataset: Series[str] = pa.Field(str_length={"min_value": 1})
    author_id: Series[str]
    latitude: Series[np.float64] = pa.Field(ge=-90.0, le=90.0)
    longitude: Series[np.float64] = pa.Field(ge=-180.0, le=180.0)
    image_path: Series[str]
    image_url: Series[str]
    row_number: Series[np.int64] = pa.Field(ge=1)


class RejectedRows(_Table):
    """Rows of a delivery that are not usable photos, with the reason and the text as it came."""

    row_number: Series[np.int64] = pa.Field(ge=1)
    reason: Series[str] = pa.Field(str_length={"min_value": 1})
    raw: Series[str]


class ImageManifest(_Table):
    """What is known of each photo's image file: its size and hashes, or why it is not usable."""

    photo_id: Series[str] = pa.Field(unique=True, str_length={"min_value": 1})
    image_path: Series[str]
    status: Series[str] = pa.Field(str_length={"min_value": 1})
    detail: Series[str]
    bytes: Series[np.int64] = pa.Field(ge=0)
    width: Series[np.int32] = pa.Field(ge=0)
    height: Series[np.int32] = pa.Field(ge=0)
    sha256: Series[str] = pa.Field(str_matches=r"^([0-9a-f]{64})?$")
    phash: Series[str] = pa.Field(str_matches=r"^([0-9a-f]{16})?$")

    @pa.dataframe_check(error="a picture has a size and a perceptual hash exactly when its status is 'ok'")
    def _ok_means_usable(cls, frame: pd.DataFrame) -> pd.Series:
        ok = frame["status"] == "ok"
        return (ok == (frame["width"] > 0)) & (ok == (frame["height"] > 0)) & (ok == (frame["phash"] != ""))


class FetchedImages(_Table):
    """What became of each photo whose image was fetched by URL."""

    photo_id: Series[str] = pa.Field(unique=True, str_length={"min_value": 1})
    image_path: Series[str]
    status: Series[str] = pa.Field(str_length={"min_value": 1})
    permanent: Series[bool]
    detail: Series[str]
    http_status: Series[np.int32] = pa.Field(ge=0)
    attempts: Series[np.int32] = pa.Field(ge=0)


class LabeledPhotos(_Table):
    """Photos with the country and sub-division that they lie in, or near, or "" where there is none."""

    photo_id: Series[str] = pa.Field(str_length={"min_value": 1})
    dataset: Series[str] = pa.Field(str_length={"min_value": 1})
    shard: Series[str] = pa.Field(str_length={"min_value": 1})
    author_id: Series[str]
    latitude: Series[np.float64] = pa.Field(ge=-90.0, le=90.0)
    longitude: Series[np.float64] = pa.Field(ge=-180.0, le=180.0)
    country_id: Series[str]
    subdivision_id: Series[str]
    label_quality: Series[str] = pa.Field(isin=LABEL_QUALITIES)
    label_distance_km: Series[np.float32] = pa.Field(ge=0.0, nullable=True)

    class Config(_Table.Config):
        """One row for each photo of a shard."""

        unique = ("shard", "photo_id")

    @pa.dataframe_check(error="a photo has a country, and a distance to it, unless its label_quality is 'none'")
    def _none_means_no_country(cls, frame: pd.DataFrame) -> pd.Series:
        labelled = frame["label_quality"] != "none"
        return (labelled == (frame["country_id"] != "")) & (labelled == frame["label_distance_km"].notna())


class TrainingPhotos(_Table):
    """Photos to learn from: labelled, not of a benchmark, each on one side of the split."""

    photo_id: Series[str] = pa.Field(str_length={"min_value": 1})
    dataset: Series[str] = pa.Field(str_length={"min_value": 1})
    shard: Series[str] = pa.Field(str_length={"min_value": 1})
    author_id: Series[str]
    latitude: Series[np.float64] = pa.Field(ge=-90.0, le=90.0)
    longitude: Series[np.float64] = pa.Field(ge=-180.0, le=180.0)
    country_id: Series[str] = pa.Field(str_length={"min_value": 1})
    subdivision_id: Series[str]
    split: Series[str] = pa.Field(isin=SPLITS)

    class Config(_Table.Config):
        """One row for each photo."""

        unique = ("dataset", "photo_id")


class ExcludedPhotos(_Table):
    """Labelled photos that are not used for training, each with the first reason that applies."""

    photo_id: Series[str] = pa.Field(str_length={"min_value": 1})
    shard: Series[str] = pa.Field(str_length={"min_value": 1})
    reason: Series[str] = pa.Field(isin=EXCLUSION_REASONS)

    class Config(_Table.Config):
        """One row for each photo of a shard."""

        unique = ("shard", "photo_id")


class ClassDistribution(_Table):
    """Photos of each region that has any: the thesis's Table 1."""

    level: Series[str] = pa.Field(isin=("country", "subdivision"))
    region_id: Series[str] = pa.Field(str_length={"min_value": 1})
    name: Series[str]
    n_photos: Series[np.int64] = pa.Field(ge=1)
    n_train: Series[np.int64] = pa.Field(ge=0)
    n_validation: Series[np.int64] = pa.Field(ge=0)
    share: Series[np.float64] = pa.Field(gt=0.0, le=1.0)

    class Config(_Table.Config):
        """One row for each region of a level."""

        unique = ("level", "region_id")


def column_names(model: type[pa.DataFrameModel]) -> list[str]:
    """The columns of a table, in order."""
    return list(model.to_schema().columns)


def empty(model: type[pa.DataFrameModel]) -> pd.DataFrame:
    """A frame of the table's columns and types with no rows."""
    columns = model.to_schema().columns
    return pd.DataFrame({name: pd.Series(dtype=str(column.dtype)) for name, column in columns.items()})


def validate(model: type[pa.DataFrameModel], frame: pd.DataFrame, what: str) -> pd.DataFrame:
    """`frame` with the columns of `model` in order and of the right types.

    Raises `InputError` naming `what`, the column, the rule and the first failing rows (positions in the frame, from 0).
    """
    wanted = column_names(model)
    missing = [name for name in wanted if name not in frame.columns]
    unknown = [str(name) for name in frame.columns if name not in wanted]
    if missing or unknown:
        parts = [f"lacks the columns {', '.join(missing)}"] if missing else []
        parts += [f"has the unknown columns {', '.join(unknown)}"] if unknown else []
        raise InputError(f"{what} is not a table of {model.__name__}: it {' and '.join(parts)}")
    try:
        checked = model.validate(frame[wanted].reset_index(drop=True), lazy=True)
    except SchemaErrors as errors:
        raise InputError(f"{what} breaks the contract of {model.__name__}: {_first_failure(errors)}") from errors
    return pd.DataFrame(checked)


def _first_failure(errors: SchemaErrors) -> str:
    """The first broken rule in words, with the rows and values that break it."""
    cases: pd.DataFrame = errors.failure_cases
    first = cases.iloc[0]
    same = cases[(cases["column"] == first["column"]) & (cases["check"] == first["check"])]
    rows = [int(index) for index in same["index"].dropna().unique()]
    shown = ", ".join(str(row) for row in rows[:5]) + (", ..." if len(rows) > 5 else "")
    value: Any = first["failure_case"]
    value = value.item() if isinstance(value, np.generic) else value
    where = f"column {first['column']}" if first["schema_context"] == "Column" else "the table"
    at = f" at row {shown} ({len(rows)} in all)" if rows else ""
    more = cases["check"].nunique() - 1
    also = f"; {more} more rules are broken" if more else ""
    return f"{where} breaks the rule {first['check']!r}{at}, first value {value!r}{also}"

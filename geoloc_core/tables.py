"""Tables, described once: the name, type, bounds, meaning and origin of every column stand in a pandera schema.

The schemas of the tables of photos are in `photos.schemas`, that of answers in `evaluation.prediction_table`, the others
here. In every table missing text is the empty string, never NaN or None.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors

from geoloc_core.errors import InputError
from geoloc_core.geography.cells import LEVELS, id_column


class ColumnDescription(NamedTuple):
    """A column as a person wants to see it; `made_from` names the columns upstream, each as `asset.column`."""

    name: str
    dtype: str
    description: str
    made_from: tuple[str, ...]
    constraints: tuple[str, ...]
    nullable: bool
    unique: bool

    @property
    def sentence(self) -> str:
        """The description and the origin in one line."""
        return f"{self.description} ← {', '.join(self.made_from)}" if self.made_from else self.description


def table(
    name: str,
    description: str,
    columns: Mapping[str, pa.Column],
    unique: Iterable[str] = (),
    checks: Iterable[pa.Check] = (),
) -> pa.DataFrameSchema:
    """A table with exactly these columns, in this order, converted to their types; `unique` together name a row."""
    schema = pa.DataFrameSchema(dict(columns), checks=list(checks), strict=True, ordered=True, coerce=True)
    schema.name, schema.description, schema.unique = name, description, list(unique) or None
    return schema


def column(
    dtype: Any, description: str, *made_from: str, checks: Iterable[pa.Check] = (), **rules_and_metadata: Any
) -> pa.Column:
    """A column of any type; all but `unique` and `nullable` is kept as metadata."""
    rules = {name: rules_and_metadata.pop(name, False) for name in ("unique", "nullable")}
    metadata = {"made_from": made_from, **rules_and_metadata}
    return pa.Column(dtype, list(checks) or None, description=description, metadata=metadata, **rules)


def text(
    description: str, *made_from: str, filled: bool = False, one_of: Iterable[str] = (), pattern: str = "", **more: Any
) -> pa.Column:
    """A column of text. `filled`: never empty; `one_of`: the values that it may have; `pattern`: what it must match."""
    checks = [pa.Check.str_length(min_value=1)] if filled else []
    checks += [pa.Check.isin(tuple(one_of))] if one_of else []
    checks += [pa.Check.str_matches(pattern)] if pattern else []
    return column(str, description, *made_from, checks=checks, **more)


def number(
    dtype: type,
    description: str,
    *made_from: str,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    **more: Any,
) -> pa.Column:
    """A column of numbers from `low` to `high`, or greater than `above`."""
    bounds = ((pa.Check.ge, low), (pa.Check.gt, above), (pa.Check.le, high))
    checks = [check(value) for check, value in bounds if value is not None]
    return column(dtype, description, *made_from, checks=checks, **more)


def latitude(description: str, *made_from: str, **more: Any) -> pa.Column:
    """Degrees north, WGS 84."""
    return number(np.float64, description, *made_from, low=-90.0, high=90.0, **more)


def longitude(description: str, *made_from: str, **more: Any) -> pa.Column:
    """Degrees east, WGS 84."""
    return number(np.float64, description, *made_from, low=-180.0, high=180.0, **more)


def same_columns(asset: str, schema: pa.DataFrameSchema, names: Iterable[str], **rules: bool) -> dict[str, pa.Column]:
    """Columns that another table takes over from the table of `asset`, with their bounds and their meaning.

    `rules` (`unique`, `nullable`) replace those of the table that they come from.
    """
    taken = {}
    for name in names:
        old = schema.columns[name]
        own = {"unique": old.unique, "nullable": old.nullable, **rules}
        taken[name] = column(old.dtype, old.description, f"{asset}.{name}", checks=old.checks, **own)
    return taken


def columns_of(schema: pa.DataFrameSchema) -> list[ColumnDescription]:
    """The columns of a table, in order."""
    described = []
    for name, column in schema.columns.items():
        made_from = tuple((column.metadata or {}).get("made_from", ()))
        rules = tuple(str(check.error or check.name) for check in column.checks)
        words = name, str(column.dtype), column.description or "", made_from, rules
        described.append(ColumnDescription(*words, nullable=column.nullable, unique=column.unique))
    return described


def column_names(schema: pa.DataFrameSchema) -> list[str]:
    """The names of a table's columns, in order."""
    return list(schema.columns)


def empty(schema: pa.DataFrameSchema) -> pd.DataFrame:
    """A frame of the table's columns and types with no rows."""
    columns = schema.columns
    return pd.DataFrame({name: pd.Series(dtype=str(column.dtype)) for name, column in columns.items()})


def validate(schema: pa.DataFrameSchema, frame: pd.DataFrame, what: str) -> pd.DataFrame:
    """`frame` with the columns of `schema` in order and of the right types.

    Raises `InputError` naming `what`, the column, the rule and the first failing rows (positions in the frame, from 0).
    """
    expected = list(schema.columns)
    missing = [name for name in expected if name not in frame.columns]
    unknown = [str(name) for name in frame.columns if name not in expected]
    if missing or unknown:
        parts = [f"lacks the columns {', '.join(missing)}"] if missing else []
        parts += [f"has the unknown columns {', '.join(unknown)}"] if unknown else []
        raise InputError(f"{what} is not a table of {schema.name}: it {' and '.join(parts)}")
    try:
        return pd.DataFrame(schema.validate(frame[expected].reset_index(drop=True), lazy=True))
    except SchemaErrors as errors:
        raise InputError(f"{what} breaks the contract of {schema.name}: {_first_failure(errors)}") from errors


def _first_failure(errors: SchemaErrors) -> str:
    """The first broken rule in words, with the rows and values that break it."""
    cases: pd.DataFrame = errors.failure_cases
    first = cases.iloc[0]
    same = cases[(cases["column"] == first["column"]) & (cases["check"] == first["check"])]
    rows = [str(int(index)) for index in same["index"].dropna().unique()]
    listed = ", ".join([*rows[:5], "..."] if len(rows) > 5 else rows)
    at = f" at row {listed} ({len(rows)} in all)" if rows else ""
    value: Any = first["failure_case"]
    value = value.item() if isinstance(value, np.generic) else value
    where = f"column {first['column']}" if first["schema_context"] == "Column" else "the table"
    others = cases["check"].nunique() - 1
    also = f"; {others} more rules are broken" if others else ""
    return f"{where} breaks the rule {first['check']!r}{at}, first value {value!r}{also}"


LEVEL_TEXT = f"The level of the region: {' or '.join(LEVELS)}"
LABELS = tuple(f"training_photos.{id_column(level)}" for level in LEVELS)
SPLIT_LABELS = (*LABELS, "training_photos.split")
_ANCHOR = ("training_photos.latitude", "training_photos.longitude", *LABELS, "regions.geometry")

Regions = table(
    "Regions",
    "Every region of every level, with its polygon.",
    {
        "level": text(LEVEL_TEXT, one_of=LEVELS),
        "region_id": text("Code of the region in the boundary set; unique within its level", filled=True),
        "parent_id": text("The region of the level above that this one belongs to; empty at the highest level"),
        "name": text("Name of the region"),
        "country": text("Name of the country"),
        "iso_a2": text("ISO 3166-1 code of two letters; empty where there is none"),
        "continent": text("Continent of the country"),
        "geometry": column(object, "Polygon in longitude and latitude (WGS 84), as WKB"),
    },
    unique=("level", "region_id"),
)

_SCHEMES = {
    "inverse": "Weight of one photo: 1 / n (the thesis), scaled so that the average photo weighs 1",
    "sqrt": "1 / square root of n, scaled likewise",
    "effective": "By the effective number of samples (Cui et al. 2019), scaled likewise",
    "none": "1 for every photo",
}
ClassWeights = table(
    "ClassWeights",
    "How much one photo of each class counts in the loss, by scheme.",
    {
        "region_id": text("A region with photos to learn from", *LABELS, filled=True, unique=True),
        "n_photos": number(np.int64, "Photos to learn from", *SPLIT_LABELS, low=1),
        **{name: number(np.float64, meaning, *SPLIT_LABELS, above=0.0) for name, meaning in _SCHEMES.items()},
    },
)

RegionAnchors = table(
    "RegionAnchors",
    "The points that a region can answer with.",
    {
        "region_id": text("The region that answers", "regions.region_id", filled=True),
        "kind": text("How the point was chosen: centroid of the polygon, or fitted to training photos", filled=True),
        "latitude": latitude("Degrees north of the point that the region answers with", *_ANCHOR),
        "longitude": longitude("Degrees east of the point that the region answers with", *_ANCHOR),
        "n_photos": number(np.int64, "Training photos that it was fitted to", *LABELS, low=0),
    },
    unique=("region_id", "kind"),
)

Embeddings = table(
    "Embeddings",
    "One vector for each photo of a shard, or the reason why there is none.",
    {
        "photo_id": text("Name of the photo, unique within its dataset", "images.photo_id", filled=True, unique=True),
        "vector": column(object, "The backbone's output for the picture, float16", "images.image_path"),
        "status": text("ok, or why there is no vector", "images.status", filled=True),
        "image_sha256": text("Hash of the picture that the vector was computed from", "images.sha256"),
    },
)

TABLES: Mapping[str, pa.DataFrameSchema] = {
    "regions": Regions,
    "class_weights": ClassWeights,
    "region_anchors": RegionAnchors,
    "embeddings": Embeddings,
}

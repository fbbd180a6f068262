"""The tables: their rules, and what they say of each column."""

import numpy as np
import pandas as pd
import pytest

from geoloc_core import tables
from geoloc_core.errors import InputError
from geoloc_core.geography.boundaries import EMBEDDED_FILE
from geoloc_core.photos import schemas
from geoloc_core.photos.schemas import LabeledPhotos, RawPhotos, TrainingPhotos
from geoloc_core.tables import column_names, columns_of, empty, validate

ALL = {
    **schemas.TABLES,
    "rejected_rows": schemas.RejectedRows,
    "excluded_photos": schemas.ExcludedPhotos,
    **tables.TABLES,
}


def raw(**columns):
    numbers = {"latitude": [1.0, 2.0, 3.0], "longitude": [1.0, 2.0, 3.0], "row_number": [1, 2, 3]}
    words = {"dataset": "d"} | dict.fromkeys(["author_id", "image_path", "image_url"], "")
    return pd.DataFrame({"photo_id": ["a", "b", "c"], **numbers, **words, **columns})[column_names(RawPhotos)]


@pytest.mark.parametrize("asset", ALL)
def test_an_empty_table_is_valid_and_every_column_is_explained(asset):
    assert validate(ALL[asset], empty(ALL[asset]), "x").columns.tolist() == column_names(ALL[asset])
    for column in columns_of(ALL[asset]):
        assert len(column.description) > 5, column.name
        for source in column.made_from:
            upstream, name = source.split(".")
            assert name in column_names(ALL[upstream]), source


def test_a_column_keeps_its_rules_and_its_meaning_downstream():
    columns = {column.name: column for column in columns_of(TrainingPhotos)}
    assert columns["latitude"].constraints == ("greater_than_or_equal_to(-90.0)", "less_than_or_equal_to(90.0)")
    assert columns["latitude"].made_from == ("labeled_photos.latitude",)
    assert columns["latitude"].sentence == "Degrees north, WGS 84: where the photo was taken ← labeled_photos.latitude"
    assert columns["subdivision_id"].dtype == "str"
    assert not columns["photo_id"].unique  # within its dataset only


def test_the_embedded_regions_are_a_table_of_regions():
    validate(tables.Regions, pd.read_parquet(EMBEDDED_FILE), "regions")


def test_order_and_types_are_mended():
    frame = raw(latitude=["1", "2.5", "3"])[column_names(RawPhotos)[::-1]]
    checked = validate(RawPhotos, frame, "x")
    assert checked.columns.tolist() == column_names(RawPhotos)
    assert checked["latitude"].tolist() == [1.0, 2.5, 3.0]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"latitude": [1.0, 90.1, 91.0]}, r"column latitude .*90.*at row 1, 2 \(2 in all\), first value 90.1"),
        ({"longitude": [1.0, 2.0, -180.1]}, "column longitude .*-180"),
        ({"latitude": [1.0, np.nan, 2.0]}, "column latitude .*row 1"),
        ({"photo_id": ["a", "a", "c"]}, "column photo_id .*unique"),
        ({"photo_id": ["", "a", "c"]}, "column photo_id"),
        ({"author_id": [None, "a", "c"]}, "column author_id .*null"),
        ({"row_number": [0, 1, 2]}, "column row_number"),
    ],
)
def test_a_broken_rule_is_named(columns, words):
    with pytest.raises(InputError, match=f"the delivery x breaks the contract of RawPhotos: {words}"):
        validate(RawPhotos, raw(**columns), "the delivery x")


def test_wrong_columns_are_named():
    with pytest.raises(InputError, match="lacks the columns latitude and has the unknown columns lat"):
        validate(RawPhotos, raw().rename(columns={"latitude": "lat"}), "x")


def test_label_and_quality_belong_together():
    frame = raw().iloc[:2].drop(columns=["image_path", "image_url", "row_number"])
    frame = frame.assign(shard="s", country_id=["NLD", ""], subdivision_id="")
    frame = frame.assign(label_quality=["near", "none"], label_distance_km=[3.5, np.nan])
    assert validate(LabeledPhotos, frame, "x")["label_distance_km"].dtype == np.float32
    for column, values in {"country_id": ["", ""], "label_distance_km": [3.5, 1.0], "label_quality": "inside"}.items():
        with pytest.raises(InputError, match="unless its label_quality is 'none'"):
            validate(LabeledPhotos, frame.assign(**{column: values}), "x")
    with pytest.raises(InputError, match="multiple_fields_uniqueness"):
        validate(LabeledPhotos, frame.assign(photo_id="a"), "x")

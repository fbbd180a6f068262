"""The contracts of the tables."""

import numpy as np
import pandas as pd
import pytest

from geoloc_core.errors import InputError
from geoloc_core.photos.delivery import arrow_schema, store_delivery
from geoloc_core.photos.schemas import (
    ClassDistribution,
    ExcludedPhotos,
    ImageManifest,
    LabeledPhotos,
    RawPhotos,
    RejectedRows,
    TrainingPhotos,
    column_names,
    empty,
    validate,
)
from geoloc_core.photos.sources.registry import read_metadata

MODELS = [RawPhotos, RejectedRows, ImageManifest, LabeledPhotos, TrainingPhotos, ExcludedPhotos, ClassDistribution]


def raw(**columns):
    base = {
        "photo_id": ["a", "b", "c"],
        "dataset": "d",
        "author_id": "",
        "latitude": [1.0, 2.0, 3.0],
        "longitude": [1.0, 2.0, 3.0],
        "image_path": "",
        "image_url": "",
        "row_number": [1, 2, 3],
    }
    return pd.DataFrame(base | columns)


@pytest.mark.parametrize("model", MODELS)
def test_an_empty_table_is_valid(model):
    assert validate(model, empty(model), "x").columns.tolist() == column_names(model)
    assert arrow_schema(model).names == column_names(model)


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
    frame = pd.DataFrame(
        {
            "photo_id": ["a", "b"],
            "dataset": "d",
            "shard": "s",
            "author_id": "",
            "latitude": 1.0,
            "longitude": 1.0,
            "country_id": ["NLD", ""],
            "subdivision_id": "",
            "label_quality": ["near", "none"],
            "label_distance_km": [3.5, np.nan],
        }
    )
    assert validate(LabeledPhotos, frame, "x")["label_distance_km"].dtype == np.float32
    for column, values in {"country_id": ["", ""], "label_distance_km": [3.5, 1.0], "label_quality": "inside"}.items():
        with pytest.raises(InputError, match="unless its label_quality is 'none'"):
            validate(LabeledPhotos, frame.assign(**{column: values}), "x")


def test_a_delivery_is_stored_whole_or_not_at_all(tmp_path):
    header = "IMG_ID,AUTHOR,LAT,LON\n"
    lines = [f"{number}.jpg,a,{number % 91},{number % 7}\n" for number in range(1000)]
    (tmp_path / "m.csv").write_text(header + "".join(lines))
    paths = tmp_path / "out" / "photos.parquet", tmp_path / "out" / "rejected.parquet"
    counts = store_delivery(read_metadata(tmp_path / "m.csv", "d", rows_per_batch=300), *paths)
    accepted, rejected = (pd.read_parquet(path) for path in paths)
    assert (counts.rows, counts.accepted, counts.rejected) == (1000, len(accepted), len(rejected))
    assert counts.reasons == {"null_island": 11}  # the multiples of 91
    validate(RawPhotos, accepted, "x")
    validate(RejectedRows, rejected, "x")

    def breaks():
        yield from read_metadata(tmp_path / "m.csv", "d", rows_per_batch=300)
        raise InputError("the file ends too early")

    before = paths[0].read_bytes(), paths[1].read_bytes()
    with pytest.raises(InputError, match="too early"):
        store_delivery(breaks(), *paths)
    assert (paths[0].read_bytes(), paths[1].read_bytes()) == before
    assert sorted(path.name for path in paths[0].parent.iterdir()) == ["photos.parquet", "rejected.parquet"]

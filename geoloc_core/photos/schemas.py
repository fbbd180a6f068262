"""The tables of photos, one schema each, from what a delivery says to what is learned from.

A column of photos is added here: to `RawPhotos`, and to `CARRIED` or `LEARNED` if labelled or training photos take it over.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pandera.pandas as pa

from geoloc_core.geography.cells import LEVELS, ROOT, id_column
from geoloc_core.tables import LABELS, LEVEL_TEXT, SPLIT_LABELS, latitude, longitude, number, same_columns, table, text
from geoloc_core.tables import column_names as column_names
from geoloc_core.tables import validate as validate

LABEL_QUALITIES = ("inside", "near", "none")
SPLITS = ("train", "validation")
EXCLUSION_REASONS = (
    *("no_label", "benchmark_photo", "benchmark_author", "near_duplicate_of_benchmark"),
    *("image_not_usable", "duplicate_photo", "below_min_support"),
)
CARRIED = ("author_id", "latitude", "longitude")
LEARNED = (*CARRIED, *(id_column(level) for level in LEVELS))

_IDS = ("photo_id", "photoid", "image_id", "img_id", "img_file", "id", "file", "filename", "file_name")
_PATHS = ("image_path", "img_path", "img_file", "path", "file", "filename", "file_name")

_AUTHORS = ("author_id", "author", "user_id", "user", "owner", "creator_id")
_URLS = ("image_url", "url", "download_url", "thumb_original_url")
_LATITUDES, _LONGITUDES = ("latitude", "lat", "gps_latitude"), ("longitude", "lon", "lng", "long", "gps_longitude")

RawPhotos = table(
    "RawPhotos",
    "Photos of a delivery as published: one row for each usable photo.",
    {
        "photo_id": text("Name of the photo, unique within its dataset", filled=True, unique=True, aliases=_IDS),
        "dataset": text("The dataset that the delivery belongs to", filled=True),
        "author_id": text(
            "Who took the photo, as the delivery says; the split keeps an author on one side",
            aliases=_AUTHORS,
        ),
        "latitude": latitude("Degrees north, WGS 84: where the photo was taken", aliases=_LATITUDES),
        "longitude": longitude("Degrees east, WGS 84: where the photo was taken", aliases=_LONGITUDES),
        "image_path": text("The picture's file, relative to the dataset's folder of images", aliases=_PATHS),
        "image_url": text("Where the picture was published; empty where that is not given", aliases=_URLS),
        "row_number": number(np.int64, "Row of the delivery that this photo comes from, from 1", low=1),
    },
)
# What a source may say of a photo, by the names of it in other people's tables, the preferred one first, in small letters.
ALIASES: Mapping[str, tuple[str, ...]] = {
    name: column.metadata["aliases"] for name, column in RawPhotos.columns.items() if "aliases" in column.metadata
}

RejectedRows = table(
    "RejectedRows",
    "Rows of a delivery that are not usable photos, with the reason and the text as it came.",
    {
        "row_number": number(np.int64, "Row of the delivery, from 1", low=1),
        "reason": text("Why the row is not a usable photo, a code of photos/reasons.yaml", filled=True),
        "raw": text("The row as it came, at most its first 4,000 characters"),
    },
)

_PICTURE = "raw_photos.image_path"


def _ok_means_usable(frame: pd.DataFrame) -> pd.Series:
    ok = frame["status"] == "ok"
    return (ok == (frame["width"] > 0)) & (ok == (frame["height"] > 0)) & (ok == (frame["phash"] != ""))


ImageManifest = table(
    "ImageManifest",
    "What is known of each photo's picture: its size and hashes, or why it is not usable.",
    {
        **same_columns("raw_photos", RawPhotos, ("photo_id", "image_path")),
        "status": text("ok, or why there is no usable picture", _PICTURE, filled=True),
        "detail": text("What exactly was wrong", _PICTURE),
        "bytes": number(np.int64, "Size of the file", _PICTURE, low=0),
        "width": number(np.int32, "Pixels; 0 where there is no usable picture", _PICTURE, low=0),
        "height": number(np.int32, "Pixels; 0 where there is no usable picture", _PICTURE, low=0),
        "sha256": text("Hash of the file", _PICTURE, pattern=r"^([0-9a-f]{64})?$"),
        "phash": text("Perceptual hash: near-duplicates differ in few bits", _PICTURE, pattern=r"^([0-9a-f]{16})?$"),
    },
    checks=[
        pa.Check(_ok_means_usable, error="a picture has a size and a perceptual hash exactly when its status is 'ok'")
    ],
)

_PLACE = ("raw_photos.latitude", "raw_photos.longitude", "regions.geometry")


def _none_means_no_label(frame: pd.DataFrame) -> pd.Series:
    labelled = frame["label_quality"] != "none"
    return (labelled == (frame[id_column(ROOT)] != "")) & (labelled == frame["label_distance_km"].notna())


LabeledPhotos = table(
    "LabeledPhotos",
    'Photos with the regions that they lie in, or near, one of each level, or "" where there is none.',
    {
        **same_columns("raw_photos", RawPhotos, ("photo_id", "dataset"), unique=False),
        "shard": text("The shard that the photo came in", filled=True),
        **same_columns("raw_photos", RawPhotos, CARRIED),
        **{
            id_column(level): text(f"The {level} that the point lies in, or near; empty where there is none", *_PLACE)
            for level in LEVELS
        },
        "label_quality": text("The point is inside a polygon, near one, or none", *_PLACE, one_of=LABEL_QUALITIES),
        "label_distance_km": number(np.float32, "Kilometres to the polygon; 0 inside", *_PLACE, low=0.0, nullable=True),
    },
    unique=("shard", "photo_id"),
    checks=[
        pa.Check(_none_means_no_label, error=f"a photo has a {ROOT} and a distance unless its label_quality is 'none'")
    ],
)

TrainingPhotos = table(
    "TrainingPhotos",
    "Photos to learn from: labelled, not of a benchmark, each on one side of the split.",
    {
        **same_columns("labeled_photos", LabeledPhotos, ("photo_id", "dataset", "shard", *LEARNED)),
        "split": text("By a keyed hash of the author: it never moves", "labeled_photos.author_id", one_of=SPLITS),
    },
    unique=("dataset", "photo_id"),
    checks=[pa.Check(lambda frame: frame[id_column(ROOT)] != "", error=f"a photo to learn from has a {ROOT}")],
)

ExcludedPhotos = table(
    "ExcludedPhotos",
    "Labelled photos that are not used for training, each with the first reason that applies.",
    {
        **same_columns("labeled_photos", LabeledPhotos, ("photo_id", "shard")),
        "reason": text("The first reason that applies", one_of=EXCLUSION_REASONS),
    },
    unique=("shard", "photo_id"),
)

ClassDistribution = table(
    "ClassDistribution",
    "Photos of each region that has any: the thesis's Table 1.",
    {
        "level": text(LEVEL_TEXT, one_of=LEVELS),
        "region_id": text("A region that has photos", *LABELS, filled=True),
        "name": text("Name of the region", "regions.name"),
        "n_photos": number(np.int64, "Photos of the region", *LABELS, low=1),
        "n_train": number(np.int64, "Of these, photos to learn from", *SPLIT_LABELS, low=0),
        "n_validation": number(np.int64, "Of these, photos to validate on", *SPLIT_LABELS, low=0),
        "share": number(np.float64, "Of all photos of the level", *LABELS, above=0.0, high=1.0),
    },
    unique=("level", "region_id"),
)

# The table of each asset of this room; `RejectedRows` and `ExcludedPhotos` lie beside them.
TABLES: Mapping[str, pa.DataFrameSchema] = {
    "raw_photos": RawPhotos,
    "images": ImageManifest,
    "labeled_photos": LabeledPhotos,
    "training_photos": TrainingPhotos,
    "class_distribution": ClassDistribution,
}

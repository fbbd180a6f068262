"""What every source of photo metadata promises, and the sieve that sorts its rows.

A source reads one published layout and gives batches. In every batch each row of the file is exactly once, either among
the accepted photos or among the rejected rows with its reason: over all batches, accepted + rejected = rows in.
Memory does not grow with the file, but for 8 bytes a photo to recognise duplicate ids.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from geoloc_core.photos.file_names import is_safe_path
from geoloc_core.photos.schemas import ALIASES, RawPhotos, RejectedRows, column_names
from geoloc_core.tables import empty

ROWS_PER_BATCH = 100_000
RAW_TEXT_LIMIT = 4_000  # characters of a rejected row that are kept: enough to see what it was

_NUMBER = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"

# What a source says of one row: any of the columns in `FACTS` as text, and `reason` where it knows that the row is no photo.
Facts = Mapping[str, str]
FACTS = tuple(ALIASES)
# Number of the row from 1, what the source says of it, and the row as it came.
Row = tuple[int, Facts, str]
# The rows as they came, of some positions of a batch.
RawOf = Callable[[np.ndarray], Sequence[str]]


@dataclass(frozen=True)
class SourceBatch:
    """Some rows of a file: the photos (`RawPhotos`) and the rows that are none (`RejectedRows`)."""

    accepted: pd.DataFrame
    rejected: pd.DataFrame


@dataclass(frozen=True)
class MetadataSource:
    """One published layout: the word by which a profile asks for it, and what a person recognises it by.

    `sniff(path)`: whether the content has this layout; it never raises for a readable path. `read(path, dataset,
    rows_per_batch)` gives the rows in batches; `InputError` where the file as a whole is unusable.
    """

    name: str
    description: str
    sniff: Callable[[Path], bool]
    read: Callable[[Path, str, int], Iterator[SourceBatch]]


def sort_rows(
    rows: Iterable[Row], dataset: str, rows_per_batch: int, inspect: Callable[[pd.DataFrame], None] | None = None
) -> Iterator[SourceBatch]:
    """Batches of rows that a source gives one by one; `inspect` sees the first before it is sorted, and may raise."""
    sieve, stream = Sieve(dataset), iter(rows)
    while batch := list(islice(stream, rows_per_batch)):
        numbers, facts, raw = zip(*batch, strict=True)
        columns = {name: [fact.get(name, "") for fact in facts] for name in (*FACTS, "reason")}
        candidates = pd.DataFrame({"row_number": numbers, **columns, "raw": raw})
        if inspect is not None:
            inspect(candidates)
            inspect = None
        yield sieve.sort(candidates)


class Sieve:
    """Sorts the candidate rows of one file into photos and rejected rows, remembering ids from batch to batch.

    Ids are kept as sorted 64-bit hashes. Any two different ids of n share a hash, so that the later is taken for a
    duplicate, with a probability of n^2 / 2^65: 3 in 10,000 for the 100 million of YFCC100M.
    """

    def __init__(self, dataset: str) -> None:
        self.dataset = dataset
        self._hashes = np.empty(0, dtype=np.uint64)

    def sort(self, candidates: pd.DataFrame, raw_of: RawOf | None = None) -> SourceBatch:
        """Accepted and rejected rows of `candidates`, by the first reason that applies; the first good row of an id stays.

        `candidates` has the columns `row_number`, `FACTS`, `reason` ("" or why the source already knows that the row is no
        photo) and `raw`, the text as it came; where that is costly, `raw_of` gives it for the positions of the rejected
        rows instead. `latitude` and `longitude` are text or float64 (NaN: not given).
        """
        latitude, longitude, coordinate_reason = parse_coordinates(candidates["latitude"], candidates["longitude"])
        reason = candidates["reason"].to_numpy(dtype=object).copy()
        photo_id = candidates["photo_id"]
        _where_free(reason, (photo_id.str.strip() == "").to_numpy(), "no_photo_id")
        _where_free(reason, ~np.fromiter(map(is_safe_path, candidates["image_path"]), dtype=bool), "unsafe_path")
        free = reason == ""
        reason[free] = coordinate_reason[free]
        good = np.flatnonzero(reason == "")
        reason[good[self._met_before(photo_id.iloc[good])]] = "duplicate_id"

        keep = reason == ""
        degrees = {"latitude": latitude[keep], "longitude": longitude[keep]}
        accepted = candidates.loc[keep, :].assign(dataset=self.dataset, **degrees)[column_names(RawPhotos)]
        raw = raw_of(np.flatnonzero(~keep)) if raw_of is not None else candidates.loc[~keep, "raw"]
        rejected = {
            "row_number": candidates.loc[~keep, "row_number"].to_numpy(dtype=np.int64),
            "reason": reason[~keep],
            "raw": np.array([text[:RAW_TEXT_LIMIT] for text in raw], dtype=object),
        }
        return SourceBatch(accepted.reset_index(drop=True), pd.DataFrame(rejected))

    def _met_before(self, ids: pd.Series) -> np.ndarray:
        """Whether each id was met before, or earlier among these, (n,) bool; from now on all of them were."""
        hashes = np.asarray(pd.util.hash_array(ids.to_numpy(dtype=object), categorize=False), dtype=np.uint64)
        again = pd.Series(hashes).duplicated().to_numpy()
        if self._hashes.size:
            position = np.minimum(np.searchsorted(self._hashes, hashes), self._hashes.size - 1)
            again |= self._hashes[position] == hashes
        # Two sorted runs: a stable sort merges them.
        self._hashes = np.sort(np.concatenate([self._hashes, np.sort(hashes[~again])]), kind="stable")
        return again


def parse_coordinates(latitude: pd.Series, longitude: pd.Series) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Degrees (n,) float64 of two columns of text or numbers, and the reason code (n,) of each row, "" where good."""
    lat, lat_given = _to_degrees(latitude)
    lon, lon_given = _to_degrees(longitude)
    reason = np.full(lat.size, "", dtype=object)
    _where_free(reason, ~lat_given | ~lon_given, "no_coordinates")
    _where_free(reason, ~np.isfinite(lat) | ~np.isfinite(lon), "bad_coordinates")
    _where_free(reason, (np.abs(lat) > 90.0) | (np.abs(lon) > 180.0), "out_of_range")
    _where_free(reason, (lat == 0.0) & (lon == 0.0), "null_island")
    return lat, lon, reason


def _to_degrees(values: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Numbers (NaN where the text is none) and whether anything was given at all."""
    if pd.api.types.is_numeric_dtype(values.dtype):
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        return numbers, ~np.isnan(numbers)
    # A frame may have lost the difference between missing and empty; both are "not given".
    text = pc.utf8_trim_whitespace(pa.array(values.fillna("").astype(str), type=pa.string()))
    given = np.asarray(pc.not_equal(text, ""))
    # The pattern is stricter than Python's float(): no "nan", no "inf", no "1_000", no other script's digits.
    number = pc.match_substring_regex(text, _NUMBER)
    numbers = pc.cast(pc.if_else(number, text, None), pa.float64())
    return numbers.to_numpy(zero_copy_only=False), given


def collect(batches: Iterable[SourceBatch]) -> SourceBatch:
    """All batches as one, for files that fit in memory."""
    parts = list(batches) or [SourceBatch(empty(RawPhotos), empty(RejectedRows))]
    return SourceBatch(
        pd.concat([part.accepted for part in parts], ignore_index=True),
        pd.concat([part.rejected for part in parts], ignore_index=True),
    )


def _where_free(reason: np.ndarray, condition: np.ndarray, code: str) -> None:
    reason[(reason == "") & condition] = code

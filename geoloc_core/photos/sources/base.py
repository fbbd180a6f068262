"""What every source of photo metadata promises, and the sieve that sorts its rows.

A source reads one published layout and gives batches. In every batch each row of the file is exactly once, either among
the accepted photos or among the rejected rows with its reason: over all batches, accepted + rejected = rows in.
Memory does not grow with the file, but for 8 bytes a photo to know an id again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from geoloc_core.photos.schemas import RawPhotos, RejectedRows, column_names, empty

ROWS_PER_BATCH = 100_000
RAW_TEXT_LIMIT = 4_000  # characters of a rejected row that are kept: enough to see what it was

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp", ".mpo"})
VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".3gp", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".mts")

_NUMBER = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"


@dataclass(frozen=True)
class SourceBatch:
    """Some rows of a file: the photos (`RawPhotos`) and the rows that are none (`RejectedRows`)."""

    accepted: pd.DataFrame
    rejected: pd.DataFrame


class MetadataSource(Protocol):
    """One published layout."""

    @property
    def name(self) -> str:
        """The word by which a profile asks for this layout."""

    @property
    def description(self) -> str:
        """What a person recognises it by, for messages."""

    def sniff(self, path: Path) -> bool:
        """Whether the content of `path` has this layout. Never raises for a readable path."""

    def read(self, path: Path, dataset: str, rows_per_batch: int = ROWS_PER_BATCH) -> Iterator[SourceBatch]:
        """The rows of `path`, `rows_per_batch` at a time; `InputError` where the file as a whole is unusable."""


class SeenIds:
    """The photo ids met so far, as sorted 64-bit hashes: 8 bytes an id, however long its text.

    That any two different ids of n share a hash has probability n^2 / 2^65, 3 in 10,000 for the 100 million of
    YFCC100M; the later of such a pair is then taken for a duplicate.
    """

    def __init__(self) -> None:
        self._runs: list[np.ndarray] = []

    def __len__(self) -> int:
        return sum(run.size for run in self._runs)

    def contains(self, ids: pd.Series) -> np.ndarray:
        """Whether each id was added before, (n,) bool."""
        hashes = self._hash(ids)
        found = np.zeros(hashes.size, dtype=bool)
        for run in self._runs:
            at = np.minimum(np.searchsorted(run, hashes), run.size - 1)
            found |= run[at] == hashes
        return found

    def add(self, ids: pd.Series) -> None:
        """Remember ids. Runs of like size are merged, so that there are never more than log2(n) of them."""
        run = np.sort(self._hash(ids))
        while run.size and self._runs and self._runs[-1].size <= run.size:
            run = np.sort(np.concatenate([self._runs.pop(), run]), kind="stable")
        if run.size:
            self._runs.append(run)

    @staticmethod
    def _hash(ids: pd.Series) -> np.ndarray:
        return np.asarray(pd.util.hash_array(ids.to_numpy(dtype=object), categorize=False), dtype=np.uint64)


CANDIDATE_COLUMNS = (
    "row_number",
    "photo_id",
    "author_id",
    "latitude",
    "longitude",
    "image_path",
    "image_url",
    "reason",
    "raw",
)


class Sieve:
    """Sorts the candidate rows of one file into photos and rejected rows, remembering ids from batch to batch."""

    def __init__(self, dataset: str) -> None:
        self.dataset = dataset
        self._seen = SeenIds()

    def sort(
        self, candidates: pd.DataFrame, raw_of: Callable[[np.ndarray], Sequence[str]] | None = None
    ) -> SourceBatch:
        """Accepted and rejected rows of `candidates`.

        `candidates` has `CANDIDATE_COLUMNS`: `latitude` and `longitude` as text or as float64 (NaN: not given), `reason`
        "" or why the source already knows that the row is no photo, `raw` the text as it came; where that is costly,
        `raw_of` gives it for the positions of the rejected rows, and the column may be missing. The first reason that
        applies is the one given; of several rows with an id the first good one stays.
        """
        if candidates.empty:
            return SourceBatch(empty(RawPhotos), empty(RejectedRows))
        latitude, longitude, coordinate_reason = parse_coordinates(candidates["latitude"], candidates["longitude"])
        reason = candidates["reason"].to_numpy(dtype=object).copy()
        photo_id = candidates["photo_id"]
        _where_free(reason, (photo_id.str.strip() == "").to_numpy(), "no_photo_id")
        _where_free(reason, ~safe_paths(candidates["image_path"]), "unsafe_path")
        free = reason == ""
        reason[free] = coordinate_reason[free]
        good = np.flatnonzero(reason == "")
        ids = photo_id.iloc[good]
        again = ids.duplicated(keep="first").to_numpy() | self._seen.contains(ids)
        reason[good[again]] = "duplicate_id"
        self._seen.add(ids[~again])

        keep = reason == ""
        accepted = candidates.loc[keep].assign(
            dataset=self.dataset, latitude=latitude[keep], longitude=longitude[keep]
        )[column_names(RawPhotos)]
        out = np.flatnonzero(~keep)
        raw = raw_of(out) if raw_of is not None else candidates["raw"].to_numpy(dtype=object)[out]
        rejected = pd.DataFrame(
            {
                "row_number": candidates["row_number"].to_numpy(dtype=np.int64)[out],
                "reason": reason[out],
                "raw": [text[:RAW_TEXT_LIMIT] for text in raw],
            }
        ).astype({"raw": object})
        return SourceBatch(accepted.reset_index(drop=True), rejected)


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


def safe_paths(paths: pd.Series) -> np.ndarray:
    """Whether each relative path stays inside its folder, (n,) bool; "" does."""
    suspicious = paths.str.contains(r"^/|^[A-Za-z]:|\\|\.\.|\x00", regex=True).to_numpy(dtype=bool)
    safe = ~suspicious
    safe[suspicious] = [is_safe_path(str(path)) for path in paths[suspicious]]
    return safe


def is_safe_path(path: str) -> bool:
    """Whether a relative path, as text from outside, stays inside the folder that it is joined to."""
    if "\\" in path or "\x00" in path or (len(path) > 1 and path[1] == ":"):
        return False
    pure = PurePosixPath(path)
    return not pure.is_absolute() and ".." not in pure.parts


def is_video(path: str) -> bool:
    """Whether a file name is a video's."""
    return path.lower().endswith(VIDEO_SUFFIXES)


def collect(batches: Iterable[SourceBatch]) -> SourceBatch:
    """All batches as one, for files that fit in memory."""
    parts = list(batches)
    if not parts:
        return SourceBatch(empty(RawPhotos), empty(RejectedRows))
    return SourceBatch(
        pd.concat([part.accepted for part in parts], ignore_index=True),
        pd.concat([part.rejected for part in parts], ignore_index=True),
    )


def _where_free(reason: np.ndarray, condition: np.ndarray, code: str) -> None:
    reason[(reason == "") & condition] = code

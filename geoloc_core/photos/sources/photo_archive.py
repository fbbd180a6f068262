"""A tar or zip of photos: with GPS in EXIF, or a WebDataset with its metadata beside each picture.

Every picture is a row, and so is every other file that belongs to no picture. In a WebDataset the files of a sample
follow each other and share their name up to its first dot; a `.json` among them tells, under the usual names
(see `columns.NAMES`), the position, the author, the id or the URL, and is believed before the EXIF block. The other
files of a sample are its labels and captions, which are not used and not rows. Without a `.json` the `photo_id` is the
path inside the archive, with its suffix. `image_path` is that path too; in a folder of archives (a WebDataset of many
shards) the archive's whole name stands before it. `pictures.unpack_once` unpacks in the same way.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from geoloc_core.errors import InputError
from geoloc_core.photos.archives import Member, archives_in, members
from geoloc_core.photos.batches import in_batches
from geoloc_core.photos.exif import GpsFix, read_gps
from geoloc_core.photos.images import ImageLimits, RefusedImage
from geoloc_core.photos.sources.base import CANDIDATE_COLUMNS, IMAGE_SUFFIXES, ROWS_PER_BATCH, Sieve, SourceBatch
from geoloc_core.photos.sources.columns import NAMES

MAX_SIDECAR_BYTES = 1 << 20


@dataclass(frozen=True)
class PhotoArchiveSource:
    """Reads a tar, plain or compressed, or a zip."""

    limits: ImageLimits = field(default_factory=ImageLimits)
    name: str = "photo_archive"
    description: str = "a tar, zip or WebDataset of photos, or a folder of these"

    def sniff(self, path: Path) -> bool:
        """Whether the content is an archive, or a folder of archives."""
        return bool(archives_in(path))

    def read(self, path: Path, dataset: str, rows_per_batch: int = ROWS_PER_BATCH) -> Iterator[SourceBatch]:
        """Batches of the archive's pictures; `InputError` where the archive is damaged."""
        archives = archives_in(path)
        if not archives:
            raise InputError(f"{path} is neither a tar nor a zip nor a folder of them")
        sieve = Sieve(dataset)
        rows = (
            row
            for archive in archives
            for sample in _samples(archive, self.limits)
            for row in sample.rows(f"{archive.name}/" if path.is_dir() else "")
        )
        for some in in_batches(enumerate(rows, start=1), rows_per_batch):
            frame = pd.DataFrame([(number, *row) for number, row in some], columns=list(CANDIDATE_COLUMNS))
            yield sieve.sort(frame)


_Row = tuple[str, str, object, object, str, str, str, str]  # CANDIDATE_COLUMNS after row_number


@dataclass
class _Sample:
    """Consecutive files that share a name: at most what is needed of them is kept."""

    key: str
    pictures: list[tuple[str, object, object, str]] = field(default_factory=list)  # name, latitude, longitude, reason
    others: list[tuple[str, str]] = field(default_factory=list)  # name, reason
    facts: dict[str, Any] = field(default_factory=dict)

    def add(self, member: Member, limits: ImageLimits) -> None:
        shown = member.name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        suffix = PurePosixPath(member.name).suffix.lower()
        if shown != member.name:
            self.others.append((shown, "undecodable_text"))
        elif member.is_file and suffix in IMAGE_SUFFIXES:
            fix = _position(member, limits)
            nothing = float("nan")
            self.pictures.append(
                (shown, nothing, nothing, fix) if isinstance(fix, str) else (shown, fix.latitude, fix.longitude, "")
            )
        else:
            self.others.append((shown, "not_a_photo"))
            if member.is_file and suffix == ".json" and member.size <= MAX_SIDECAR_BYTES:
                with contextlib.suppress(RefusedImage):
                    self.facts = _facts(member.read(MAX_SIDECAR_BYTES))

    def rows(self, folder: str) -> Iterator[_Row]:
        for member, latitude, longitude, reason in self.pictures:
            name = folder + member
            if "latitude" in self.facts and "longitude" in self.facts:
                # The picture itself must still be one; what its EXIF says of places does not matter any more.
                reason = "" if reason in _POSITION_REASONS else reason
                latitude, longitude = self.facts["latitude"], self.facts["longitude"]
            photo_id = self.facts.get("photo_id", name) if len(self.pictures) == 1 else name
            author, url = self.facts.get("author_id", ""), self.facts.get("image_url", "")
            # Positions from JSON are text and those from EXIF numbers: one column must be of one kind.
            yield photo_id, author, _as_text(latitude), _as_text(longitude), name, url, reason, name
        for name, reason in self.others:
            if not self.pictures or reason != "not_a_photo":
                yield "", "", "", "", "", "", reason, folder + name


def _position(member: Member, limits: ImageLimits) -> GpsFix | str:
    try:
        return read_gps(member.read(limits.max_bytes + 1), limits)
    except RefusedImage as refusal:
        return refusal.reason


_POSITION_REASONS = ("no_coordinates", "no_hemisphere", "bad_gps", "out_of_range", "null_island")


def _samples(path: Path, limits: ImageLimits) -> Iterator[_Sample]:
    sample: _Sample | None = None
    for member in members(path):
        parent, _, name = member.name.rpartition("/")
        key = f"{parent}/{name.split('.', 1)[0]}"
        if sample is not None and sample.key != key:
            yield sample
            sample = None
        sample = sample or _Sample(key)
        sample.add(member, limits)
    if sample is not None:
        yield sample


def _facts(content: bytes) -> dict[str, str]:
    """What a WebDataset's JSON tells under our names, as text; {} where it is no object."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(value, Mapping):
        return {}
    given = {str(name).lower(): fact for name, fact in value.items() if isinstance(fact, str | int | float)}
    found = {ours: next((given[name] for name in names if name in given), None) for ours, names in NAMES.items()}
    return {ours: _as_text(fact) for ours, fact in found.items() if fact is not None}


def _as_text(value: object) -> str:
    if isinstance(value, float):
        return "" if value != value else repr(value)
    return str(value)

"""A tar or zip of photos: with GPS in EXIF, or a WebDataset with its metadata beside each picture.

Every picture is a row, and so is every other file that belongs to no picture. In a WebDataset the files of a sample
follow each other and share their name up to its first dot; a `.json` among them gives, under the usual names
(`schemas.ALIASES`), position, author, id or URL, and is believed before the EXIF block. `image_path`, and `photo_id`
without a `.json`, is the path inside the archive, after the archive's whole name where it lies in a folder of archives,
as `pictures.unpack_once` unpacks it.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path, PurePosixPath

from geoloc_core.errors import InputError
from geoloc_core.photos.archives import Member, archives_in, members
from geoloc_core.photos.exif import read_gps
from geoloc_core.photos.file_names import is_image, printable
from geoloc_core.photos.images import ImageLimits, RefusedImage
from geoloc_core.photos.schemas import ALIASES
from geoloc_core.photos.sources.base import Facts, MetadataSource, SourceBatch, sort_rows
from geoloc_core.photos.sources.photo_folder import position_facts

MAX_SIDECAR_BYTES = 1 << 20
_LIMITS = ImageLimits()
# Why EXIF gives no usable position, which does not matter where the sidecar gives one.
_POSITION_REASONS = ("no_coordinates", "no_hemisphere", "bad_gps", "out_of_range", "null_island")


def _read(path: Path, dataset: str, rows_per_batch: int) -> Iterator[SourceBatch]:
    archives = archives_in(path)
    if not archives:
        raise InputError(f"{path} is neither a tar nor a zip nor a folder of them")
    facts = (
        facts
        for archive in archives
        for _, sample in groupby(members(archive), _sample_name)
        for facts in _sample_facts(sample, f"{archive.name}/" if path.is_dir() else "")
    )
    rows = ((number, row, raw) for number, (row, raw) in enumerate(facts, start=1))
    yield from sort_rows(rows, dataset, rows_per_batch)


def _sample_name(member: Member) -> str:
    """What the files of one sample share: folder, and name up to its first dot."""
    parent, _, name = member.name.rpartition("/")
    return f"{parent}/{name.split('.', 1)[0]}"


def _sample_facts(sample: Iterator[Member], folder: str) -> Iterator[tuple[Facts, str]]:
    """What the consecutive files of one sample say, and the name of each: its pictures, then what belongs to none."""
    pictures: list[tuple[str, Facts]] = []
    others: list[tuple[str, str]] = []
    sidecar: Facts = {}
    for member in sample:
        name = printable(member.name)
        if name != member.name:
            others.append((folder + name, "undecodable_text"))
        elif not member.reason and is_image(name):
            pictures.append((folder + name, _exif_facts(member)))
        else:
            others.append((folder + name, member.reason or "not_a_photo"))
            is_json = not member.reason and PurePosixPath(name).suffix.lower() == ".json"
            if is_json and member.size <= MAX_SIDECAR_BYTES:
                with contextlib.suppress(RefusedImage):
                    sidecar = _sidecar_facts(member.read(MAX_SIDECAR_BYTES))
    placed = "latitude" in sidecar and "longitude" in sidecar
    for name, exif in pictures:
        facts = {"photo_id": name, **sidecar}
        if not placed:
            facts |= {"latitude": "", "longitude": "", **exif}
        elif exif.get("reason", "") not in ("", *_POSITION_REASONS):
            facts["reason"] = exif["reason"]  # the picture itself must be one all the same
        if len(pictures) > 1:
            facts["photo_id"] = name
        yield {**facts, "image_path": name}, name
    for name, reason in others:
        if not pictures or reason != "not_a_photo":
            yield {"reason": reason}, name


def _exif_facts(member: Member) -> Facts:
    try:
        return position_facts(read_gps(member.read(_LIMITS.max_bytes + 1), _LIMITS))
    except RefusedImage as refusal:
        return {"reason": refusal.reason}


def _sidecar_facts(content: bytes) -> Facts:
    """What a WebDataset's JSON says under our names, as text; {} where it is no object."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        value = None
    facts = value.items() if isinstance(value, Mapping) else ()
    # str() of a float reads back as the same float; NaN is nothing. JSON may hold halves of characters, which no file can.
    texts = {
        name.lower(): str(fact).encode("utf-8", "backslashreplace").decode() if fact == fact else ""
        for name, fact in facts
        if isinstance(fact, str | int | float)
    }
    ours = {name: [texts[theirs] for theirs in names if theirs in texts] for name, names in ALIASES.items()}
    return {name: found[0] for name, found in ours.items() if found}


PHOTO_ARCHIVE = MetadataSource(
    name="photo_archive",
    description="a tar, zip or WebDataset of photos, or a folder of these",
    sniff=lambda path: bool(archives_in(path)),
    read=_read,
)

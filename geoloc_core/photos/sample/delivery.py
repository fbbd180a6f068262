"""A delivery of the sample as it would arrive: a metadata file in MP-16's places365 layout and a folder of JPEGs.

Nothing but pixels and coordinates tells where a photo was taken: file names are digits of a hash, every file is padded
to a size drawn without regard to its content, sides and orientation are drawn before the place, and EXIF holds
the coordinates, the orientation and nothing else.
"""

from __future__ import annotations

import csv
import io
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from geoloc_core.errors import InputError
from geoloc_core.photos.sample.places import Place, author_pool, build_atlas, draw_place
from geoloc_core.photos.sample.randomness import digits, hexadecimals, stream
from geoloc_core.photos.sample.scene import SceneKind, draw_photo
from geoloc_core.photos.sample.spec import TRAINING, SampleSpec, photos_in
from geoloc_core.photos.sample.traits import Look
from geoloc_core.progress import track
from geoloc_core.storage import replacing_folder

if TYPE_CHECKING:
    from geoloc_core.geography.boundaries import BoundarySet

METADATA_FILE = "metadata.csv"
IMAGE_FOLDER = "images"
COLUMNS = (
    "IMG_ID", "AUTHOR", "LAT", "LON", "S3_Label", "S16_Label", "S365_Label", "Prob_indoor", "Prob_natural", "Prob_urban",
)  # fmt: skip

BROKEN_FILES = ("truncated", "not_an_image", "empty", "missing")
BAD_COORDINATES = ("coordinates_missing", "coordinates_zero", "coordinates_out_of_range")

NOT_AN_IMAGE = (
    b"<!DOCTYPE html>\n<html><head><title>Photo not available</title></head>\n"
    b"<body>This photo is no longer available.</body></html>\n"
)

SMALLEST_FILE_SHARE = 0.40
LARGEST_FILE_SHARE = 0.56
"""File sizes are drawn between these many bytes per pixel of a square of the longer side, whatever the picture."""

ORIENTATIONS = {1: None, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270, 3: Image.Transpose.ROTATE_180}
"""EXIF orientation -> how the stored pixels were turned away from the upright picture."""
SIDES = (1.0, 0.75, 0.6667, 0.5625)
"""Shorter side by longer side."""


@dataclass(frozen=True)
class _Sheet:
    """What is decided of a photo before its place: nothing of it can tell where it was taken."""

    width: int
    height: int
    orientation: int
    quality: int
    file_bytes: int


def draw_delivery(spec: SampleSpec, name: str, folder: Path, boundaries: BoundarySet) -> dict[str, int]:
    """Draw the delivery `name` (a shard or a benchmark of `spec`) into `folder`; how many there are of what.

    Writes `metadata.csv` and `images/aa/bb/PHOTOID.jpg`. The folder appears whole or not at all; a delivery that is
    there already is replaced, any other folder that holds something is refused with `InputError`. Equal `spec`, `name`
    and `boundaries` write equal bytes. Counts: rows, images (readable files), authors, countries, sea_coast,
    sea_ocean, and one for each kind of broken file and of bad coordinates.
    """
    rows = photos_in(spec, name)
    is_benchmark = name in spec.benchmarks
    atlas = build_atlas(spec, boundaries)
    pool = author_pool(spec, atlas, name if is_benchmark else TRAINING)
    countries = {country.region_id: country for country in atlas.countries}
    look = Look(spec.seed)
    faults = {} if is_benchmark else _faults(spec, name, rows)
    ids = _photo_ids(spec, name, rows)
    counts: Counter[str] = Counter(dict.fromkeys((*BROKEN_FILES, *BAD_COORDINATES), 0))
    authors: set[str] = set()
    photographed: set[str] = set()
    with _replacing_folder(Path(folder)) as part:
        with (part / METADATA_FILE).open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(COLUMNS)
            for number, photo_id in enumerate(track(ids, f"drawing {name}", total=rows, unit="photo")):
                rng = stream(spec.seed, name, number)
                sheet = _sheet(spec, rng)
                place = draw_place(spec, atlas, pool, rng)
                traits = look.traits(place, countries.get(place.country_id), rng)
                image, kind = draw_photo(traits, place.setting, (sheet.width, sheet.height), rng)
                fault = faults.get(number, "")
                relative = Path(_image_path(photo_id))
                content = _file_bytes(image, place, sheet, fault, rng)
                if content is not None:
                    (part / IMAGE_FOLDER / relative).parent.mkdir(parents=True, exist_ok=True)
                    (part / IMAGE_FOLDER / relative).write_bytes(content)
                table.writerow(
                    [relative.as_posix(), place.author_id, *_coordinates(place, fault, rng), *kind.labels,
                     *_scene_probabilities(kind, rng)]
                )  # fmt: skip
                counts[fault] += 1
                counts[f"sea_{place.setting}"] += 1
                authors.add(place.author_id)
                if place.setting == "land":
                    photographed.add(place.country_id)
        (part / IMAGE_FOLDER).mkdir(exist_ok=True)
    broken = {kind: counts[kind] for kind in BROKEN_FILES}
    return {
        "rows": rows,
        "images": rows - sum(broken.values()),
        "authors": len(authors),
        "countries": len(photographed),
        "sea_coast": counts["sea_coast"],
        "sea_ocean": counts["sea_ocean"],
        **broken,
        **{kind: counts[kind] for kind in BAD_COORDINATES},
    }


def _sheet(spec: SampleSpec, rng: np.random.Generator) -> _Sheet:
    longer = spec.image_size
    shorter = round(longer * SIDES[int(rng.choice(len(SIDES), p=[0.05, 0.6, 0.25, 0.1]))])
    landscape = rng.random() < 0.72
    low, high = SMALLEST_FILE_SHARE * longer**2, LARGEST_FILE_SHARE * longer**2
    return _Sheet(
        width=longer if landscape else shorter,
        height=shorter if landscape else longer,
        orientation=int(rng.choice(list(ORIENTATIONS), p=[0.93, 0.04, 0.02, 0.01])),
        quality=int(rng.integers(72, 90)),
        file_bytes=int(rng.integers(round(low), round(high))),
    )


def _faults(spec: SampleSpec, name: str, rows: int) -> dict[int, str]:
    """Which rows of a shard are faulty, and how; every kind occurs where there are rows enough."""
    kinds = [
        *_repeat(BROKEN_FILES, round(spec.broken_share * rows)),
        *_repeat(BAD_COORDINATES, round(spec.bad_coordinates_share * rows)),
    ]
    where = stream(spec.seed, name, "faults").permutation(rows)[: len(kinds)]
    return dict(zip(where.tolist(), kinds, strict=True))


def _repeat(kinds: tuple[str, ...], count: int) -> list[str]:
    return [kinds[number % len(kinds)] for number in range(count)]


def _photo_ids(spec: SampleSpec, name: str, rows: int) -> list[str]:
    """Ids of Flickr's shape, different from one another."""
    ids: dict[str, None] = {}
    attempt = 0
    while len(ids) < rows:
        ids.setdefault(digits(11, spec.seed, "photo", name, attempt))
        attempt += 1
    return list(ids)


def _image_path(photo_id: str) -> str:
    folder = hexadecimals(4, "folder", photo_id)
    return f"{folder[:2]}/{folder[2:]}/{photo_id}.jpg"


def _coordinates(place: Place, fault: str, rng: np.random.Generator) -> tuple[str, str]:
    """LAT and LON as they stand in the metadata."""
    if fault == "coordinates_missing":
        return "", ""
    if fault == "coordinates_zero":
        return "0.0", "0.0"
    if fault == "coordinates_out_of_range":
        return f"{place.latitude + (180.0 if place.latitude >= 0 else -180.0):.6f}", f"{rng.uniform(181.0, 400.0):.6f}"
    return f"{place.latitude:.6f}", f"{place.longitude:.6f}"


def _scene_probabilities(kind: SceneKind, rng: np.random.Generator) -> tuple[str, str, str]:
    """What a scene classifier would say: indoor, natural, urban; they add up to 1."""
    scores = 0.7 * rng.normal(size=3)
    scores[kind.labels[0]] += 3.5
    shares = np.exp(scores) / np.exp(scores).sum()
    return f"{shares[0]:.6f}", f"{shares[1]:.6f}", f"{shares[2]:.6f}"


def _file_bytes(image: Image.Image, place: Place, sheet: _Sheet, fault: str, rng: np.random.Generator) -> bytes | None:
    """The bytes of the photo's file, None when there is none."""
    if fault == "missing":
        return None
    if fault == "empty":
        return b""
    if fault == "not_an_image":
        return NOT_AN_IMAGE
    turn = ORIENTATIONS[sheet.orientation]
    stored = image if turn is None else image.transpose(turn)
    # A camera that noted no coordinates, or wrong ones, for the metadata had none for EXIF either.
    exif = _exif(sheet.orientation, None if fault in BAD_COORDINATES else place)
    content = _encode(stored, exif, sheet)
    return content[: int(len(content) * rng.uniform(0.75, 0.95))] if fault == "truncated" else content


def _encode(image: Image.Image, exif: bytes, sheet: _Sheet) -> bytes:
    """A JPEG of exactly `sheet.file_bytes` bytes: a comment fills what the picture leaves."""
    for quality in range(sheet.quality, 4, -6):
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality, exif=exif)
        room = sheet.file_bytes - buffer.tell()
        if room >= 4:
            return _with_comment(buffer.getvalue(), room)
    raise RuntimeError(f"a picture of {image.size} does not fit into {sheet.file_bytes} bytes")


def _with_comment(jpeg: bytes, room: int) -> bytes:
    """`jpeg` made `room` bytes (at least 4) longer by comments before its frame (segment layout: ITU-T T.81, B.1.1)."""
    end = 2
    while jpeg[end] == 0xFF and 0xE0 <= jpeg[end + 1] <= 0xEF:
        end += 2 + struct.unpack(">H", jpeg[end + 2 : end + 4])[0]
    padding = bytearray()
    while room > 0:
        segment = min(room, 65_000)
        if 0 < room - segment < 4:
            segment -= 4
        padding += b"\xff\xfe" + struct.pack(">H", segment - 2) + bytes(segment - 4)
        room -= segment
    return jpeg[:end] + bytes(padding) + jpeg[end:]


def _exif(orientation: int, place: Place | None) -> bytes:
    """EXIF with the orientation and, when `place` is given, its coordinates (CIPA DC-008, GPS attributes)."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    if place is not None:
        exif[0x8825] = {
            0: b"\x02\x03\x00\x00",
            1: "N" if place.latitude >= 0 else "S",
            2: _degrees_minutes_seconds(place.latitude),
            3: "E" if place.longitude >= 0 else "W",
            4: _degrees_minutes_seconds(place.longitude),
        }
    return exif.tobytes()


def _degrees_minutes_seconds(angle: float) -> tuple[IFDRational, IFDRational, IFDRational]:
    """Degrees, minutes and seconds of |angle|; seconds in steps of 1/10000, about 3 mm on the ground."""
    steps = round(abs(angle) * 36_000_000)
    minutes, rest = divmod(steps, 600_000)
    degrees, minutes = divmod(minutes, 60)
    return IFDRational(degrees, 1), IFDRational(minutes, 1), IFDRational(rest, 10_000)


@contextmanager
def _replacing_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that takes the place of `folder` when the block ends well, and leaves no trace otherwise."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder for the sample")
    # Empty folders within are nobody's loss.
    held = folder.is_dir() and any(not path.is_dir() for path in folder.rglob("*"))
    if held and not (folder / METADATA_FILE).is_file():
        raise InputError(f"{folder} holds something that is not a delivery; name a new or an empty folder")
    with replacing_folder(folder) as part:
        yield part

"""A delivery of the sample as it would arrive: a metadata file in MP-16's places365 layout and a folder of JPEGs.

Only pixels and coordinates depend on where a photo was taken: ids are random, and shape, orientation and the size of the
file are drawn before the place.
"""

from __future__ import annotations

import csv
import io
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from geoloc_core.errors import InputError, ProfileError
from geoloc_core.geography.boundaries import BoundarySet
from geoloc_core.progress import track
from geoloc_core.storage import replacing_folder
from geoloc_sample.scenery import draw_photo
from geoloc_sample.world import Place, World, stream

BROKEN_FILES = ("truncated", "not_an_image", "empty", "missing")
BAD_COORDINATES = ("coordinates_missing", "coordinates_zero", "coordinates_out_of_range")
NOT_AN_IMAGE = b"<!DOCTYPE html>\n<html><body>This photo is no longer available.</body></html>\n"
# EXIF orientation: how the stored pixels are turned away from the upright picture, and how often.
ORIENTATIONS = {1: None, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270, 3: Image.Transpose.ROTATE_180}
ORIENTATION_SHARES = (0.93, 0.04, 0.02, 0.01)
SIDES, SIDE_SHARES = (1.0, 0.75, 0.6667, 0.5625), (0.05, 0.6, 0.25, 0.1)
# Bytes of a file per pixel of a square of the longer side. A JPEG comment of at most 65,533 bytes fills what the picture
# leaves, which limits `image_size`.
FILE_SHARES = (0.40, 0.56)


@dataclass(frozen=True)
class SampleSpec:
    """A drawn data set; equal specifications and boundaries draw equal bytes, and the number of shards changes none.

    The shards share their authors (about `authors`); each benchmark (name -> photos) has as many of its own, and no
    faults. `image_size` is the longer side in pixels; the two shares are those of a shard's photos that are faulty.
    """

    seed: int = 20240
    shards: int = 4
    photos_per_shard: int = 600
    benchmarks: Mapping[str, int] = field(default_factory=lambda: {"sample-im2gps": 120, "sample-im2gps3k": 360})
    image_size: int = 160
    authors: int = 360
    broken_share: float = 0.016
    bad_coordinates_share: float = 0.012

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        bounds: dict[str, tuple[float, float]] = {"shards": (1, 100), "photos_per_shard": (1, 10**8)}
        bounds |= {"authors": (1, 10**6), "image_size": (48, 320), "broken_share": (0, 0.25)}
        for name, (least, most) in (bounds | {"bad_coordinates_share": (0, 0.25)}).items():
            if not least <= getattr(self, name) <= most:
                raise ProfileError(f"sample: {name} is {getattr(self, name)}; it must be from {least} to {most}")
        for name, photos in self.benchmarks.items():
            if photos < 1 or name in ("training", *self.shard_names()):
                raise ProfileError(f"sample: benchmark {name!r} has no photo or the name of the training photos")

    def shard_names(self) -> list[str]:
        """The names of the training shards."""
        return [f"sample-{number:02d}" for number in range(self.shards)]


def draw_delivery(spec: SampleSpec, name: str, folder: Path, boundaries: BoundarySet) -> dict[str, int]:
    """Draw the shard or benchmark `name` into `folder`: `metadata.csv` and `images/aa/bb/PHOTOID.jpg`.

    The folder appears whole or not at all. A delivery that is there is replaced; any other folder that holds a file is
    refused with `InputError`. Returns counts, of readable files (images) and of each kind of fault among them.
    """
    rows_of = dict.fromkeys(spec.shard_names(), spec.photos_per_shard) | dict(spec.benchmarks)
    if name not in rows_of:
        raise ProfileError(f"sample: there is no delivery {name!r}; there are {', '.join(rows_of)}")
    foreign = folder.is_file() or any(path.is_file() for path in folder.rglob("*"))
    if foreign and not (folder / "metadata.csv").is_file():
        raise InputError(f"{folder} is or holds something that is not a delivery; name a new or an empty folder")
    rows, world = rows_of[name], World(spec.seed, boundaries)
    authors = world.authors(name if name in spec.benchmarks else "training", spec.authors)
    # Every kind of fault occurs where there are rows enough; a benchmark has none.
    kinds = [BROKEN_FILES[number % 4] for number in range(round(spec.broken_share * rows))]
    kinds += [BAD_COORDINATES[number % 3] for number in range(round(spec.bad_coordinates_share * rows))]
    positions = stream(spec.seed, name, "faults").permutation(rows).tolist()
    faults = {} if name in spec.benchmarks else dict(zip(positions, kinds, strict=False))
    # Ids of Flickr's shape, different from one another.
    numbers = stream(spec.seed, name, "ids").integers(10**10, 10**11, 2 * rows + 9).tolist()
    ids = list(dict.fromkeys(map(str, numbers)))[:rows]
    places = []
    with replacing_folder(folder) as part, (part / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("IMG_ID", "AUTHOR", "LAT", "LON"))
        for number, photo_id in enumerate(track(ids, f"drawing {name}", total=rows, unit="photo")):
            rng, fault = stream(spec.seed, name, number), faults.get(number, "")
            longer, shorter = spec.image_size, round(spec.image_size * float(rng.choice(SIDES, p=SIDE_SHARES)))
            size = (longer, shorter) if rng.random() < 0.72 else (shorter, longer)
            orientation = int(rng.choice(list(ORIENTATIONS), p=ORIENTATION_SHARES))
            file_bytes = round(float(rng.uniform(*FILE_SHARES)) * longer**2)
            place = world.place(authors, rng)
            image = draw_photo(spec.seed, place, size, rng)
            content = encode(image, orientation, None if fault in BAD_COORDINATES else place, file_bytes)
            path = part / "images" / photo_id[-2:] / photo_id[-4:-2] / f"{photo_id}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            if fault != "missing":
                cut = content[: int(len(content) * rng.uniform(0.75, 0.95))]
                path.write_bytes({"truncated": cut, "not_an_image": NOT_AN_IMAGE, "empty": b""}.get(fault, content))
            table.writerow([path.relative_to(part / "images"), place.author_id, *_coordinates(place, fault)])
            places.append(place)
    faulty, settings = Counter(faults.values()), Counter(place.setting for place in places)
    return {
        "rows": rows,
        "images": rows - sum(faulty[fault] for fault in BROKEN_FILES),
        "authors": len({place.author_id for place in places}),
        "countries": len({place.cells[0] for place in places if place.setting == "land"}),
        **{f"sea_{setting}": settings[setting] for setting in ("coast", "ocean")},
        **{fault: faulty[fault] for fault in (*BROKEN_FILES, *BAD_COORDINATES)},
    }


def _coordinates(place: Place, fault: str) -> tuple[str, str]:
    """LAT and LON as they stand in the metadata."""
    if fault in ("coordinates_missing", "coordinates_zero"):
        return ("", "") if fault == "coordinates_missing" else ("0.0", "0.0")
    beyond = 180 if fault == "coordinates_out_of_range" else 0
    return f"{place.latitude + np.copysign(beyond, place.latitude):.6f}", f"{place.longitude:.6f}"


def encode(image: Image.Image, orientation: int, place: Place | None, file_bytes: int) -> bytes:
    """A JPEG of exactly `file_bytes` bytes whose EXIF (CIPA DC-008) has the orientation and the place, where it is given.

    A camera that noted no coordinates for the metadata, or wrong ones, has none in EXIF.
    """
    turn, exif = ORIENTATIONS[orientation], Image.Exif()
    exif[0x0112] = orientation
    if place is not None:
        latitude, longitude = ((IFDRational(round(abs(angle) * 10**6), 10**6), 0, 0) for angle in place[:2])
        letters = "N" if place.latitude >= 0 else "S", "E" if place.longitude >= 0 else "W"
        exif[0x8825] = {0: b"\x02\x03\x00\x00", 1: letters[0], 2: latitude, 3: letters[1], 4: longitude}
    header = exif.tobytes()
    for quality in range(85, 4, -10):
        buffer = io.BytesIO()
        (image.transpose(turn) if turn else image).save(buffer, "JPEG", quality=quality, exif=header)
        jpeg, room = buffer.getvalue(), file_bytes - buffer.tell()
        if room >= 4:
            return jpeg[:2] + b"\xff\xfe" + struct.pack(">H", room - 2) + bytes(room - 4) + jpeg[2:]
    raise RuntimeError(f"a picture of {image.size} does not fit into {file_bytes} bytes")

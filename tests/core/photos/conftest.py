"""Reading a delivery as the tests of every source do, and small pictures with and without a position."""

import io
import struct
import zipfile
import zlib

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from geoloc_core.errors import InputError
from geoloc_core.photos.reasons import IMAGE_REASONS, ROW_REASONS
from geoloc_core.photos.schemas import RawPhotos, RejectedRows
from geoloc_core.photos.sources.base import SourceBatch, collect
from geoloc_core.photos.sources.registry import read_metadata
from geoloc_core.tables import validate


@pytest.fixture(scope="module")
def server():
    """A server on loopback that answers by the first part of the path; see `loopback`."""
    from tests.core.photos.loopback import Server

    server = Server()
    yield server
    server.close()


def read(path, source="auto", dataset="d", **options) -> SourceBatch:
    """All rows of a file, held against their schemas; rejected rows have a known reason."""
    batch = collect(read_metadata(path, dataset, source=source, **options))
    validate(RawPhotos, batch.accepted, "accepted")
    validate(RejectedRows, batch.rejected, "rejected")
    assert set(batch.rejected["reason"]) <= {*ROW_REASONS, *IMAGE_REASONS}
    return batch


def read_unless_swapped(path, **options) -> SourceBatch | None:
    """The same for generated rows, which may look as if latitude and longitude were exchanged."""
    try:
        return read(path, **options)
    except InputError as error:
        if "swapped" not in str(error):
            raise
        return None


def reasons(batch: SourceBatch, key: str = "row_number") -> dict:
    """The reason of each rejected row."""
    return dict(zip(batch.rejected[key], batch.rejected["reason"], strict=True))


def row_numbers(batch: SourceBatch) -> list[int]:
    """The numbers of all rows: with nothing lost and nothing twice, 1 to n."""
    return sorted([*batch.accepted["row_number"], *batch.rejected["row_number"]])


def jpeg(lat=None, lon=13.5, seed=None, size=(8, 8), lat_ref="N") -> bytes:
    """A JPEG, with the position in EXIF where one is given; `seed` makes its pixels noise."""
    exif = Image.Exif()
    if lat is not None:
        degrees = lat if isinstance(lat, tuple) else (lat, 0.0, 0.0)
        exif.get_ifd(0x8825).update({1: lat_ref, 2: degrees, 3: "E", 4: (lon, 0.0, 0.0)})
    if seed is None:
        image = Image.new("RGB", size, (1, 2, 3))
    else:
        image = Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3), dtype=np.uint8))
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif.tobytes())
    return file.getvalue()


def write_table(path, rows: list[dict]) -> str:
    """A CSV of rows that lie apart from each other; its path."""
    spread = [{"latitude": 50.0 + n, "longitude": 4.0 + n, **row} for n, row in enumerate(rows)]
    pd.DataFrame(spread).to_csv(path, index=False)
    return str(path)


def zipped(path, files):
    """A ZIP of files, by name or as pairs, in a folder that is made; a link where the content is None; its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items() if isinstance(files, dict) else files:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if content is None:
                info.external_attr = 0o120777 << 16
            archive.writestr(info, content or b"/etc/passwd")
    return path


def png_of(width, height) -> bytes:
    """A PNG of 60 bytes that declares any number of pixels."""
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"")),
        (b"IEND", b""),
    )
    parts = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)

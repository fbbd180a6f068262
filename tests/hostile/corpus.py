"""Hostile and unlucky inputs, made by rule: what an attacker, a slip or bad luck could hand to each reader.

`corpus` gives some eight hundred `Hostile`s. Each writes itself into an arena, a folder with `in` (the input), `home` (the
only folder that may be written to), `canary` (somebody's photos and thesis) and `cwd`; it returns the path that the reader
is given. Nothing is random but for `RNG`, which is seeded: the same names are the same bytes each time.
"""

import bz2
import gzip
import io
import itertools
import json
import lzma
import os
import pickle
import random
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from PIL import Image

from geoloc_core.geography.boundaries import EMBEDDED_FILE
from tests.core.photos.conftest import jpeg, png_of
from tests.dagster.tiny_line import TINY

RNG = random.Random(12)
Content = bytes | Callable[[], bytes]


@dataclass(frozen=True)
class Hostile:
    """One input: what kind of reader it is for, what is wrong with it, and how it is laid into an arena."""

    kind: str
    name: str
    lay: Callable[[Path], Path]


WRITTEN: dict[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())
TINY_YAML = yaml.safe_dump(TINY).encode()
HEADER = b"IMG_ID,AUTHOR,LAT,LON,S3_Label\n"
CSV = HEADER + b"".join(b"aa/bb/%d.jpg,author%d,%d.5,5.25,0\n" % (n, n % 5, n % 60) for n in range(100))
PHOTO, OK = jpeg(52.0), b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
SEEDS = {"<tiny>": TINY_YAML, "<header>": HEADER, "<csv>": CSV, "<photo>": PHOTO, "<ok>": OK, "<chunked>": CHUNKED}


def spelled(parts: str | list) -> bytes:
    """The bytes of an entry of corpus.yaml."""
    if isinstance(parts, list):
        return b"".join(spelled(part) if isinstance(part, str) else spelled(part[0]) * part[1] for part in parts)
    return SEEDS.get(parts) or parts.encode("latin-1")


ESCAPES: list[str] = WRITTEN["escapes"]
WRONG = [
    None,
    -1,
    10**30,
    1e308,
    float("nan"),
    True,
    "",
    "x" * 100_000,
    [],
    {},
    [[[]]],
    {"a": {"b": []}},
    "\x1b[31m\r\n",
]
MISSING, UNKNOWN = "a missing key", "an unknown key"


def of_file(kind: str, name: str, file: str, content: Content) -> Hostile:
    """An input that is one file; large content is made when it is wanted."""

    def lay(arena: Path) -> Path:
        path = arena / "in" / file
        path.write_bytes(content if isinstance(content, bytes) else content())
        return path

    return Hostile(kind, name, lay)


def of_arena(kind: str, name: str, file: str, content: Callable[[Path], bytes]) -> Hostile:
    """The same where the content names the arena."""

    def lay(arena: Path) -> Path:
        (arena / "in" / file).write_bytes(content(arena))
        return arena / "in" / file

    return Hostile(kind, name, lay)


def odd_files(kind: str, file: str) -> Iterator[Hostile]:
    """What is no file at all under the file's name."""

    def link(arena: Path, target: str) -> None:
        (arena / "in" / file).symlink_to(target.replace("{arena}", str(arena)))

    makers: dict[str, Callable[[Path], Any]] = {
        "a folder": lambda arena: (arena / "in" / file).mkdir(),
        "a pipe": lambda arena: os.mkfifo(arena / "in" / file),
        "not there": lambda arena: None,
        "a link to itself": lambda arena: link(arena, file),
        "a link to an endless device": lambda arena: link(arena, "/dev/zero"),
        "a link to the canary": lambda arena: link(arena, "{arena}/canary/thesis.txt"),
    }
    for name, make in makers.items():
        yield Hostile(kind, name, lambda arena, make=make: (make(arena), arena / "in" / file)[1])


def damaged(kind: str, file: str, good: bytes, flips: int, cuts: int) -> Iterator[Hostile]:
    """A good file with up to four bytes changed, or cut short."""
    for number in range(flips):
        content = bytearray(good)
        for place in RNG.choices(range(len(good)), k=1 + number % 4):
            content[place] = RNG.randrange(256)
        yield of_file(kind, f"{file} changed {number}", file, bytes(content))
    for number in range(1, cuts + 1):
        yield of_file(kind, f"{file} cut {number}", file, good[: len(good) * number // (cuts + 1)])


def mutants(value: Any, most: int) -> Iterator[tuple[str, Any]]:
    """At most so many copies of nested values with one of them wrong, missing, or joined by one that is not known."""

    def places(node: Any, path: tuple) -> Iterator[tuple]:
        for key, child in (
            node.items() if isinstance(node, dict) else enumerate(node[:3]) if isinstance(node, list) else ()
        ):
            yield (*path, key)
            yield from places(child, (*path, key))

    every = list(itertools.product(places(value, ()), [*WRONG, *ESCAPES, MISSING, UNKNOWN]))
    for path, wrong in RNG.sample(every, min(most, len(every))):
        copy = json.loads(json.dumps(value))
        node = copy
        for key in path[:-1]:
            node = node[key]
        if wrong == MISSING:
            del node[path[-1]]
        elif wrong == UNKNOWN and isinstance(node, dict):
            node[UNKNOWN] = 1
        else:
            node[path[-1]] = wrong
        yield f"{'.'.join(map(str, path))[-60:]} = {repr(wrong)[:24]}", copy


def text_in(arena: Path, value: Any) -> bytes:
    """Values as JSON, which is YAML too, with `{arena}` replaced by the arena's path."""
    return json.dumps(value).replace("{arena}", str(arena)).encode()


def bomb(start: str, depth: int = 12) -> bytes:
    """YAML in which each of `depth` names stands for nine of the one before."""
    names = [f"b0: &b0 {start}\n", *(f"b{n}: &b{n} [{', '.join([f'*b{n - 1}'] * 9)}]\n" for n in range(1, depth))]
    return "".join(names).encode()


def profiles() -> Iterator[Hostile]:
    good = {
        **TINY, "near_cap_km": 25.0, "device": "cpu", "seed": 1, "answer": "medoid", "checkpoints": "weights",
        "images": {"max_pixels": 1000}, "fetching": {"attempts": 2, "allowed_networks": ["10.0.0.0/8"]},
        "backbones": {"other": {"of": "tiny-vit", "kept_as": "other", "decode": "draft"}}, "landing": {"rows_per_shard": 10},
        "benchmarks": [{"name": "b", "metadata": "m.csv", "images": "i", "columns": {"latitude": "y"}}],
    }  # fmt: skip
    escaping = [{"backbones": {"o": {"of": "tiny-vit", "kept_as": escape}}} for escape in ESCAPES]
    escaping += [{"name": escape} for escape in ESCAPES]
    for name, values in [*mutants(good, 70), *((str(changes), {**good, **changes}) for changes in escaping)]:
        yield of_arena("profile", name, "p.yaml", partial(text_in, value=values))
    made = {
        "alias bomb": bomb("[x]") + TINY_YAML,
        "merge bomb": bomb("{x: 1}", 1)
        + b"".join(b"c%d: {<<: [%s]}\n" % (n, b", ".join([b"*b0"] * 5000)) for n in range(9)),
        "utf-16": TINY_YAML.decode().encode("utf-16"),
        "utf-32": TINY_YAML.decode().encode("utf-32"),
        "binary": bytes(range(256)) * 40,
        "tabs": TINY_YAML.replace(b"  ", b"\t"),
        "carriage returns": TINY_YAML.replace(b"\n", b"\r"),
        "many keys": b"".join(b"k%d: 1\n" % n for n in range(200_000)),
        "a million shards": TINY_YAML.replace(b"shards: 3", b"shards: 1000000"),
        "many experiments": TINY_YAML.replace(
            b"- clip.linear.country.thesis\n", b"- clip.linear.country.thesis\n" * 50_000
        ),
    }
    written = {name: partial(spelled, text) for name, text in WRITTEN["profile"].items()}
    for name, text in {**made, **written}.items():
        yield of_file("profile", name, "p.yaml", text)
    yield from odd_files("profile", "p.yaml")


def tables() -> Iterator[Hostile]:
    for field in map(spelled, WRITTEN["table ids"]):
        yield of_file("table", f"id {field[:20]!r}", "m.csv", CSV + field + b",a,1,2,0\n")
    for number in map(spelled, WRITTEN["table latitudes"]):
        yield of_file("table", f"latitude {number[:20]!r}", "m.csv", CSV + b"x.jpg,a," + number + b",2,0\n")
    made = {
        "no last newline": CSV[:-1],
        "utf-16": CSV.decode().encode("utf-16"),
        "carriage returns": CSV.replace(b"\n", b"\r"),
        "100,000 columns": b",".join(b"c%d" % n for n in range(100_000)) + b"\n" + b"1" + b",1" * 99_999,
        "latitude and longitude swapped": b"id,lat,lon\n"
        + b"".join(b"%d,%d,1\n" % (n, 100 + n % 70) for n in range(200)),
    }
    written = {name: partial(spelled, text) for name, text in WRITTEN["table"].items()}
    for name, text in {**made, **written}.items():
        yield of_file("table", name, "m.csv", text)
    for suffix, pack in {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}.items():
        whole = pack(CSV)
        packed: dict[str, Content] = {
            "10 GB of zeros": lambda pack=pack, whole=whole: whole + pack(bytes(50_000_000)) * 200,
            "10,000,000 rows": lambda pack=pack: pack(HEADER) + pack(b"a.jpg,a,1,2,0\n" * 1_000_000) * 10,
            "cut": whole[:-9],
            "packed twice": pack(whole),
            "rubbish after it": whole + b"rubbish" * 100,
        }
        for name, content in packed.items():
            yield of_file("table", f"{name}, .{suffix}", f"m.csv.{suffix}", content)
    yield from damaged("table", "m.csv", CSV, 20, 5)
    yield from damaged("table", "m.csv.gz", gzip.compress(CSV), 10, 4)
    yield from odd_files("table", "m.csv")


def parquet_bytes(table: pa.Table, **options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    return file.getvalue()


ROWS = 50
TEXTS = [str(row) for row in range(ROWS)]
COLUMNS = {"id": pa.array(TEXTS), "lat": pa.array(np.arange(ROWS) * 1.0), "lon": pa.array(np.arange(ROWS) * 2.0)}
PARQUET = parquet_bytes(pa.table(COLUMNS))


def parquet_tables() -> Iterator[Hostile]:
    odd = {
        "list": pa.array([[1.0]] * ROWS),
        "nested list": pa.array([[[[1.0]]]] * ROWS),
        "struct": pa.array([{"x": 1.0}] * ROWS),
        "map": pa.array([[("a", 1)]] * ROWS, pa.map_(pa.string(), pa.int32())),
        "text view": pa.array(TEXTS, pa.string_view()),
        "binary view": pa.array([b"\xff"] * ROWS, pa.binary_view()),
        "large text": pa.array(TEXTS, pa.large_string()),
        "bytes": pa.array([b"\xff\xfe"] * ROWS),
        "fixed bytes": pa.array([b"abcd"] * ROWS, pa.binary(4)),
        "decimal": pa.array([1] * ROWS).cast(pa.decimal128(38, 10)),
        "timestamp": pa.array([1] * ROWS, pa.timestamp("ns", "Europe/Amsterdam")),
        "date": pa.array([1] * ROWS, pa.date32()),
        "time": pa.array([1] * ROWS, pa.time64("ns")),
        "duration": pa.array([1] * ROWS, pa.duration("s")),
        "boolean": pa.array([True, False] * (ROWS // 2)),
        "nothing": pa.nulls(ROWS),
        "uint64": pa.array([2**64 - 1] * ROWS, pa.uint64()),
        "half": pa.array(np.arange(ROWS, dtype=np.float16)),
        "infinite": pa.array([float("inf")] * ROWS),
        "no number": pa.array([float("nan")] * ROWS),
        "long text": pa.array(["x" * 100_000] * ROWS),
        "zeros in text": pa.array(["a\0b"] * ROWS),
        "climbing text": pa.array(["../../canary/x"] * ROWS),
        "dictionary": pa.array(TEXTS).dictionary_encode(),
        "dictionary of nothing": pa.array([None] * ROWS, pa.string()).dictionary_encode(),
    }
    for (name, column), role in itertools.product(odd.items(), ("id", "lat")):
        yield of_file("parquet", f"{role}: {name}", "m.parquet", parquet_bytes(pa.table({**COLUMNS, role: column})))

    def with_geo(value: Any, wkb: bytes = struct.pack("<BIdd", 1, 1, 5.0, 52.0)) -> bytes:
        text = value if isinstance(value, bytes) else json.dumps(value).encode()
        table = pa.table({"id": COLUMNS["id"], "geometry": pa.array([wkb] * ROWS)})
        return parquet_bytes(table.replace_schema_metadata({b"geo": text}))

    about = {
        "primary_column": "geometry",
        "columns": {"geometry": {"encoding": "WKB", "crs": None}},
        "version": "1.0.0",
    }
    geo = {name: with_geo(value) for name, value in mutants(about, 14)}
    geo |= {f"GeoParquet metadata {name}": with_geo(spelled(text)) for name, text in WRITTEN["json"].items()}
    geo |= {"GeoParquet metadata 100,000 deep": with_geo(b"[" * 100_000), "WKB cut": with_geo(about, b"\x01\x01")}
    geo |= {"WKB empty": with_geo(about, b""), "WKB unknown": with_geo(about, b"\x09" * 30)}
    geo |= {"WKB with a huge count": with_geo(about, struct.pack("<BII", 1, 2, 2**32 - 1))}
    geo |= {"WKB nested": with_geo(about, b"\x01\x07\0\0\0\x01\0\0\0" * 20_000)}
    zeros = pa.array(np.zeros(20_000_000, np.int8))
    same = pa.DictionaryArray.from_arrays(pa.array(np.zeros(50_000, np.int32)), pa.array(["x" * 200_000]))
    ones = pa.array(np.ones(50_000))
    made: dict[str, Content] = {
        **geo,
        "a dictionary bomb": lambda: parquet_bytes(
            pa.table({"id": same, "lat": ones, "lon": ones}), compression="zstd"
        ),
        "20,000,000 rows": lambda: parquet_bytes(pa.table(dict.fromkeys(COLUMNS, zeros)), compression="zstd"),
        "row groups of one row": lambda: parquet_bytes(pa.table(COLUMNS), row_group_size=1),
        "5,000 columns": lambda: parquet_bytes(pa.table({**COLUMNS, **{f"c{n}": COLUMNS["lat"] for n in range(5000)}})),
        "no rows": parquet_bytes(pa.table(COLUMNS).slice(0, 0)),
        "no columns": parquet_bytes(pa.table({})),
        "the same name twice": parquet_bytes(pa.Table.from_arrays([*COLUMNS.values()] * 2, [*COLUMNS] * 2)),
        "swapped": parquet_bytes(pa.table({**COLUMNS, "lat": pa.array(np.linspace(-170, 170, ROWS))})),
        "magic alone": b"PAR1",
        "magic twice": b"PAR1PAR1",
        "encrypted": b"PARE" + PARQUET[4:-4] + b"PARE",
        "a footer of 2 GiB": PARQUET[:-8] + struct.pack("<I", 2**31 - 1) + b"PAR1",
        "an empty footer": PARQUET[:-8] + struct.pack("<I", 0) + b"PAR1",
        "two files": PARQUET * 2,
    }
    for name, content in made.items():
        yield of_file("parquet", name, "m.parquet", content)
    yield from damaged("parquet", "m.parquet", PARQUET, 20, 5)


def tar_bytes(*members: tuple[str, bytes], **facts: Any) -> bytes:
    """A tar; `facts` are set on the first member's TarInfo."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in facts.items():
                setattr(info, key, value)
            facts = {}
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def zip_bytes(*members: tuple[str, bytes], **facts: Any) -> bytes:
    """A ZIP; `facts` are set on every member's ZipInfo."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members:
            info = zipfile.ZipInfo("x")
            info.filename, info.compress_type = name, zipfile.ZIP_DEFLATED
            for key, value in facts.items():
                setattr(info, key, value)
            archive.writestr(info, content)
    return file.getvalue()


ZIP = zip_bytes(*((f"{n}.jpg", jpeg(n + 1.0)) for n in range(8)))
TAR = tar_bytes(*((f"{n}.jpg", jpeg(n + 1.0)) for n in range(8)))


def tar_that_declares(size: int) -> bytes:
    """A tar whose one member is said to have that size."""
    info = tarfile.TarInfo("a.jpg")
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)


def overlapping() -> bytes:
    """A ZIP of 500 members that are all the same 20 MB of zeros."""
    whole = zip_bytes(("a.jpg", bytes(20_000_000)))
    start, end = whole.rindex(b"PK\x01\x02"), whole.rindex(b"PK\x05\x06")
    entries = whole[start:end] * 500
    return whole[:start] + entries + b"PK\x05\x06\0\0\0\0" + struct.pack("<HHIIH", 500, 500, len(entries), start, 0)


def archives() -> Iterator[Hostile]:
    for packed, make in (("a.zip", zip_bytes), ("a.tar", tar_bytes)):
        for name in (spelled(parts).decode("latin-1") for parts in WRITTEN["archive names"]):

            def content(arena: Path, make: Callable = make, name: str = name) -> bytes:
                return make((name.replace("{arena}", str(arena)), PHOTO), ("good.jpg", PHOTO))

            yield of_arena("archive", f"{packed} {name[:30]!r}", packed, content)
    links = {"link": tarfile.SYMTYPE, "hard link": tarfile.LNKTYPE, "device": tarfile.CHRTYPE, "pipe": tarfile.FIFOTYPE}
    for name, kind in {
        **links,
        "folder": tarfile.DIRTYPE,
        "sparse file": tarfile.GNUTYPE_SPARSE,
        "riddle": b"Z",
    }.items():
        members = [("d.jpg", b""), ("d.jpg/x.jpg", PHOTO), ("good.jpg", PHOTO)]
        content = tar_bytes(*members, type=kind, linkname="../../canary")
        yield of_file("archive", f"a {name} and a file below it", "a.tar", content)
    for number, sidecar in enumerate(map(spelled, WRITTEN["sidecars"])):
        yield of_file("archive", f"sidecar {number}", "a.tar", tar_bytes(("0/a.jpg", PHOTO), ("0/a.json", sidecar)))
    both = [("a.jpg", PHOTO), ("a.jpg/b.jpg", PHOTO), ("A.jpg", PHOTO), ("a.jpg", PHOTO)]
    zeros = [(f"{n}.jpg", bytes(40_000_000)) for n in range(3)]
    made: dict[str, tuple[str, Content]] = {
        "a file and a file below it": ("a.zip", zip_bytes(*both)),
        "a file and a file below it, in tar": ("a.tar", tar_bytes(*both)),
        "an empty zip": ("a.zip", zip_bytes()),
        "an empty tar": ("a.tar", tar_bytes()),
        "zip in zip in zip": ("a.zip", zip_bytes(("b.zip", zip_bytes(("c.zip", ZIP))))),
        "a zip bomb": ("a.zip", lambda: zip_bytes(*zeros * 12)),
        "overlapping members": ("a.zip", overlapping),
        "a zip that lies about sizes": ("a.zip", ZIP.replace(struct.pack("<I", len(jpeg(1.0))), struct.pack("<I", 5))),
        "encrypted": ("a.zip", ZIP.replace(b"PK\x03\x04\x14\0\0\0", b"PK\x03\x04\x14\0\1\0")),
        "links in a zip": ("a.zip", zip_bytes(("d.jpg", b"../../canary"), external_attr=0o120777 << 16)),
        "10 GB of zeros in tar.gz": ("a.tar.gz", lambda: gzip.compress(TAR) + gzip.compress(bytes(50_000_000)) * 200),
        "zeros in tar.bz2": ("a.tar.bz2", lambda: bz2.compress(tar_bytes(*zeros))),
        "zeros in tar.xz": ("a.tar.xz", lambda: lzma.compress(tar_bytes(*zeros))),
        "a member of a terabyte": ("a.tar", tar_that_declares(1 << 40)),
        "a member of a negative size": ("a.tar", tar_that_declares(-5)),
        "100,000 members": ("a.tar", tar_bytes(("a.txt", b""))[:512] * 100_000 + bytes(1024)),
        "pax headers of 30 MB": (
            "a.tar",
            lambda: tar_bytes(("a.jpg", PHOTO), pax_headers={"comment": "x" * 30_000_000}),
        ),
        "text called tar.gz": ("a.tar.gz", gzip.compress(b"hello " * 500_000)),
        "3 MB of noise as tar.gz": ("a.tar.gz", lambda: gzip.compress(random.Random(1).randbytes(3_000_000))),
        "a program before a zip": ("a.zip", b"MZ" + bytes(1000) + ZIP),
        "tar and zip at once": ("a.zip", TAR + ZIP),
        "a comment of 64 kB": ("a.zip", ZIP[:-2] + struct.pack("<H", 65_535) + bytes(65_535)),
        "an end of another kind": ("a.zip", ZIP.replace(b"PK\x05\x06", b"PK\x06\x06", 1)),
        "1,000 files of one sample": ("a.tar", tar_bytes(*((f"0/a.{n}", b"x") for n in range(1000)))),
    }
    for name, (file, content) in made.items():
        yield of_file("archive", name, file, content)
    for file, good in (("a.zip", ZIP), ("a.tar", TAR), ("a.tar.gz", gzip.compress(TAR))):
        yield from damaged("archive", file, good, 12, 4)


def encoded(kind: str, image: Image.Image | None = None, **settings: Any) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    (image or Image.fromarray(noise)).save(file, kind, **settings)
    return file.getvalue()


def png(*chunks: tuple[bytes, bytes], side: int = 8) -> bytes:
    """A PNG with these chunks between its first and its last."""
    every = [(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)), *chunks, (b"IEND", b"")]
    parts = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in every
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def animated(kind: str, frames: int) -> bytes:
    drawn = [Image.new("RGB", (50, 50), (n % 255, 0, 0)) for n in range(frames)]
    return encoded(kind, drawn[0], save_all=True, append_images=drawn[1:])


def bmp(width: int, height: int) -> bytes:
    facts = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 1000, 0, 0, 54) + facts + bytes(900)


def pictures() -> Iterator[Hostile]:
    good = {kind: encoded(kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP")}
    for kind, content in good.items():
        yield from damaged("picture", f"a.{kind.lower()}", content, 7, 3)
    jpg, zeros = good["JPEG"], zlib.compress(bytes(100_000_000))
    sides = jpg.index(b"\xff\xc0") + 5
    made: dict[str, Content] = {
        "PNG of 60,000 x 60,000": png_of(60_000, 60_000),
        "PNG of 2^31 x 1": png_of(2**31 - 1, 1),
        "PNG of 0 x 0": png_of(0, 0),
        "PNG of 81 megapixels": lambda: png((b"IDAT", zlib.compress(bytes(9000 * 27_001))), side=9000),
        "iTXt bomb": png((b"iTXt", b"a\0\1\0\0\0" + zeros)),
        "zTXt bomb": png((b"zTXt", b"a\0\0" + zeros)),
        "iCCP bomb": png((b"iCCP", b"a\0\0" + zeros)),
        "20,000 texts": png(*[(b"tEXt", b"a\0b")] * 20_000),
        "a chunk of 2 GiB": png()[:33] + struct.pack(">I", 2**31 - 1) + b"IDAT",
        "PNG without pixels": png(),
        "JPEG of 65,535 x 65,535": jpg[:sides] + b"\xff" * 4 + jpg[sides + 4 :],
        "JPEG of 0 x 0": jpg[:sides] + bytes(4) + jpg[sides + 4 :],
        "progressive": encoded("JPEG", progressive=True),
        "1,000 comments": jpg[:2] + (b"\xff\xfe\x00\x10" + bytes(14)) * 1000 + jpg[2:],
        "JPEG then ZIP": jpg + ZIP,
        "an ICC profile that is none": encoded("JPEG", icc_profile=b"x" * 60_000),
        "GIF of 500 frames": lambda: animated("GIF", 500),
        "WebP of 300 frames": lambda: animated("WEBP", 300),
        "TIFF of 500 pages": lambda: animated("TIFF", 500),
        "BMP of 2^31 x 1": bmp(2**31 - 1, 1),
        "BMP upside down": bmp(10, -(2**31)),
        "BMP whose pixels lie elsewhere": good["BMP"][:10] + struct.pack("<I", 2**31) + good["BMP"][14:],
        **{
            f"TIFF of {mode}": encoded("TIFF", Image.new(mode, (8, 8)))
            for mode in ("F", "I", "I;16", "CMYK", "LAB", "1")
        },
    }
    written = {name: partial(spelled, text) for name, text in WRITTEN["picture"].items()}
    for name, content in {**made, **written}.items():
        yield of_file("picture", name, "a.jpg", content)
    yield from odd_files("picture", "a.jpg")

    def terabyte(arena: Path) -> Path:
        with (arena / "in" / "a.jpg").open("wb") as file:
            file.truncate(1 << 40)
        return arena / "in" / "a.jpg"

    yield Hostile("picture", "a terabyte of nothing", terabyte)


def exif_photos() -> Iterator[Hostile]:
    plain = jpeg()

    def photo(block: bytes) -> bytes:
        return plain[:2] + b"\xff\xe1" + struct.pack(">H", min(65_535, len(block) + 2)) + block + plain[2:]

    def gps(entries: list[tuple[int, int, int, bytes]], numbers: list[int], following: int = 0) -> bytes:
        """A TIFF of one GPS directory; an entry is (tag, type, count, four bytes of value or offset)."""
        directory = b"".join(struct.pack("<HHI", *entry[:3]) + entry[3] for entry in entries)
        first = struct.pack("<HHHIII", 1, 0x8825, 4, 1, 26, following)
        return (
            b"Exif\0\0II*\0\x08\0\0\0"
            + first
            + struct.pack("<H", len(entries))
            + directory
            + struct.pack("<7I", 0, *numbers)
        )

    at, numbers = struct.pack("<I", 80), [52, 1, 30, 1, 36, 1]
    good = [(1, 2, 2, b"N\0\0\0"), (2, 5, 3, at), (3, 2, 2, b"E\0\0\0"), (4, 5, 3, at)]
    for tag, kind, count in itertools.product((1, 2, 3, 4), (0, 1, 2, 7, 12, 99), (0, 3)):
        entries = [(tag, kind, count, entry[3]) if entry[0] == tag else entry for entry in good]
        yield of_file("exif", f"tag {tag} of type {kind}, {count} times", "a.jpg", photo(gps(entries, numbers)))
    made = {
        "good": gps(good, numbers),
        "a count of 4 billion": gps([(2, 5, 2**32 - 1, at)], numbers),
        "an offset far outside": gps([(2, 5, 3, struct.pack("<I", 2**31))], numbers),
        "a directory that follows itself": gps(good, numbers, following=8),
        "divided by zero": gps(good, [52, 0, 30, 0, 36, 0]),
        "the largest numbers": gps(good, [2**32 - 1] * 6),
        "a hemisphere of bytes": gps([(1, 2, 4, b"\xff\xfe\x00\x1b"), *good[1:]], numbers),
    }
    for name, block in {**made, **{name: spelled(parts) for name, parts in WRITTEN["exif blocks"].items()}}.items():
        yield of_file("exif", name, "a.jpg", photo(block))
    yield from damaged("exif", "a.jpg", jpeg((52.0, 30.0, 36.0)), 14, 4)


def in_copy(kind: str, name: str, folder: Path, file: str, content: bytes | None) -> Hostile:
    """A copy of a folder with another content of one file, or without it."""

    def lay(arena: Path) -> Path:
        copied = Path(shutil.copytree(folder, arena / "in" / folder.name))
        (copied / file).unlink(missing_ok=True)
        if content is not None:
            (copied / file).write_bytes(content.replace(b"{arena}", str(arena).encode()))
        return copied

    return Hostile(kind, name, lay)


class Shout:
    """A pickle of it runs a command of its own."""

    def __reduce__(self) -> tuple:
        """Pickled as a call of the shell."""
        return os.system, ("touch ../canary/owned",)


def checkpoints(project: Path) -> Iterator[Hostile]:
    folder = project / "home" / "checkpoints" / "tiny-vit"
    spoilt = partial(in_copy, "checkpoint", folder=folder)
    weights = (folder / "model.safetensors").read_bytes()
    size = struct.unpack("<Q", weights[:8])[0]
    header, body = json.loads(weights[8 : 8 + size]), weights[8 + size :]
    first = next(name for name in header if name != "__metadata__")
    offsets = header[first]["data_offsets"]
    moved = {name: {**facts, "data_offsets": offsets} for name, facts in header.items() if name != "__metadata__"}

    def safetensors(head: Any, data: bytes = body) -> bytes:
        text = head if isinstance(head, bytes) else json.dumps(head).encode()
        return struct.pack("<Q", len(text)) + text + data

    def with_tensor(**facts: Any) -> bytes:
        return safetensors({**header, first: {**header[first], **facts}})

    made = {
        "a header of 2^63": struct.pack("<Q", 2**63 - 1) + weights[8:],
        "a header of 100 MB": struct.pack("<Q", 100_000_000) + weights[8:],
        "a nested header": safetensors(b"[" * 100_000),
        "a header that is no JSON": safetensors(b"{" * 100),
        "an empty header": safetensors({}),
        "a negative shape": with_tensor(shape=[-1, 5]),
        "a shape of 2^62": with_tensor(shape=[2**31, 2**31]),
        "an unknown type": with_tensor(dtype="F7"),
        "another type": with_tensor(dtype="I8"),
        "offsets far outside": with_tensor(data_offsets=[0, 2**40]),
        "offsets backwards": with_tensor(data_offsets=[100, 0]),
        "overlapping tensors": safetensors(moved),
        "no data": safetensors(header, b""),
        "more data": weights + bytes(100),
        "a pickle called safetensors": pickle.dumps(Shout()),
        "a tensor is missing": safetensors({name: facts for name, facts in header.items() if name != first}),
        "a tensor too many": safetensors({**header, "extra": header[first]}),
        "weights that are no numbers": weights[: 8 + size] + b"\xff" * len(body),
    }
    for name, content in made.items():
        yield spoilt(name, file="model.safetensors", content=content)
    for file, texts in WRITTEN["checkpoint"].items():
        for name, text in texts.items():
            yield spoilt(f"{file}: {name}", file=file, content=spelled(text))
    for file, most in (("config.json", 24), ("preprocessor_config.json", 14)):
        for name, value in mutants(json.loads((folder / file).read_text()), most):
            yield spoilt(f"{file}: {name}", file=file, content=json.dumps(value).encode())
    own_code = {**json.loads((folder / "config.json").read_text()), "auto_map": {"AutoModel": "modeling_vit.Net"}}
    yield spoilt("code of its own", file="config.json", content=json.dumps(own_code).encode())
    beside = spoilt("a pickle beside the weights", file="pytorch_model.bin", content=pickle.dumps(Shout()))

    def only_a_pickle(arena: Path) -> Path:
        copied = beside.lay(arena)
        (copied / "model.safetensors").unlink()
        return copied

    yield beside
    yield Hostile("checkpoint", "a pickle and no weights", only_a_pickle)
    yield from odd_files("checkpoint", "weights")


def packed_models(project: Path) -> Iterator[Hostile]:
    folder = project / "home" / "model"
    spoilt = partial(in_copy, "packed model", folder=folder)
    model = json.loads((folder / "model.json").read_text())
    for file, most in (("model.json", 60), ("head/head.json", 50)):
        for name, value in mutants(json.loads((folder / file).read_text()), most):
            yield spoilt(f"{file}: {name}", file=file, content=json.dumps(value).encode())
        for name, text in WRITTEN["json"].items():
            yield spoilt(f"{file}: {name}", file=file, content=spelled(text))
    for escape, field in itertools.product(ESCAPES, ("kept_as", "name", "weights")):
        value = f"path:{escape}" if field == "weights" else escape
        specifications = {name: {**spec, field: value} for name, spec in model["specifications"].items()}
        content = json.dumps({**model, "specifications": specifications}).encode()
        yield spoilt(f"{field} {escape!r}", file="model.json", content=content)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        file = str(path.relative_to(folder))
        yield spoilt(f"without {file}", file=file, content=None)
        yield spoilt(f"rubbish in {file}", file=file, content=bytes(range(256)) * 20)
    yield from odd_files("packed model", "model")


RECEIPT = {
    "asset": "images", "partition": "gone", "code_version": "1", "data_version": "v", "run_id": "r", "refused": {},
    "made_from": {"deliveries[gone]": "v"}, "files": {"images/gone.parquet": [4, 1, "0" * 64]}, "watched": {},
    "rows": {"labeled_photos": 3},
}  # fmt: skip


def of_receipt(name: str, content: bytes) -> Hostile:
    """A receipt of a home that has its one file."""

    def lay(arena: Path) -> Path:
        path = arena / "home" / "receipts" / "images" / "gone.json"
        for folder in (path.parent, arena / "home" / "images"):
            folder.mkdir(parents=True)
        (arena / "home" / "images" / "gone.parquet").write_bytes(b"data")
        path.write_bytes(content.replace(b"{arena}", str(arena).encode()))
        return path

    return Hostile("receipt", name, lay)


def receipts() -> Iterator[Hostile]:
    changes: list[tuple[str, dict]] = []
    for file in (spelled(parts).decode("latin-1") for parts in WRITTEN["receipt files"]):
        changes += [(f"{field} {file[:20]!r}", {field: {file: [4, 1, "0" * 64]}}) for field in ("files", "watched")]
    for name in WRITTEN["receipt names"]:
        changes += [(f"{field} {name!r}", {field: name}) for field in ("asset", "partition")]
    changes += [
        (f"rows {table!r}", {"rows": {table: -1}}) for table in ('x" ; DROP TABLE t; --', "../canary", "", "photos")
    ]
    for name, value in [*((name, {**RECEIPT, **change}) for name, change in changes), *mutants(RECEIPT, 30)]:
        yield of_receipt(name, json.dumps(value).encode())
    for name, text in WRITTEN["json"].items():
        yield of_receipt(name, spelled(text))


def answers() -> Iterator[Hostile]:
    def body(content: bytes, header: bytes = b"X: y") -> bytes:
        return OK + header + b"\r\nContent-Length: %d\r\n\r\n" % len(content) + content

    texts: dict[str, Content] = {name: partial(spelled, text) for name, text in WRITTEN["answer"].items()}
    for place in map(spelled, WRITTEN["redirects"]):
        texts[f"redirect to {place[:30]!r}"] = (
            b"HTTP/1.1 302 x\r\nLocation: " + place + b"\r\nContent-Length: 0\r\n\r\n"
        )
    texts |= {
        "noise": random.Random(2).randbytes(5000),
        "gzip": body(gzip.compress(PHOTO), b"Content-Encoding: gzip"),
        "a gzip bomb": lambda: body(gzip.compress(bytes(100_000_000)), b"Content-Encoding: gzip"),
        "a pixel bomb": body(png_of(60_000, 60_000)),
    }
    for name, text in texts.items():
        yield of_file("answer of a server", name, "answer", text)
    for name, text in WRITTEN["answers without end"].items():
        yield of_file("answer of a server", f"{name} without end", "answer.endless", spelled(text))


SQUARE = [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]


def geojson(coordinates: Any = SQUARE, kind: str = "Polygon", **properties: Any) -> bytes:
    facts = {"land": "AAA", "code": "a1", **properties}
    feature = {"type": "Feature", "properties": facts, "geometry": {"type": kind, "coordinates": coordinates}}
    return json.dumps({"type": "FeatureCollection", "features": [feature]}).encode()


def boundary_files() -> Iterator[Hostile]:
    columns = {"country_id": "land", "subdivision_id": "code"}
    good = {
        "name": "mine",
        "layout": "columns",
        "subdivisions": "mine.geojson",
        "columns": columns,
        "assign": {"AAA": "BBB"},
    }

    def with_spec(name: str, content: bytes, spec: Any = None, file: str = "mine.geojson") -> Hostile:
        def lay(arena: Path) -> Path:
            (arena / "in" / file).write_bytes(content)
            path = arena / "in" / "mine.yaml"
            path.write_bytes(text_in(arena, {**good, "subdivisions": file, "assign": {}} if spec is None else spec))
            return path

        return Hostile("boundaries", name, lay)

    holes = [[[0.1, 0.1], [0.2, 0.1], [0.2, 0.2], [0.1, 0.1]]] * 3000
    zigzag = [[[x / 3e5, (x % 2) / 1e3] for x in range(300_000)] + [[0, 0]]]
    made = {f"coordinates {name}": geojson(places) for name, places in WRITTEN["geojson coordinates"].items()}
    made |= {f"id {str(value)[:20]!r}": geojson(land=value) for value in WRITTEN["geojson ids"]}
    made |= {
        "points": geojson([0, 0], "Point"),
        "a line": geojson([[0, 0], [1, 1]], "LineString"),
        "a riddle": geojson(kind="Blob"),
    }
    made |= {
        "300,000 points": geojson(zigzag),
        "3,000 holes": geojson(SQUARE + holes),
        "a long id": geojson(land="x" * 100_000),
    }
    for name, content in made.items():
        yield with_spec(f"GeoJSON: {name}", content)
    for name, (file, *parts) in WRITTEN["boundaries"].items():
        yield with_spec(name, spelled(parts), file=file)
    for place in WRITTEN["boundary places"]:
        yield with_spec(f"a file called {place[:24]!r}", b"{}", {**good, "subdivisions": place})
    for name, value in mutants(good, 24):
        yield with_spec(f"specification: {name}", geojson(), value)
    yield of_file("boundaries", "alias bomb", "mine.yaml", bomb("[x]"))
    yield of_file("boundaries", "nested YAML", "mine.yaml", b"[" * 20_000)
    yield from damaged("boundaries", "mine.parquet", EMBEDDED_FILE.read_bytes(), 5, 3)
    yield from odd_files("boundaries", "mine.parquet")


def corpus(kinds: list[str], project: Path) -> list[Hostile]:
    """Every input of these kinds, the same each time; `project` holds a refreshed TINY, whose model and weights are spoilt."""
    makers: dict[str, Callable[[], Iterator[Hostile]]] = {
        "profile": profiles,
        "table": tables,
        "parquet": parquet_tables,
        "archive": archives,
        "picture": pictures,
        "exif": exif_photos,
        "receipt": receipts,
        "answer of a server": answers,
        "boundaries": boundary_files,
        "checkpoint": partial(checkpoints, project),
        "packed model": partial(packed_models, project),
    }
    made = []
    for kind in kinds:
        RNG.seed(12)
        made += makers[kind]()
    return made

"""Pictures from outside: how they are opened, and what is known of each.

`load_image` is the one way in which this project opens a picture (and `load_pixels` the same with a faster decoder of
JPEGs): the bytes are bounded before reading, the pixels that the header declares before decoding, the formats are a short
list (`formats.py`), and a picture that ends early or does not decode is refused with a reason.

Every picture becomes 8-bit RGB, as its photographer saw it upright: EXIF orientation is applied, and a damaged EXIF
block means upright. Transparent pixels are laid over white, the colour of the page on which such pictures are usually
seen; 16-bit greys are scaled (v / 257, rounded), not clipped; all else is converted by Pillow. Colour profiles are not
applied, as the backbones were trained without. Of an animation or a multi-page file the first frame is taken.
"""

import errno
import hashlib
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from PIL import ExifTags, Image

from geoloc_core.photos.file_names import is_safe_path
from geoloc_core.photos.formats import RefusedImage as RefusedImage
from geoloc_core.photos.formats import open_header, refuse_raw
from geoloc_core.photos.perceptual import perceptual_hash
from geoloc_core.photos.schemas import ImageManifest
from geoloc_core.photos.settings import ImageLimits
from geoloc_core.progress import bar
from geoloc_core.storage import write_bytes
from geoloc_core.tables import empty, validate

Picture = TypeVar("Picture")
MAX_SCANNED_PIXELS = 2_000_000_000  # some five seconds
_TURNS = ["FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"]
_UPRIGHT = {orientation: Image.Transpose[turn] for orientation, turn in enumerate(_TURNS, start=2)}
_TURNED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}
"""The same of (H, W, 3), by EXIF's orientation."""


def load_image(source: Path | bytes, limits: ImageLimits | None = None, smallest_side: int = 0) -> Image.Image:
    """The picture as 8-bit RGB, upright. Raises `RefusedImage` (an `InputError`) with a reason code.

    smallest_side: pixels that the short side must have; a JPEG is then decoded at the smallest of 1/1, 1/2, 1/4, 1/8 that
    is large enough, which saves most of the time of a large photo and changes its pixels a little. 0: every pixel.
    """

    def read(image: Image.Image, name: str) -> Image.Image:
        if smallest_side > 0 and image.format == "JPEG" and image.mode in {"RGB", "L"}:
            scale = smallest_side / min(image.size)
            image.draft(None, (math.ceil(image.width * scale), math.ceil(image.height * scale)))
        image.load()
        return _to_rgb(_upright(image), name)

    return _bounded(source, limits, read)


def load_pixels(
    content: bytes, limits: ImageLimits | None, decode_jpeg: Callable[[bytes], np.ndarray | None]
) -> np.ndarray | Image.Image:
    """As `load_image`, with another decoder for JPEGs in RGB or grey: uint8 (H, W, 3), upright.

    What `decode_jpeg` gives None for, Pillow reads, or refuses with the reason.
    """

    def read(image: Image.Image, name: str) -> np.ndarray | Image.Image:
        if image.format in {"JPEG", "MPO"} and image.mode in {"RGB", "L"}:
            pixels = decode_jpeg(content)
            if pixels is not None and pixels.shape == (image.height, image.width, 3):
                return np.ascontiguousarray(_TURNED.get(_orientation(image), np.asarray)(pixels))
        image.load()
        return _to_rgb(_upright(image), name)

    return _bounded(content, limits, read)


def _bounded(source: Path | bytes, limits: ImageLimits | None, read: Callable[[Image.Image, str], Picture]) -> Picture:
    """What `read` makes of a picture within the limits; whatever goes wrong is a `RefusedImage`."""
    limits = limits or ImageLimits()
    name = _name(source)
    content = read_image_bytes(source, limits)
    try:
        with open_header(content, name) as image:
            pixels = image.width * image.height
            if pixels > limits.max_pixels:
                sentence = f"{name} has {pixels} pixels, more than the limit of {limits.max_pixels}"
                raise RefusedImage("too_many_pixels", sentence)
            # A progressive JPEG may go over its pixels thousands of times; a photo's does so about ten times.
            scans = content.count(b"\xff\xda") if image.info.get("progressive") else 1
            if scans * pixels > MAX_SCANNED_PIXELS:
                raise RefusedImage("too_many_pixels", f"{name} has {pixels} pixels in {scans} scans", f"{scans} scans")
            return read(image, name)
    except RefusedImage:
        raise
    except Image.DecompressionBombError as error:
        raise RefusedImage("too_many_pixels", f"{name} declares far more pixels than a photo has") from error
    except Exception as error:  # on hostile bytes a decoder may raise anything
        reason = "truncated_image" if _says_truncated(error) else "undecodable_image"
        what = "ends before its last pixel" if reason == "truncated_image" else "is damaged and cannot be decoded"
        raise RefusedImage(reason, f"{name} {what} ({one_line(error)})", one_line(error)) from error


def read_image_bytes(source: Path | bytes, limits: ImageLimits) -> bytes:
    """The bytes of a picture, at most `limits.max_bytes`. Raises `RefusedImage`."""
    name = _name(source)
    if isinstance(source, bytes):
        content = source
    else:
        try:
            if not source.is_file():  # a pipe or a device could block a reader for ever
                raise RefusedImage("missing_file", f"there is no file {name}")
            with source.open("rb") as file:
                content = file.read(limits.max_bytes + 1)
        except OSError as error:
            raise RefusedImage("unreadable_file", f"{name} cannot be read: {error.strerror}", str(error)) from error
    if not content:
        raise RefusedImage("empty_file", f"{name} is empty")
    if len(content) > limits.max_bytes:
        raise RefusedImage("too_many_bytes", f"{name} is larger than the limit of {limits.max_bytes} bytes")
    refuse_raw(content, name)
    return content


def build_manifest(
    photos: pd.DataFrame, folder: Path, limits: ImageLimits | None = None, workers: int | None = None
) -> pd.DataFrame:
    """`ImageManifest` of `photos` (`RawPhotos`), one row each in the same order, from the files below `folder`.

    Every picture is decoded once, so that "ok" means that a backbone can read it; width and height are upright. `workers`
    threads (default: one for each processor, at most 8) decode one picture at a time each, at three bytes a pixel.
    """
    limits = limits or ImageLimits()
    pairs = zip(photos["photo_id"], photos["image_path"], strict=True)
    workers = workers or min(8, os.cpu_count() or 1)
    rows: list[dict[str, Any]] = []
    with ThreadPoolExecutor(workers) as pool, bar("images", total=len(photos), unit="photo") as progress:
        while batch := list(islice(pairs, 64 * workers)):
            rows.extend(pool.map(lambda pair: _describe(pair[0], pair[1], folder, limits), batch))
            progress.update(len(batch))
    return validate(ImageManifest, pd.DataFrame(rows) if rows else empty(ImageManifest), "the image manifest")


def _describe(photo_id: str, image_path: str, folder: Path, limits: ImageLimits) -> dict[str, Any]:
    """One row of `ImageManifest`."""
    row: dict[str, Any] = {"photo_id": photo_id, "image_path": image_path, "status": "ok", "detail": ""}
    row |= {"bytes": 0, "width": 0, "height": 0, "sha256": "", "phash": ""}
    try:
        if not image_path:
            raise RefusedImage("no_image", f"photo {photo_id} names no image file")
        content = read_image_bytes(resolve_inside(folder, image_path), limits)
        row |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        image = load_image(content, limits)
        row |= {"width": image.width, "height": image.height, "phash": perceptual_hash(image)}
    except RefusedImage as refusal:
        row |= {"status": refusal.reason, "detail": refusal.detail}
    return row


def resolve_inside(root: Path, relative: str) -> Path:
    """`root / relative`, refused where it leads out of `root`, by its text or by a symbolic link."""
    refusal = RefusedImage("unsafe_path", f"the image path {relative!r} leads out of its folder")
    if not is_safe_path(relative):
        raise refusal
    path = root / relative
    try:
        if not path.resolve().is_relative_to(root.resolve()):
            raise refusal
    except (OSError, RuntimeError) as error:
        raise RefusedImage("unreadable_file", f"{path} cannot be read: {error}", one_line(error)) from error
    return path


def write_inside(root: Path, relative: str, content: bytes) -> None:
    """Write a picture to `root / relative`, atomically; `RefusedImage` where that cannot be a file inside `root`."""
    path = resolve_inside(root, relative)
    try:
        write_bytes(path, content)
    except OSError as error:
        # A folder has the name already, or a file that of one of its folders.
        if error.errno not in (errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG):
            raise
        raise RefusedImage("unsafe_path", f"{path} cannot be a file: {error.strerror}", one_line(error)) from error


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001 - the pixels are good; a damaged EXIF block says nothing of which way is up
        return 1
    return orientation if isinstance(orientation, int) else 1


def _upright(image: Image.Image) -> Image.Image:
    method = _UPRIGHT.get(_orientation(image))
    return image if method is None else image.transpose(method)


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image.copy()  # without the open file behind it
    if image.mode.startswith("I;16"):
        grey = np.asarray(image, dtype=np.uint32)
        return Image.fromarray(((grey + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F", "LAB"):
        sentence = f"{name} has pixels of type {image.mode}, which no camera's photo has"
        raise RefusedImage("unsupported_pixels", sentence, image.mode)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        page = Image.new("RGB", rgba.size, "white")
        page.paste(rgba, mask=rgba.getchannel("A"))
        return page
    return image.convert("RGB")


def _says_truncated(error: Exception) -> bool:
    words = ("truncated", "broken data stream", "unexpected end", "incomplete")
    return isinstance(error, EOFError) or any(word in str(error).lower() for word in words)


def one_line(error: BaseException) -> str:
    """An error's kind and words, at most 200 characters."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _name(source: Path | bytes) -> str:
    return "the picture" if isinstance(source, bytes) else str(source)

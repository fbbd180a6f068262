"""Which formats of pictures are opened, and what is said of the others: HEIC without its extra, a camera's RAW."""

from __future__ import annotations

import io

from PIL import Image

from geoloc_core.errors import InputError
from geoloc_core.photos.file_names import is_raw

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP")  # Pillow opens a camera's multi-picture JPEG (MPO) as JPEG
AVIF_BRANDS = frozenset({b"avif", b"avis"})
HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
"""Brands in the `ftyp` box of ISO/IEC 23008-12 and of the AV1 image format; the latter also carry the general "mif1"."""

RAW_STARTS = (b"FUJIFILMCCD-RAW", b"IIU\0", b"IIRO", b"IIRS", b"MMOR", b"FOVb", b"\0MRM", b"II\x1a\0\0\0HEAPCCDR")
"""How RAW files begin that are no TIFF: Fujifilm, Panasonic, Olympus, Sigma, Minolta, Canon's CRW."""
NEW_SUBFILE_TYPE, SUB_IFDS, DNG_VERSION = 254, 330, 50706  # TIFF tags


class RefusedImage(InputError):
    """A picture that cannot be used; `reason` is one of `reasons.IMAGE_REASONS`, `detail` says more, or ""."""

    def __init__(self, reason: str, sentence: str, detail: str = "") -> None:
        super().__init__(sentence)
        self.reason = reason
        self.detail = detail


def refuse_raw(content: bytes, name: str) -> None:
    """Raise `RefusedImage` for RAW that looks like a plain TIFF, which only its name tells."""
    if is_raw(name) and content[:4] in (b"II*\0", b"MM\0*"):
        raise _raw(name)


def open_header(content: bytes, name: str = "the picture") -> Image.Image:
    """A picture whose header has been read and whose pixels have not. Raises `RefusedImage` for what is no such format."""
    brands = _brands(content)
    if content.startswith(RAW_STARTS) or content[8:10] == b"CR" or b"crx " in brands:
        raise _raw(name)
    formats: tuple[str, ...] = FORMATS
    if brands & AVIF_BRANDS:
        formats = ("AVIF",)
    elif brands & HEIF_BRANDS:
        try:
            import pillow_heif
        except ImportError as error:
            sentence = (
                f"{name} is a HEIC picture, which needs an extra: pip install 'geoloc[heic]', or export it as JPEG"
            )
            raise RefusedImage("heic_without_extra", sentence) from error
        pillow_heif.register_heif_opener(thumbnails=False)
        formats = ("HEIF",)
    try:
        image = Image.open(io.BytesIO(content), formats=formats)
    except Image.UnidentifiedImageError as error:
        if is_raw(name):
            raise _raw(name) from error
        if formats != FORMATS:
            sentence = f"{name} is a damaged or shortened {formats[0]} picture and cannot be decoded"
            raise RefusedImage("undecodable_image", sentence) from error
        sentence = f"{name} is not a JPEG, PNG, WebP, AVIF, HEIC, GIF, TIFF or BMP picture"
        raise RefusedImage("not_an_image", sentence) from error
    if image.format == "TIFF":
        # RAW files that are TIFFs show a thumbnail first, and keep the sensor's data behind it.
        tags = image.tag_v2  # type: ignore[attr-defined]
        if DNG_VERSION in tags or (SUB_IFDS in tags and tags.get(NEW_SUBFILE_TYPE) == 1):
            raise _raw(name)
    return image


def _raw(name: str) -> RefusedImage:
    sentence = (
        f"{name} is a camera's RAW file, which is not a picture yet; export it as JPEG, HEIC or TIFF and give that"
    )
    return RefusedImage("raw_photo", sentence)


def _brands(content: bytes) -> frozenset[bytes]:
    """The brands of a file of ISO's base media format, the major one and the compatible ones; none of any other file."""
    if content[4:8] != b"ftyp":
        return frozenset()
    end = min(int.from_bytes(content[:4], "big"), 256)
    return frozenset(content[start : start + 4] for start in (8, *range(16, end, 4)))

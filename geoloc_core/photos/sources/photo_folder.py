"""A folder of photos that carry their own position in EXIF.

Every file below the folder is a row, in the order of its relative path; hidden files and folders are not. What is no
picture is rejected as such, so that accepted + rejected = files. The `photo_id` is the file's path relative to the
folder, with its suffix: `a.jpg` and `a.png` are two photos. EXIF names no author, so `author_id` is "".
"""

from collections.abc import Iterator
from pathlib import Path

from geoloc_core.errors import InputError
from geoloc_core.photos.exif import GpsFix, read_gps
from geoloc_core.photos.file_names import files_below, is_image, printable
from geoloc_core.photos.images import RefusedImage, resolve_inside
from geoloc_core.photos.sources.base import Facts, MetadataSource, Row, SourceBatch, sort_rows


def _read(path: Path, dataset: str, rows_per_batch: int) -> Iterator[SourceBatch]:
    if not path.is_dir():
        raise InputError(f"{path} is not a folder")
    rows = (_row(path, file, number) for number, file in enumerate(files_below(path), start=1))
    yield from sort_rows(rows, dataset, rows_per_batch)


def _row(folder: Path, file: str, number: int) -> Row:
    name = printable(file)
    if name != file:
        facts: Facts = {"reason": "undecodable_text"}
    elif not is_image(file):
        facts = {"reason": "not_a_photo"}
    else:
        try:
            facts = position_facts(read_gps(resolve_inside(folder, file)))
        except RefusedImage as refusal:
            facts = {"reason": refusal.reason}
    return number, {"photo_id": name, "image_path": name, **facts}, name


def position_facts(fix: GpsFix | str) -> Facts:
    """A position in degrees as a source gives it, or the reason why there is none."""
    if isinstance(fix, str):
        return {"reason": fix}
    return {"latitude": repr(fix.latitude), "longitude": repr(fix.longitude)}


PHOTO_FOLDER = MetadataSource(
    name="photo_folder",
    description="a folder of photos with GPS in EXIF",
    sniff=lambda path: path.is_dir() and any(map(is_image, files_below(path))),
    read=_read,
)

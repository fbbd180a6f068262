"""The metadata layouts that can be read, and which of them a file has."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from geoloc_core.errors import InputError, ProfileError
from geoloc_core.photos.settings import ImageLimits
from geoloc_core.photos.sources.base import ROWS_PER_BATCH, MetadataSource, SourceBatch
from geoloc_core.photos.sources.mapped_table import mapped_table
from geoloc_core.photos.sources.osv5m import OSV5M
from geoloc_core.photos.sources.photo_archive import photo_archive
from geoloc_core.photos.sources.photo_folder import photo_folder
from geoloc_core.photos.sources.places365 import PLACES365
from geoloc_core.photos.sources.yfcc100m import YFCC100M

_USUAL = ImageLimits()
_ALL = (photo_folder(_USUAL), PLACES365, OSV5M, YFCC100M, mapped_table(), photo_archive(_USUAL))
# Those that open pictures.
_OF_PICTURES = {"photo_folder": photo_folder, "photo_archive": photo_archive}

# Asked in this order; the first that recognises a file reads it.
SOURCES: Mapping[str, MetadataSource] = {source.name: source for source in _ALL}


def detect_source(path: Path) -> MetadataSource:
    """The layout of `path`, recognised by its content; `InputError` naming the layouts where it has none of them."""
    if not path.exists():
        raise InputError(f"{path} does not exist")
    for source in SOURCES.values():
        if source.sniff(path):
            return source
    readable = "; ".join(source.description for source in SOURCES.values())
    raise InputError(f"{path} has none of the layouts that can be read: {readable}")


def named_source(name: str) -> MetadataSource:
    """The source that a profile asks for by this word; a ProfileError lists those that there are."""
    if name not in SOURCES:
        raise ProfileError(f"there is no metadata source {name!r}; choose one of {', '.join(SOURCES)}, or auto")
    return SOURCES[name]


def read_metadata(
    path: Path,
    dataset: str,
    source: str | MetadataSource = "auto",
    rows_per_batch: int = ROWS_PER_BATCH,
    limits: ImageLimits = _USUAL,
) -> Iterator[SourceBatch]:
    """The photos of `path` and the rows that are none, in batches; see `base`.

    `source` is "auto", a name of `SOURCES`, or a source of one's own (`mapped_table(mapping)`). `limits` is
    for the pictures of a folder or an archive.
    """
    reader = detect_source(path) if source == "auto" else named_source(source) if isinstance(source, str) else source
    if not path.exists():
        raise InputError(f"{path} does not exist")
    reader = _OF_PICTURES[reader.name](limits) if reader.name in _OF_PICTURES else reader
    return reader.read(path, dataset, rows_per_batch)

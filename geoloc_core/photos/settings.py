"""What a profile can say of photos: which datasets there are, how they are split, which pictures are accepted and fetched.

Imports nothing heavy, so that reading a profile is quick.
"""

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo

# How the pictures of a dataset lie in their folder; `picture_paths` says where each puts a photo.
ImageLayout = Literal["as_given", "mp16", "by_name"]


class Settings(BaseModel):
    """A part of a profile: immutable; a key that is not known, or a value of another type, is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


# Bytes of a file's name that every common file system takes.
LONGEST_NAME = 255


def beside_profile(value: str, info: ValidationInfo) -> str:
    """A relative path as seen from the folder of the profile (`folder` in the context).

    An address stays as it is, and what waits for a value of the environment (a kind of sample that is not chosen yet).
    """
    folder = (info.context or {}).get("folder")
    if "\0" in value or any(len(os.fsencode(part)) > LONGEST_NAME for part in value.split("/")):
        raise ValueError(
            f"{value[:40]!r}... is no path: a name has at most {LONGEST_NAME} bytes, and no zero among them"
        )
    return str(Path(folder, value)) if folder and value and "://" not in value and "${" not in value else value


ProfilePath = Annotated[str, AfterValidator(beside_profile)]


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"{value!r} is no regular expression ({error})") from error
    return value


Pattern = Annotated[str, AfterValidator(_pattern)]


class RowChoice(Settings):
    """Which rows of a table are a dataset's own, so that several datasets can share one file.

    `where` and `licence` map a column to a regular expression that its whole value must match; a row that fails
    `licence` may not be used at all. `by` names a column whose equal values stay together (an author, a place): a keyed
    hash of the value decides whether the row belongs to the `share` that is held out, which is the dataset's with
    `held_out`, and another's without.
    """

    where: dict[str, Pattern] = {}
    licence: dict[str, Pattern] = {}
    by: str = ""
    share: float = Field(default=0.0, ge=0.0, lt=1.0)
    held_out: bool = False
    key: str = "held out"


class Dataset(Settings):
    """Metadata in a published format and the photos that it names; docs/photos.md explains each key.

    `metadata` may itself be a folder, a tar or a zip of photos with EXIF GPS, or a WebDataset. `images` is a folder, an
    archive, or a folder of nothing but archives; left out, it is `metadata` where that holds photos, and else a folder
    of the project's own. Rows go to `shards` shards in the order of the file; the last takes all that is left. Of a table with
    `columns`, `rows` may choose some, and `url` may make the address of a picture: `https://host/{name}?width=330`.
    """

    name: str
    metadata: ProfilePath
    images: ProfilePath = ""
    source: str = "auto"
    layout: ImageLayout = "as_given"
    fetch: bool = False
    columns: dict[str, str] = {}
    rows: RowChoice = RowChoice()
    url: str = ""
    shards: int = Field(default=1, ge=1, le=10_000)
    rows_per_shard: int = Field(default=100_000, ge=1)

    def shard_names(self) -> tuple[str, ...]:
        """`mp16` in one shard, or `mp16-00`, `mp16-01`, ..."""
        width = max(2, len(str(self.shards - 1)))
        many = tuple(f"{self.name}-{number:0{width}d}" for number in range(self.shards))
        return many if self.shards > 1 else (self.name,)


class Split(Settings):
    """How photos are divided: by author, by a keyed hash, so that more photos never move an author across."""

    key: str = "geoloc"
    validation_share: float = Field(default=0.2, gt=0.0, lt=1.0)
    max_phash_distance: int = Field(default=4, ge=0, le=63)
    min_support: int = Field(default=1, ge=1)


class ImageLimits(Settings):
    """How large a picture may be. The defaults admit any camera's photo of up to 89 megapixels.

    Pillow itself refuses pictures of more than 179 megapixels, whatever `max_pixels` says.
    """

    max_bytes: int = Field(default=64 * 1024 * 1024, ge=1)
    max_pixels: int = Field(default=89_478_485, ge=1)


def _network(value: str) -> str:
    try:
        ipaddress.ip_network(value)
    except ValueError as error:
        raise ValueError(f"{value!r} is no network, such as 10.0.0.0/8") from error
    return value


Seconds = Annotated[float, Field(ge=0.0)]
Timeout = Annotated[float, Field(gt=0.0)]


class FetchPolicy(Settings):
    """How politely pictures are fetched; times in seconds.

    `allowed_networks` are private networks that may be asked all the same. A host that asks for a longer pause than
    `longest_retry_after_s` is left to the next run.
    """

    per_host: int = Field(default=4, ge=1)
    concurrent: int = Field(default=64, ge=1)
    attempts: int = Field(default=5, ge=1)
    user_agent: str = "geoloc/0.1 (research; fetches each picture once)"
    # YAML gives a list where a tuple is meant.
    allowed_networks: Annotated[tuple[Annotated[str, AfterValidator(_network)], ...], Field(strict=False)] = ()
    first_pause_s: Seconds = 0.5
    longest_pause_s: Seconds = 60.0
    longest_retry_after_s: Seconds = 300.0
    connect_timeout_s: Timeout = 15.0
    stall_timeout_s: Timeout = 30.0
    total_timeout_s: Timeout = 180.0
    max_redirects: int = Field(default=5, ge=0)

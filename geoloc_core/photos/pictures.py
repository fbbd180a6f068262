"""Where the pictures of a shard are, how they come there, and what is known of each.

A dataset's pictures lie in a folder, in archives (unpacked once into the project's own folder), or on the web (fetched
into the folder by their URLs, each until it came or never will).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

import pandas as pd

from geoloc_core.errors import InputError
from geoloc_core.line.layout import Layout
from geoloc_core.line.profile import Dataset, Fetching, Profile
from geoloc_core.photos.archives import archives_in, unpack_images
from geoloc_core.photos.fetch.addresses import AddressRules
from geoloc_core.photos.fetch.download import FetchPolicy, explain_missing, fetch_images, mark_placeholders
from geoloc_core.photos.images import ImageLimits, build_manifest
from geoloc_core.photos.layouts import place_images
from geoloc_core.photos.rows import tally
from geoloc_core.photos.sources.photo_folder import photo_files
from geoloc_core.storage import one_at_a_time, read_json, write_json


@dataclass(frozen=True)
class GatheredPictures:
    """`ImageManifest` of a shard, and how its pictures came: members of archives by outcome, fetched photos by status.

    `may_come_later` counts the photos that a server failed to give for reasons that pass; making the manifest again
    asks for these alone.
    """

    manifest: pd.DataFrame
    unpacked: Mapping[str, int] = field(default_factory=dict)
    fetched: Mapping[str, int] = field(default_factory=dict)
    may_come_later: int = 0


def image_limits(profile: Profile) -> ImageLimits:
    """The most that a picture may ask of us."""
    return ImageLimits(max_bytes=profile.images.max_bytes, max_pixels=profile.images.max_pixels)


def image_root(profile: Profile, shard: str, layout: Layout) -> Path:
    """The folder that the `image_path` of a shard's manifest is relative to."""
    of = profile.dataset_of(shard)
    return layout.delivery(shard) / "images" if of is None else picture_folder(of[0], layout)


def picture_folder(dataset: Dataset, layout: Layout) -> Path:
    """The folder that a dataset's pictures lie in, or will once they are unpacked or fetched."""
    images, metadata = Path(dataset.images), Path(dataset.metadata)
    if not dataset.images:
        return metadata if metadata.is_dir() and not archives_in(metadata) else layout.pictures(dataset.name)
    return layout.pictures(dataset.name) if archives_in(images) else images


def picture_archives(dataset: Dataset) -> list[Path]:
    """The archives that hold a dataset's pictures, sorted by name."""
    return archives_in(Path(dataset.images or dataset.metadata))


def gather_pictures(profile: Profile, shard: str, layout: Layout, photos: pd.DataFrame) -> GatheredPictures:
    """Bring the pictures of `photos` (`RawPhotos` of the shard) to where they belong, and describe each of them."""
    limits, of = image_limits(profile), profile.dataset_of(shard)
    if of is None:
        return GatheredPictures(build_manifest(photos, image_root(profile, shard, layout), limits))
    dataset, folder = of[0], picture_folder(of[0], layout)
    archives = picture_archives(dataset)
    unpacked = unpack_once(archives, folder, limits)
    photos = place_images(photos, dataset.layout, folder)
    if len(archives) > 1 and dataset.layout != "by_name":
        photos = _in_folders_of_archives(photos, archives, folder)
    if not dataset.fetch:
        return GatheredPictures(mark_placeholders(build_manifest(photos, folder, limits), photos), unpacked)

    asked = photos[photos["image_url"] != ""].reset_index(drop=True)
    policy = fetch_policy(profile.fetching, limits)
    fetched = fetch_images(asked, folder, layout.fetched(dataset.name), policy)
    kept_at = photos["photo_id"].map(dict(zip(fetched["photo_id"], fetched["image_path"], strict=True)))
    photos = photos.assign(image_path=kept_at.fillna(photos["image_path"]).astype(object))
    manifest = explain_missing(build_manifest(photos, folder, limits), fetched)
    later = int(((fetched["status"] != "ok") & ~fetched["permanent"].astype(bool)).sum())
    return GatheredPictures(mark_placeholders(manifest, photos), unpacked, tally(fetched["status"]), later)


def fetch_policy(fetching: Fetching, limits: ImageLimits) -> FetchPolicy:
    """The profile's wishes as the fetcher knows them; a picture from the web has 32 MiB at most."""
    return FetchPolicy(
        per_host=fetching.per_host,
        concurrent=fetching.concurrent,
        attempts=fetching.attempts,
        user_agent=fetching.user_agent,
        limits=ImageLimits(min(limits.max_bytes, FetchPolicy().limits.max_bytes), limits.max_pixels),
        addresses=AddressRules(fetching.allowed_networks),
    )


def unpack_once(archives: list[Path], folder: Path, limits: ImageLimits) -> Mapping[str, int]:
    """Unpack each archive that is not unpacked yet, as it is now, below `folder`; members of all, by outcome.

    One archive fills `folder` itself; of several each has a folder of its whole name, as their members' names may meet.
    """
    outcomes: Counter[str] = Counter()
    if not archives:
        return {}
    records = folder / ".unpacked"
    with one_at_a_time(records / "lock"):
        for archive in archives:
            record = records / f"{archive.name}.json"
            status = archive.stat()
            state = {"bytes": status.st_size, "modified_ns": status.st_mtime_ns, **asdict(limits)}
            known = read_json(record) if record.is_file() else {}
            if known.get("state") != state:
                into = folder if len(archives) == 1 else folder / archive.name
                known = {"state": state, "outcomes": dict(unpack_images(archive, into, limits))}
                write_json(record, known)
            outcomes.update(known["outcomes"])
    return dict(sorted(outcomes.items()))


def _in_folders_of_archives(photos: pd.DataFrame, archives: list[Path], folder: Path) -> pd.DataFrame:
    """`photos` with the folder of the archive that has the picture put before its path.

    The metadata of the archives themselves names that folder already.
    """
    wanted = set(photos["image_path"])
    found: dict[str, str] = {}
    for archive in archives:
        own = archive.name
        for file in photo_files(folder / own):
            if f"{own}/{file}" in wanted or file not in wanted:
                continue
            if file in found:
                raise InputError(
                    f"two archives hold the picture {file}: {PurePosixPath(found[file]).parts[0]} and {own}; keep one of them"
                )
            found[file] = f"{own}/{file}"
    return photos.assign(image_path=[found.get(path, path) for path in photos["image_path"]])

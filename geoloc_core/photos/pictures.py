"""How a dataset's pictures come to where they belong: from a folder, from archives (unpacked once), or from the web."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pandas as pd

from geoloc_core.errors import InputError
from geoloc_core.photos.archives import archives_in, unpack_images
from geoloc_core.photos.fetch.download import fetch_images
from geoloc_core.photos.file_names import files_below
from geoloc_core.photos.images import ImageLimits, build_manifest
from geoloc_core.photos.picture_paths import place_images
from geoloc_core.photos.rows import tally
from geoloc_core.photos.settings import Dataset, FetchPolicy
from geoloc_core.storage import one_at_a_time, read_json, write_json

# A host's stand-in for removed photos is recognised when it is served for this many places.
PLACEHOLDER_COPIES = 5


@dataclass(frozen=True)
class GatheredPictures:
    """`ImageManifest`, and how the pictures came: members of archives by outcome, fetched photos by status.

    `may_come_later` counts what servers failed to give for reasons that pass; the next run asks for these alone.
    """

    manifest: pd.DataFrame
    unpacked: Mapping[str, int] = field(default_factory=dict)
    fetched: Mapping[str, int] = field(default_factory=dict)
    may_come_later: int = 0


def picture_folder(dataset: Dataset, own: Path) -> Path:
    """Where a dataset's pictures lie, or will once they are unpacked or fetched; `own` where they lie nowhere else."""
    images = Path(dataset.images or dataset.metadata)
    return images if (dataset.images or images.is_dir()) and not archives_in(images) else own


def gather_pictures(
    photos: pd.DataFrame,
    dataset: Dataset,
    own: Path,
    ledger: Path,
    limits: ImageLimits | None = None,
    policy: FetchPolicy | None = None,
) -> GatheredPictures:
    """Bring the pictures of `photos` (`RawPhotos` of the dataset) to their folder (`own` is as in `picture_folder`), and
    describe each of them; `ledger` is the file that remembers what was fetched.
    """
    limits = limits or ImageLimits()
    folder, archives = picture_folder(dataset, own), archives_in(Path(dataset.images or dataset.metadata))
    unpacked = unpack_once(archives, folder, limits)
    photos = place_images(photos, dataset.layout, folder)
    if len(archives) > 1 and dataset.layout != "by_name":
        photos = _in_folders_of_archives(photos, archives, folder)
    if not dataset.fetch:
        return GatheredPictures(mark_placeholders(build_manifest(photos, folder, limits), photos), unpacked)

    with_url = photos[photos["image_url"] != ""].reset_index(drop=True)
    fetched = fetch_images(with_url, folder, ledger, policy, limits)
    paths = photos["photo_id"].map(dict(zip(fetched["photo_id"], fetched["image_path"], strict=True)))
    photos = photos.assign(image_path=paths.fillna(photos["image_path"]).astype(object))
    manifest = explain_missing(build_manifest(photos, folder, limits), fetched)
    later = int(((fetched["status"] != "ok") & ~fetched["permanent"].astype(bool)).sum())
    return GatheredPictures(mark_placeholders(manifest, photos), unpacked, tally(fetched["status"]), later)


def explain_missing(manifest: pd.DataFrame, fetched: pd.DataFrame) -> pd.DataFrame:
    """`ImageManifest` that says of each missing file why it could not be fetched (the frame of `fetch_images`)."""
    failed = fetched[fetched["status"] != "ok"].set_index("photo_id")
    missing = manifest["status"].isin(["missing_file", "no_image"]) & manifest["photo_id"].isin(failed.index)
    ids = manifest.loc[missing, "photo_id"]
    explained = manifest.copy()
    for name in ("status", "detail"):
        explained.loc[missing, name] = failed[name].reindex(ids).to_numpy()
    return explained


def mark_placeholders(manifest: pd.DataFrame, photos: pd.DataFrame, copies: int = PLACEHOLDER_COPIES) -> pd.DataFrame:
    """`ImageManifest` in which a picture whose very bytes stand for `copies` places or more has the status `placeholder`.

    `photos` (`RawPhotos`, the same photos in the same order) say where each was taken. No picture is the photo of several
    places: it is what a host serves, without a redirect, for removed photos.
    """
    ok = manifest["status"] == "ok"
    taken = photos[["latitude", "longitude"]].set_axis(manifest.index).assign(sha256=manifest["sha256"])
    places = taken[ok].drop_duplicates()["sha256"].value_counts()
    shared = ok & (manifest["sha256"].map(places).fillna(0) >= copies)
    marked = manifest.copy()
    marked.loc[shared, ["status", "detail", "phash"]] = ["placeholder", "the same bytes stand for several photos", ""]
    marked.loc[shared, ["width", "height"]] = 0
    return marked


def unpack_once(archives: list[Path], folder: Path, limits: ImageLimits) -> Mapping[str, int]:
    """Unpack each archive that is not unpacked yet, as it is now, below `folder`; members of all, by outcome.

    One archive fills `folder` itself; of several each has a folder of its whole name, as their members' names may meet.
    """
    if not archives:
        return {}
    outcomes: Counter[str] = Counter()
    records = folder / ".unpacked"
    with one_at_a_time(records / "lock"):
        for archive in archives:
            path = records / f"{archive.name}.json"
            status = archive.stat()
            state = {"bytes": status.st_size, "modified_ns": status.st_mtime_ns, **limits.model_dump()}
            record = read_json(path) if path.is_file() else {}
            if record.get("state") != state:
                target = folder if len(archives) == 1 else folder / archive.name
                record = {"state": state, "outcomes": dict(unpack_images(archive, target, limits))}
                write_json(path, record)
            outcomes.update(record["outcomes"])
    return dict(sorted(outcomes.items()))


def _in_folders_of_archives(photos: pd.DataFrame, archives: list[Path], folder: Path) -> pd.DataFrame:
    """`photos` with the folder of the archive that has the picture before the path, unless it stands there already."""
    paths = set(photos["image_path"])
    unpacked: dict[str, str] = {}
    for archive in archives:
        for file in files_below(folder / archive.name):
            whole = f"{archive.name}/{file}"
            if whole in paths or file not in paths:
                continue
            if file in unpacked:
                first = PurePosixPath(unpacked[file]).parts[0]
                raise InputError(f"two archives hold the picture {file}: {first} and {archive.name}; keep one of them")
            unpacked[file] = whole
    return photos.assign(image_path=[unpacked.get(path, path) for path in photos["image_path"]])

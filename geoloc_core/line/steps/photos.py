"""What is known of each photo: where it was taken, whether it can be opened, which cells it lies in, and its split."""

import shutil
from pathlib import Path

from geoloc_core.errors import InputError
from geoloc_core.geography.boundaries import load_boundaries, read_boundaries
from geoloc_core.geography.cells import LEVELS, ROOT, id_column
from geoloc_core.line.artifacts import LINE, Target, content_version
from geoloc_core.line.project import dataset_of
from geoloc_core.line.receipts import read_receipt
from geoloc_core.line.steps import Job, Output, files_version
from geoloc_core.photos.contact_sheet import contact_sheet
from geoloc_core.photos.distribution import class_distribution as distribution_of
from geoloc_core.photos.distribution import distribution_summary
from geoloc_core.photos.labels import label_photos, locator_of
from geoloc_core.photos.pictures import gather_pictures, picture_folder
from geoloc_core.photos.rows import frame_version, read_rows, tally, write_rows
from geoloc_core.photos.shard_rows import read_shard_rows
from geoloc_core.photos.training import collect_training
from geoloc_core.storage import file_sha256, value_sha256, write_bytes


def deliveries(job: Job) -> Output:
    """A metadata file as it arrived, with the photos that it names.

    The sample's deliveries are drawn by the program; all others lie where the profile says, and only their content
    is recorded here.
    """
    membership = job.profile.dataset_of(job.key)
    if membership is None:
        return _drawn(job)
    dataset = membership[0]
    if sentence := job.project.missing_inputs().get(dataset.name):
        raise InputError(sentence)
    metadata = Path(dataset.metadata)
    images = dataset.images or "not named: see the asset images"
    return Output(content_version(metadata), facts={"metadata": str(metadata), "images": images})


def _drawn(job: Job) -> Output:
    from geoloc_sample.draw import SampleSpec, draw_delivery

    folder = job.layout.delivery(job.key)
    ours = read_receipt(job.layout, Target("deliveries", job.key)) is not None
    if ours and not (folder / "metadata.csv").is_file():
        # What is left of a damaged delivery of ours. Without a receipt the files may be a person's, and drawing refuses
        # to begin.
        shutil.rmtree(folder, ignore_errors=True)
    assert job.profile.drawn is not None
    spec = SampleSpec(**job.profile.drawn.model_dump())
    counts = draw_delivery(spec, job.key, folder, load_boundaries("embedded"))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return Output(files_version(files), files, facts={"drawn": counts})


def raw_photos(job: Job) -> Output:
    """One row for each photo that the delivery names.

    Rows that cannot be used lie beside it, each with its number, the reason and the raw text: accepted + rejected =
    rows in.
    """
    dataset, number = dataset_of(job.profile, job.layout, job.key)
    cache, version = job.layout.cut(dataset.name), LINE["raw_photos"].version
    rows = read_shard_rows(dataset, number, cache, version, job.profile.images)
    paths = [job.layout.raw_photos(job.key), job.layout.rejected_rows(job.key)]
    write_rows(rows.accepted, paths[0])
    write_rows(rows.rejected, paths[1])
    facts = {
        "rows": len(rows.accepted),
        "rows_in": len(rows.accepted) + len(rows.rejected),
        "rejected": len(rows.rejected),
        "rejected_by_reason": tally(rows.rejected["reason"]),
    }
    return Output(files_version(paths), paths, facts=facts)


def images(job: Job) -> Output:
    """Manifest of the pictures: size, hash and perceptual hash of each, or the reason why there is none.

    Archives are unpacked, and pictures fetched by their URLs, on the way; a second materialization asks only for
    what did not come.
    """
    dataset, _ = dataset_of(job.profile, job.layout, job.key)
    own, ledger = job.layout.pictures(dataset.name), job.layout.fetched(dataset.name)
    rows, limits = read_rows(job.layout.raw_photos(job.key)), job.profile.images
    gathered = gather_pictures(rows, dataset, own, ledger, limits, job.profile.fetching)
    manifest, path = gathered.manifest, job.layout.images(job.key)
    write_rows(manifest, path)
    usable = manifest["status"] == "ok"
    sheet = contact_sheet(manifest, picture_folder(dataset, own), limits)
    facts = {
        "rows": len(manifest),
        "usable": int(usable.sum()),
        "not_usable": int((~usable).sum()),
        "by_status": tally(manifest["status"]),
    }
    if sheet:
        facts["pictures"] = sheet
    if gathered.unpacked:
        facts["unpacked"] = dict(gathered.unpacked)
    if gathered.fetched:
        facts |= {"fetched": dict(gathered.fetched), "may_come_later": gathered.may_come_later}
    return Output(file_sha256(path), [path], facts=facts)


def labeled_photos(job: Job) -> Output:
    """The country and the sub-division of each photo, and how that is known: `inside` a polygon, `near` one (with the
    distance), or `none`.
    """
    locator = locator_of(job.layout.regions, job.profile.near_cap_km)
    labeled = label_photos(read_rows(job.layout.raw_photos(job.key)), job.key, locator)
    job.project.warehouse().replace_shard("labeled_photos", job.key, labeled)
    root = labeled[id_column(ROOT)]
    qualities = labeled["label_quality"].value_counts().to_dict()
    facts = {
        "rows": len(labeled),
        "table": "labeled_photos",
        "countries": int(root[root != ""].nunique()),
        **{quality: int(qualities.get(quality, 0)) for quality in ("inside", "near", "none")},
    }
    return Output(frame_version(labeled), rows={"labeled_photos": len(labeled)}, facts=facts)


def training_photos(job: Job) -> Output:
    """The photos that heads learn from, split by author.

    Excluded, each with its reason: benchmark photos, their authors, near-duplicates of them, photos without a label
    or a usable picture.
    """
    warehouse = job.project.warehouse()
    manifests = {shard: job.layout.images(shard) for shard in job.profile.shards()}
    training, excluded = collect_training(
        warehouse,
        {shard: manifests[shard] for shard in job.profile.training_shards()},
        {shard: manifests[shard] for shard in job.profile.benchmark_names()},
        job.profile.split,
    )
    warehouse.replace_table("training_photos", training)
    warehouse.replace_table("excluded_photos", excluded)
    facts = {
        "rows": len(training),
        "table": "training_photos",
        "train": int((training["split"] == "train").sum()),
        "validation": int((training["split"] == "validation").sum()),
        "authors": int(training["author_id"].nunique()),
        "excluded": len(excluded),
        "excluded_by_reason": tally(excluded["reason"]),
    }
    version = value_sha256([frame_version(training), frame_version(excluded)])
    return Output(version, rows={"training_photos": len(training), "excluded_photos": len(excluded)}, facts=facts)


def class_distribution(job: Job) -> Output:
    """Table 1: photos of each country and sub-division, the head and the tail, and the coverage map."""
    from geoloc_core.evaluation.maps import country_map, coverage_map

    warehouse, country = job.project.warehouse(), job.profile.map_country
    boundaries = read_boundaries(job.layout.regions)
    # Counted in the database: the photos themselves, of which there may be millions, are not held.
    counts = warehouse.count_by("training_photos", *map(id_column, LEVELS), "split")
    distribution = distribution_of(counts, read_rows(job.layout.regions, ["level", "region_id", "name"]))
    folder = job.layout.home / "class_distribution"
    paths = [folder / "class_distribution.parquet", folder / "coverage.png", folder / "country.png"]
    write_rows(distribution, paths[0])
    points = warehouse.read_table("training_photos", columns=["latitude", "longitude"])
    of_country = warehouse.read_table("training_photos", {id_column(ROOT): country})
    maps = [
        coverage_map(points, boundaries, "Photos to learn from"),
        country_map(boundaries, country, photos=of_country),
    ]
    for path, png in zip(paths[1:], maps, strict=True):
        write_bytes(path, png)
    summary = distribution_summary(distribution, ROOT)
    numbers = {f"{ROOT}_{key}": value for key, value in summary.items() if isinstance(value, int | float)}
    facts = {"rows": len(distribution), **numbers, "coverage": maps[0], "one_country": maps[1]}
    return Output(file_sha256(paths[0]), paths, facts=facts)

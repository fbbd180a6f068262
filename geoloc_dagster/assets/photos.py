"""What is known of each photo: where it lies, whether it can be opened, which regions it was taken in, and its split."""

import shutil

import dagster as dg

from geoloc_core.line.lineage import CODE_VERSIONS, Target, path_version
from geoloc_core.line.project import dataset_of
from geoloc_core.line.receipts import read_receipt
from geoloc_core.storage import file_sha256, value_sha256
from geoloc_dagster.metadata import counts_table, picture
from geoloc_dagster.op_tags import WAREHOUSE_POOL
from geoloc_dagster.partitions import SHARDS
from geoloc_dagster.resources import ProjectResource, files_version

EVERY_SHARD = dg.AllPartitionMapping()


@dg.asset(
    group_name="photos",
    kinds={"file"},
    owners=["team:data"],
    partitions_def=SHARDS,
    code_version=CODE_VERSIONS["deliveries"],
    description="A metadata file as it arrived, with the photos that it names. The sample's deliveries are drawn by the "
    "program; all others lie where the profile says, and only their content is taken down here.",
)
def deliveries(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    from pathlib import Path

    from geoloc_core.errors import InputError

    work = project.begin(context)
    shard = context.partition_key
    of = work.project.profile.dataset_of(shard)
    if of is not None:
        metadata = Path(of[0].metadata)
        if not metadata.exists():
            raise InputError(
                f"the metadata of {of[0].name!r}, {metadata}, is not there; mend `metadata` in the profile"
            )
        if of[0].images and not Path(of[0].images).exists() and not of[0].fetch:
            raise InputError(
                f"the images of {of[0].name!r}, {of[0].images}, are not there; mend `images` in the profile"
            )
        return work.finish(
            path_version(metadata),
            metadata={"metadata": str(metadata), "images": of[0].images or "not named: see the asset images"},
        )

    from geoloc_core.geography.boundaries import load_boundaries
    from geoloc_core.photos.sample.delivery import draw_delivery
    from geoloc_core.photos.sample.spec import SampleSpec

    drawn = work.project.profile.drawn
    assert drawn is not None
    spec = SampleSpec(
        seed=drawn.seed, shards=drawn.shards, photos_per_shard=drawn.photos_per_shard, benchmarks=drawn.benchmarks
    )
    folder = work.project.layout.delivery(shard)
    ours = read_receipt(work.project.layout, Target("deliveries", shard)) is not None
    if ours and not (folder / "metadata.csv").is_file():
        # What is left of a damaged delivery of ours. Where no receipt says so the files may be a person's, and drawing
        # refuses to begin.
        shutil.rmtree(folder, ignore_errors=True)
    counts = draw_delivery(spec, shard, folder, load_boundaries("embedded"))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return work.finish(files_version(files), files=files, metadata={"drawn": counts_table(counts, "what")})


@dg.asset(
    group_name="photos",
    kinds={"parquet", "pandera"},
    owners=["team:data"],
    partitions_def=SHARDS,
    deps=[deliveries],
    code_version=CODE_VERSIONS["raw_photos"],
    description="One row for each photo that the delivery tells of. Rows that cannot be used lie beside it, each with its "
    "number, the reason and the raw text: accepted + rejected = rows in.",
)
def raw_photos(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    from geoloc_core.photos.rows import tally, write_rows
    from geoloc_core.photos.shard_rows import read_shard_rows

    work = project.begin(context)
    shard, layout = context.partition_key, work.project.layout
    dataset, number = dataset_of(work.project.profile, layout, shard)
    rows = read_shard_rows(dataset, number, layout.cut(dataset.name), CODE_VERSIONS["raw_photos"])
    paths = [layout.raw_photos(shard), layout.rejected_rows(shard)]
    write_rows(rows.accepted, paths[0])
    write_rows(rows.rejected, paths[1])
    return work.finish(
        files_version(paths),
        files=paths,
        metadata={
            "dagster/row_count": len(rows.accepted),
            "rows_in": len(rows.accepted) + len(rows.rejected),
            "rejected": len(rows.rejected),
            "rejected_by_reason": counts_table(tally(rows.rejected["reason"]), "reason"),
        },
    )


@dg.asset(
    group_name="photos",
    kinds={"parquet", "pandera"},
    owners=["team:data"],
    partitions_def=SHARDS,
    deps=[deliveries, raw_photos],
    code_version=CODE_VERSIONS["images"],
    description="Manifest of the pictures: size, hash and perceptual hash of each, or the reason why there is none. "
    "Archives are unpacked, and pictures fetched by their URLs, on the way; a second materialization asks only for what "
    "did not come.",
)
def images(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    from geoloc_core.photos.contact_sheet import contact_sheet
    from geoloc_core.photos.pictures import gather_pictures, picture_folder
    from geoloc_core.photos.rows import read_rows, tally, write_rows

    work = project.begin(context)
    profile, layout, shard = work.project.profile, work.project.layout, context.partition_key
    dataset, _ = dataset_of(profile, layout, shard)
    own, ledger = layout.pictures(dataset.name), layout.fetched(dataset.name)
    photos = read_rows(layout.raw_photos(shard))
    gathered = gather_pictures(photos, dataset, own, ledger, profile.images, profile.fetching)
    manifest = gathered.manifest
    path = layout.images(shard)
    write_rows(manifest, path)
    usable = manifest["status"] == "ok"
    sheet = contact_sheet(manifest, picture_folder(dataset, own), profile.images)
    return work.finish(
        file_sha256(path),
        files=[path],
        metadata={
            "dagster/row_count": len(manifest),
            "usable": int(usable.sum()),
            "not_usable": int((~usable).sum()),
            "by_status": counts_table(tally(manifest["status"]), "status"),
            **({"pictures": picture(sheet, f"pictures of {shard}")} if sheet else {}),
            **({"unpacked": counts_table(dict(gathered.unpacked), "outcome")} if gathered.unpacked else {}),
            **({"fetched": counts_table(dict(gathered.fetched), "status")} if gathered.fetched else {}),
            **({"may_come_later": gathered.may_come_later} if gathered.fetched else {}),
        },
    )


@dg.asset(
    group_name="photos",
    kinds={"duckdb", "pandera"},
    owners=["team:data"],
    partitions_def=SHARDS,
    deps=[raw_photos, "regions"],
    pool=WAREHOUSE_POOL,
    code_version=CODE_VERSIONS["labeled_photos"],
    description="The country and the sub-division of each photo, and how that is known: `inside` a polygon, `near` one "
    "(with the distance), or `none`.",
)
def labeled_photos(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    from geoloc_core.photos.labels import label_photos, locator_of
    from geoloc_core.photos.rows import frame_version, read_rows

    work = project.begin(context)
    layout, shard = work.project.layout, context.partition_key
    locator = locator_of(layout.regions, work.project.profile.near_cap_km, layout.cache)
    labeled = label_photos(read_rows(layout.raw_photos(shard)), shard, locator)
    work.project.warehouse().replace_shard("labeled_photos", shard, labeled)
    qualities = labeled["label_quality"].value_counts().to_dict()
    return work.finish(
        frame_version(labeled),
        rows={"labeled_photos": len(labeled)},
        metadata={
            "dagster/row_count": len(labeled),
            "dagster/table_name": "labeled_photos",
            "countries": int(labeled.loc[labeled["country_id"] != "", "country_id"].nunique()),
            **{quality: int(qualities.get(quality, 0)) for quality in ("inside", "near", "none")},
        },
    )


@dg.asset(
    group_name="photos",
    kinds={"duckdb", "pandera"},
    owners=["team:data"],
    deps=[
        dg.AssetDep(labeled_photos, partition_mapping=EVERY_SHARD),
        dg.AssetDep(images, partition_mapping=EVERY_SHARD),
    ],
    pool=WAREHOUSE_POOL,
    code_version=CODE_VERSIONS["training_photos"],
    description="The photos that heads learn from, split by author. Left out, each with its reason: benchmark photos, "
    "their authors, near-duplicates of them, photos without a label or a usable picture.",
)
def training_photos(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    from geoloc_core.photos.rows import frame_version, tally
    from geoloc_core.photos.training import collect_training

    work = project.begin(context)
    warehouse = work.project.warehouse()
    profile, layout = work.project.profile, work.project.layout
    training, excluded = collect_training(
        warehouse,
        {shard: layout.images(shard) for shard in profile.training_shards()},
        {shard: layout.images(shard) for shard in profile.benchmark_names()},
        profile.split,
    )
    warehouse.replace_table("training_photos", training)
    warehouse.replace_table("excluded_photos", excluded)
    split = training["split"].value_counts().to_dict()
    return work.finish(
        value_sha256([frame_version(training), frame_version(excluded)]),
        rows={"training_photos": len(training), "excluded_photos": len(excluded)},
        metadata={
            "dagster/row_count": len(training),
            "dagster/table_name": "training_photos",
            "train": int(split.get("train", 0)),
            "validation": int(split.get("validation", 0)),
            "authors": int(training["author_id"].nunique()),
            "excluded": len(excluded),
            "excluded_by_reason": counts_table(tally(excluded["reason"]), "reason"),
        },
    )


@dg.asset(
    group_name="photos",
    kinds={"parquet", "pandera"},
    owners=["team:data"],
    deps=[training_photos, "regions"],
    code_version=CODE_VERSIONS["class_distribution"],
    description="Table 1: photos of each country and sub-division, the head and the tail, and the coverage map.",
)
def class_distribution(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    from geoloc_core.evaluation.maps import country_map, coverage_map
    from geoloc_core.geography.boundaries import read_boundaries
    from geoloc_core.photos.distribution import class_distribution as distribution_of
    from geoloc_core.photos.distribution import distribution_summary
    from geoloc_core.photos.rows import read_rows, write_rows
    from geoloc_core.storage import write_bytes

    work = project.begin(context)
    layout, profile = work.project.layout, work.project.profile
    warehouse = work.project.warehouse()
    boundaries = read_boundaries(layout.regions)
    # Counted in the database: the photos themselves, of which there may be millions, are not held.
    counts = warehouse.count_by("training_photos", "country_id", "subdivision_id", "split")
    regions = read_rows(layout.regions, ["level", "region_id", "name"])
    distribution = distribution_of(counts, regions)
    folder = layout.home / "class_distribution"
    paths = [folder / "class_distribution.parquet", folder / "coverage.png", folder / "country.png"]
    write_rows(distribution, paths[0])
    points = warehouse.read_table("training_photos", columns=["latitude", "longitude"])
    latitude, longitude = points["latitude"].to_numpy(), points["longitude"].to_numpy()
    of_country = warehouse.read_table("training_photos", {"country_id": profile.map_country})
    maps = [
        coverage_map(latitude, longitude, boundaries, "Photos to learn from"),
        country_map(boundaries, profile.map_country, photos=of_country),
    ]
    for path, png in zip(paths[1:], maps, strict=True):
        write_bytes(path, png)
    country = distribution_summary(distribution, "country")
    numbers = {f"country_{key}": value for key, value in country.items() if isinstance(value, int | float)}
    return work.finish(
        file_sha256(paths[0]),
        files=paths,
        metadata={
            "dagster/row_count": len(distribution),
            **numbers,
            "coverage": picture(maps[0], "photos by country"),
            "one_country": picture(maps[1], f"photos of {profile.map_country}"),
        },
    )

"""Photos: the contract of each table, and nobody on both sides of a split."""

import dagster as dg

from geoloc_core.line.project import Project
from geoloc_dagster.assets import photos
from geoloc_dagster.checks.verdict import Verdict, asset_check


def raw_photos_contract(project: Project, shard: str) -> Verdict:
    """Every accepted row fits the contract of the table: an id that occurs once, coordinates in range."""
    from geoloc_core.photos.rows import read_rows
    from geoloc_core.photos.schemas import RawPhotos, RejectedRows, validate

    accepted = validate(RawPhotos, read_rows(project.layout.raw_photos(shard)), "raw_photos")
    rejected = validate(RejectedRows, read_rows(project.layout.rejected_rows(shard)), "rejected rows")
    twice = set(accepted["row_number"]) & set(rejected["row_number"])
    wrong = f"row {min(twice)} of the delivery is both accepted and rejected" if twice else ""
    return Verdict(wrong, {"accepted": len(accepted), "rejected": len(rejected)})


def images_contract(project: Project, shard: str) -> Verdict:
    """The manifest fits its contract and has one row for each photo of the shard, neither more nor fewer."""
    from geoloc_core.photos.rows import read_rows
    from geoloc_core.photos.schemas import ImageManifest, validate

    manifest = validate(ImageManifest, read_rows(project.layout.images(shard)), "images")
    asked = read_rows(project.layout.raw_photos(shard))["photo_id"]
    same = manifest["photo_id"].tolist() == asked.tolist()
    wrong = "" if same else f"the manifest names {len(manifest)} photos, the shard has {len(asked)}, not all the same"
    return Verdict(wrong, {"photos": len(manifest), "usable": int((manifest["status"] == "ok").sum())})


def labeled_photos_contract(project: Project, shard: str) -> Verdict:
    """Every photo of the shard is in the table once, with a country, a nearest country, or neither and said so."""
    from geoloc_core.photos.rows import read_rows
    from geoloc_core.photos.schemas import LabeledPhotos, validate

    rows = project.warehouse().read_table("labeled_photos", {"shard": shard})
    validate(LabeledPhotos, rows, "labeled_photos")
    asked = read_rows(project.layout.raw_photos(shard))["photo_id"]
    wrong = "" if set(rows["photo_id"]) == set(asked) else f"{len(asked)} photos went in and {len(rows)} came out"
    return Verdict(wrong, {"photos": len(rows), "without_label": int((rows["label_quality"] == "none").sum())})


def training_photos_contract(project: Project, _: str) -> Verdict:
    """The table fits its contract, and training photos + excluded photos = labelled photos of the training shards."""
    from geoloc_core.photos.schemas import TrainingPhotos, validate

    warehouse = project.warehouse()
    training = validate(TrainingPhotos, warehouse.read_table("training_photos"), "training_photos")
    excluded = warehouse.read_table("excluded_photos")
    shards = list(project.profile.training_shards())
    labeled = len(warehouse.read_table("labeled_photos", {"shard": shards}, columns=["photo_id"]))
    figures = {"training": len(training), "excluded": len(excluded), "labelled": labeled}
    if len(training) + len(excluded) != labeled:
        return Verdict(f"{len(training)} + {len(excluded)} photos are not the {labeled} that are labelled", figures)
    return Verdict("", figures)


def authors_disjoint(project: Project, _: str) -> Verdict:
    """No author is on both sides of the split: a validation photo's author was never learned from."""
    photos_ = project.warehouse().read_table("training_photos", columns=["author_id", "split"])
    known = photos_[photos_["author_id"] != ""]
    sides = known.groupby("author_id")["split"].nunique()
    both = sides[sides > 1]
    wrong = f"{len(both)} authors are on both sides, {both.index[0]} among them" if len(both) else ""
    return Verdict(wrong, {"authors": len(sides), "on_both_sides": len(both)})


def no_benchmark_author(project: Project, _: str) -> Verdict:
    """No author and no photo of a benchmark is learned from."""
    from geoloc_core.photos.splits import photo_identities

    warehouse = project.warehouse()
    benchmarks = warehouse.read_table("labeled_photos", {"shard": list(project.profile.benchmark_names())})
    training = warehouse.read_table("training_photos", columns=["photo_id", "dataset", "author_id"])
    authors = (set(benchmarks["author_id"]) - {""}) & set(training["author_id"])
    ids = photo_identities(training).intersection(photo_identities(benchmarks))
    wrong = (
        f"{len(authors)} authors and {len(ids)} photos of the benchmarks are in training" if authors or len(ids) else ""
    )
    return Verdict(
        wrong, {"benchmark_photos": len(benchmarks), "authors_in_both": len(authors), "photos_in_both": len(ids)}
    )


def class_distribution_contract(project: Project, _: str) -> Verdict:
    """The table fits its contract, and the countries' photos add up to the training photos that have a country."""
    from geoloc_core.photos.rows import read_rows
    from geoloc_core.photos.schemas import ClassDistribution, validate

    rows = read_rows(project.layout.home / "class_distribution" / "class_distribution.parquet")
    validate(ClassDistribution, rows, "class_distribution")
    counted = int(rows.loc[rows["level"] == "country", "n_photos"].sum())
    training = project.warehouse().read_table("training_photos", columns=["country_id"])
    expected = int((training["country_id"] != "").sum())
    wrong = "" if counted == expected else f"{counted} photos are counted and {expected} have a country"
    return Verdict(wrong, {"photos": counted})


CHECKS: list[dg.AssetChecksDefinition] = [
    asset_check(photos.raw_photos, "contract", raw_photos_contract, blocking=True),
    asset_check(photos.images, "contract", images_contract, blocking=True),
    asset_check(photos.labeled_photos, "contract", labeled_photos_contract, blocking=True),
    asset_check(photos.training_photos, "contract", training_photos_contract, blocking=True),
    asset_check(photos.training_photos, "authors_disjoint", authors_disjoint, blocking=True),
    asset_check(photos.training_photos, "no_benchmark_author", no_benchmark_author, blocking=True),
    asset_check(photos.class_distribution, "contract", class_distribution_contract, blocking=True),
]

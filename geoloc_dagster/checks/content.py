"""What must hold of the content of each artifact. Heavy packages are imported inside the functions."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from geoloc_core.errors import StaleArtifactError
from geoloc_core.geography import EMBEDDED_FILE
from geoloc_core.geography.cells import ROOT, id_column
from geoloc_core.line.artifacts import Target
from geoloc_core.line.project import Project
from geoloc_core.line.receipts import read_receipt
from geoloc_core.photos.rows import read_rows
from geoloc_dagster.checks import Question, Verdict, asset_check
from geoloc_dagster.metadata import file_link, schemas

if TYPE_CHECKING:
    from geoloc_core.photos.expectations import Outcome


# Tables that are checked against their schema as a whole. Vectors have checks of their own, as reading them takes long.
CONTRACTS = (
    "regions", "raw_photos", "images", "labeled_photos", "training_photos", "class_distribution", "class_weights",
    "region_anchors", "validation_report", "benchmark_report",
)  # fmt: skip


def contract(asset: str) -> Question:
    """A check made from the schema of a table: the columns, their types, and what must hold of them."""

    def fits(project: Project, key: str) -> Verdict:
        from geoloc_core.tables import validate

        frame = read_table(project, Target(asset, key))
        validate(schemas()[asset], frame, asset)
        return Verdict("", {"rows": len(frame)})

    fits.__doc__ = f"Columns, types and bounds of {asset} are those of its schema."
    return fits


def read_table(project: Project, target: Target) -> pd.DataFrame:
    """The rows of a target: from the warehouse where its receipt counts them there, else from its Parquet file."""
    receipt = read_receipt(project.layout, target)
    if receipt is None:
        raise StaleArtifactError(f"{target} does not exist; materialize {target.asset} first")
    if receipt.rows:
        return project.warehouse().read_table(target.asset, {"shard": target.partition} if target.partition else None)
    # What lies beside a table has a longer name.
    return read_rows(project.home / min((name for name in receipt.files if name.endswith(".parquet")), key=len))


def raw_photos_complete(project: Project, shard: str) -> Verdict:
    """Rejected rows fit their schema, and no row of the delivery is both accepted and rejected."""
    from geoloc_core.photos.schemas import RejectedRows, validate

    accepted = read_rows(project.layout.raw_photos(shard))
    rejected = validate(RejectedRows, read_rows(project.layout.rejected_rows(shard)), "rejected rows")
    both = set(accepted["row_number"]) & set(rejected["row_number"])
    fault = f"row {min(both)} of the delivery is both accepted and rejected" if both else ""
    return Verdict(fault, {"accepted": len(accepted), "rejected": len(rejected)})


def images_complete(project: Project, shard: str) -> Verdict:
    """The manifest has one row for each photo of the shard, in the same order."""
    manifest = read_rows(project.layout.images(shard))
    photos = read_rows(project.layout.raw_photos(shard))["photo_id"]
    same = manifest["photo_id"].tolist() == photos.tolist()
    fault = "" if same else f"the manifest names {len(manifest)} photos, the shard has {len(photos)}, not all the same"
    return Verdict(fault, {"photos": len(manifest), "usable": int((manifest["status"] == "ok").sum())})


def labeled_photos_complete(project: Project, shard: str) -> Verdict:
    """Every photo of the shard is in the table once, with a label or said to have none."""
    rows = read_table(project, Target("labeled_photos", shard))
    photos = read_rows(project.layout.raw_photos(shard))["photo_id"]
    fault = "" if set(rows["photo_id"]) == set(photos) else f"{len(photos)} photos went in and {len(rows)} came out"
    return Verdict(fault, {"photos": len(rows), "without_label": int((rows["label_quality"] == "none").sum())})


def training_photos_complete(project: Project, _: str) -> Verdict:
    """Training photos + excluded photos = labelled photos of the training shards."""
    warehouse = project.warehouse()
    shards = list(project.profile.training_shards())
    tables = {"training_photos": None, "excluded_photos": None, "labeled_photos": {"shard": shards}}
    counts = [len(warehouse.read_table(table, where, columns=["photo_id"])) for table, where in tables.items()]
    training, excluded, labeled = counts
    same = training + excluded == labeled
    fault = "" if same else f"{training} + {excluded} photos are not the {labeled} labelled ones"
    return Verdict(fault, {"training": training, "excluded": excluded, "labelled": labeled})


def class_distribution_complete(project: Project, _: str) -> Verdict:
    """The photos of all countries add up to the training photos that have a country."""
    rows = read_table(project, Target("class_distribution"))
    counted = int(rows.loc[rows["level"] == ROOT, "n_photos"].sum())
    training = project.warehouse().read_table("training_photos", columns=[id_column(ROOT)])
    expected = int((training[id_column(ROOT)] != "").sum())
    fault = "" if counted == expected else f"{counted} photos are counted and {expected} have a {ROOT}"
    return Verdict(fault, {"photos": counted})


def authors_disjoint(project: Project, _: str) -> Verdict:
    """No author is on both sides of the split: a validation photo's author was never learned from."""
    photos = project.warehouse().read_table("training_photos", columns=["author_id", "split"])
    known = photos[photos["author_id"] != ""]
    sides = known.groupby("author_id")["split"].nunique()
    both = sides[sides > 1]
    fault = f"{len(both)} authors are on both sides, {both.index[0]} among them" if len(both) else ""
    return Verdict(fault, {"authors": len(sides), "on_both_sides": len(both)})


def no_benchmark_author(project: Project, _: str) -> Verdict:
    """No author and no photo of a benchmark is learned from."""
    from geoloc_core.photos.splits import photo_identities

    warehouse = project.warehouse()
    benchmarks = warehouse.read_table("labeled_photos", {"shard": list(project.profile.benchmark_names())})
    training = warehouse.read_table("training_photos", columns=["photo_id", "dataset", "author_id"])
    authors = (set(benchmarks["author_id"]) - {""}) & set(training["author_id"])
    ids = photo_identities(training).intersection(photo_identities(benchmarks))
    words = f"{len(authors)} authors and {len(ids)} photos of the benchmarks are in training"
    figures = {"benchmark_photos": len(benchmarks), "authors_in_both": len(authors), "photos_in_both": len(ids)}
    return Verdict(words if authors or len(ids) else "", figures)


def delivery_is_not_garbage(project: Project, shard: str) -> Verdict:
    """The coordinates of the shard as a whole can be right: they are not partly exchanged, mirrored or out of range,
    and not piled up at one point or on whole degrees.
    """
    from geoloc_core.photos.damage import coordinate_damage, problems_of
    from geoloc_core.photos.labels import locator_of

    accepted = read_rows(project.layout.raw_photos(shard))
    outside = int((read_rows(project.layout.rejected_rows(shard))["reason"] == "out_of_range").sum())
    # The embedded boundaries, whichever set labels the photos: the question is only where there is land.
    locator = locator_of(EMBEDDED_FILE, project.profile.near_cap_km)

    def on_land(latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
        return locator.locate(longitude=longitude, latitude=latitude).index[ROOT] >= 0

    latitude, longitude, author = (accepted[name].to_numpy() for name in ("latitude", "longitude", "author_id"))
    damage = coordinate_damage(latitude, longitude, author, outside, on_land)
    return Verdict("; ".join(problems_of(damage)), damage)


def delivery_as_expected(project: Project, shard: str) -> Verdict:
    """Shares of rejected, near and unlabelled rows, the largest author's share, and the drift of the countries against the
    shard before lie within what is usual. A warning: a person should look at the page in `data_docs`.
    """
    pages = project.layout.data_docs / shard
    outcomes = delivery_outcomes(project, shard, pages)
    fault = "; ".join(outcome.sentence for outcome in outcomes if not outcome.success)
    figures = {outcome.name: outcome.observed for outcome in outcomes}
    return Verdict(fault, {**figures, "data_docs": file_link(project.home, pages / "index.html")})


def delivery_outcomes(project: Project, shard: str, data_docs: Path | None = None) -> "list[Outcome]":
    """How a labelled shard compares with what is usual, and with the shard before it; the pages go to `data_docs`."""
    from geoloc_core.photos.expectations import check_delivery

    warehouse, before = project.warehouse(), previous_shard(project, shard)
    previous = warehouse.read_table("labeled_photos", {"shard": before}) if before else None
    return check_delivery(
        warehouse.read_table("labeled_photos", {"shard": shard}),
        read_rows(project.layout.rejected_rows(shard)),
        previous if previous is not None and len(previous) else None,
        data_docs=data_docs,
        name=shard,
    )


def previous_shard(project: Project, shard: str) -> str:
    """The training shard before this one, or an empty text; a benchmark is compared with nothing."""
    shards = project.profile.training_shards()
    return shards[shards.index(shard) - 1] if shard in shards[1:] else ""


# float16 overflows at 65,504; a vector that long, or of no length, was made by a broken encoder.
SHORTEST, LONGEST = 1e-3, 6e4


def embeddings_complete(project: Project, key: str) -> Verdict:
    """The shard has one row for each row of the image manifest, and a vector for each usable picture."""
    from geoloc_core.features.shards import read_shard

    backbone, shard = key.split("|")
    block, _ = read_shard(project.layout.embeddings(backbone, shard))
    manifest = read_rows(project.layout.images(shard))
    usable, vectors = int((manifest["status"] == "ok").sum()), int(block.ok.sum())
    figures = {"rows": len(block.photo_ids), "vectors": vectors, "usable_pictures": usable}
    if block.photo_ids != manifest["photo_id"].tolist():
        return Verdict(f"{len(block.photo_ids)} rows do not name the {len(manifest)} photos of the manifest", figures)
    return Verdict("" if vectors == usable else f"{vectors} vectors for {usable} usable pictures", figures)


def embeddings_in_range(project: Project, key: str) -> Verdict:
    """No vector holds NaN or infinity, and every length is plausible."""
    from geoloc_core.features.shards import read_shard

    backbone, shard = key.split("|")
    block, _ = read_shard(project.layout.embeddings(backbone, shard))
    vectors = block.vectors[block.ok].astype(np.float32)
    if not len(vectors):
        return Verdict("", {"vectors": 0})
    if not np.isfinite(vectors).all():
        return Verdict(f"{int((~np.isfinite(vectors)).any(axis=1).sum())} vectors hold NaN or infinity")
    norms = np.linalg.norm(vectors, axis=1)
    figures = {"shortest": float(norms.min()), "median": float(np.median(norms)), "longest": float(norms.max())}
    good = norms.min() >= SHORTEST and norms.max() <= LONGEST
    return Verdict("" if good else f"lengths reach from {norms.min():.3g} to {norms.max():.3g}", figures)


def class_weights_finite(project: Project, level: str) -> Verdict:
    """Every weight of every scheme is a positive, finite number, and every class has a photo."""
    from geoloc_core.learning.weights import CLASS_WEIGHT_SCHEMES

    table = read_rows(project.layout.class_weights(level))
    weights = table[list(CLASS_WEIGHT_SCHEMES)].to_numpy(dtype=np.float64)
    good = bool(np.isfinite(weights).all() and (weights > 0).all() and (table["n_photos"] >= 1).all())
    figures = {"classes": len(table), "smallest": float(weights.min()), "largest": float(weights.max())}
    return Verdict("" if good else "a weight is not a positive number, or a class has no photo", figures)


def head_beats_the_prior(project: Project, key: str) -> Verdict:
    """On the photos that decided when to stop, the head's log loss is below that of always answering with the class
    shares: it has learned something from the vectors.
    """
    from geoloc_core.learning.head_files import load_head

    head = load_head(project.layout.head(key))
    shares = np.asarray(head.class_counts, dtype=np.float64) / sum(head.class_counts)
    # Stopping photos follow the same shares, so the prior's expected log loss is their entropy.
    prior = float(-(shares * np.log(shares)).sum())
    loss = float(head.calibration["nll"])
    fault = "" if loss < prior else f"the head's log loss {loss:.3f} is not below the prior's {prior:.3f}"
    return Verdict(fault, {"log_loss": loss, "prior_log_loss": prior})


def validation_denominator(project: Project, key: str) -> Verdict:
    """Every validation photo is in the denominator, once, those without a picture included."""
    return _denominator(project, Target("validation_report", key), "training_photos", {"split": "validation"})


def benchmark_denominator(project: Project, key: str) -> Verdict:
    """Every photo of the benchmark is in the denominator, once, those without a picture included."""
    return _denominator(project, Target("benchmark_report", key), "labeled_photos", {"shard": key.split("|")[0]})


def _denominator(project: Project, report: Target, table: str, where: dict[str, str]) -> Verdict:
    predictions = read_table(project, report)
    photos = project.warehouse().read_table(table, where, columns=["photo_id"])
    same = sorted(predictions["photo_id"]) == sorted(photos["photo_id"])
    fault = "" if same else f"{len(predictions)} predictions do not name the {len(photos)} photos of {report}"
    return Verdict(fault, {"photos": len(photos), "missing": int((predictions["status"] != "ok").sum())})


def no_worse_than_the_champion(project: Project, _: str) -> Verdict:
    """The best present head is not worse than the standing champion beyond the interval of their paired difference. Where it
    is, the champion stays, and somebody should look at what changed in the data.
    """
    from geoloc_core.evaluation.baselines import CLASS_PRIOR
    from geoloc_core.line.promotion import decisions

    last = next(iter(decisions(project.layout)), None)
    if last is None:
        raise StaleArtifactError(f"{project.layout.champion_decision} cannot be read; `geoloc refresh` writes it anew")
    gain = last["gain"]
    if gain is None or last["opponent"] == CLASS_PRIOR:
        return Verdict("", {"champion": last["experiment"]})
    figures = {name: last[key] for name, key in (("champion", "opponent"), ("challenger", "challenger"))}
    figures |= {f"gain_{name}": value for name, value in gain.items()}
    span = f"{gain['value']:+.1f} [{gain['low']:+.1f}, {gain['high']:+.1f}]"
    fault = f"{last['challenger']} is worse than the champion {last['opponent']} in {last['metric']}: {span}"
    return Verdict(fault if gain["high"] < 0 else "", figures)


# Asset, name of the check, question, whether it stops what is downstream.
QUESTIONS: list[tuple[str, str, Question, bool]] = [
    *((asset, "contract", contract(asset), True) for asset in CONTRACTS),
    ("raw_photos", "complete", raw_photos_complete, True),
    ("images", "complete", images_complete, True),
    ("labeled_photos", "complete", labeled_photos_complete, True),
    ("training_photos", "complete", training_photos_complete, True),
    ("training_photos", "authors_disjoint", authors_disjoint, True),
    ("training_photos", "no_benchmark_author", no_benchmark_author, True),
    ("class_distribution", "complete", class_distribution_complete, True),
    ("raw_photos", "not_garbage", delivery_is_not_garbage, True),
    ("labeled_photos", "as_expected", delivery_as_expected, False),
    ("embeddings", "complete", embeddings_complete, True),
    ("embeddings", "in_range", embeddings_in_range, True),
    ("class_weights", "finite", class_weights_finite, True),
    ("heads", "beats_the_prior", head_beats_the_prior, False),
    ("validation_report", "denominator", validation_denominator, True),
    ("benchmark_report", "denominator", benchmark_denominator, True),
    ("champion", "no_worse_than_the_champion", no_worse_than_the_champion, False),
]
CONTENT_CHECKS = [
    asset_check(asset, name, question, blocking=blocking) for asset, name, question, blocking in QUESTIONS
]

"""Each check of content holds for what was made, and does not for what was spoilt."""

import json

import numpy as np
import pytest

from geoloc_core.evaluation.predictions import read_predictions, write_predictions
from geoloc_core.features.backbones import backbone
from geoloc_core.features.checkpoints import open_checkpoint
from geoloc_core.features.shards import read_shard, write_shard
from geoloc_core.line.artifacts import partitions
from geoloc_core.line.project import Project
from geoloc_core.photos.rows import read_rows, write_rows
from geoloc_dagster.checks import Question, answer, content

HEAD = "clip.linear.country.thesis"
SHARD = "sample-01"
VECTORS = f"tiny-vit|{SHARD}"


def fault(check: Question, project: Project, partition: str = "") -> str:
    return answer(check, project, partition).fault


@pytest.mark.parametrize(
    ("check", "partition"),
    [
        (content.raw_photos_complete, SHARD),
        (content.images_complete, SHARD),
        (content.labeled_photos_complete, SHARD),
        (content.training_photos_complete, ""),
        (content.class_distribution_complete, ""),
        (content.authors_disjoint, ""),
        (content.no_benchmark_author, ""),
        (content.embeddings_complete, VECTORS),
        (content.embeddings_in_range, VECTORS),
        (content.class_weights_finite, "country"),
        (content.validation_denominator, HEAD),
        (content.benchmark_denominator, f"bench-a|{HEAD}"),
        (content.no_worse_than_the_champion, ""),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_was_made_holds(made_project: Project, check: Question, partition: str) -> None:
    assert fault(check, made_project, partition) == ""


@pytest.mark.parametrize("asset", content.CONTRACTS)
def test_a_table_fits_its_schema(made_project: Project, asset: str) -> None:
    for key in partitions(made_project.profile, asset):
        assert fault(content.contract(asset), made_project, key) == ""


def test_who_is_on_both_sides_of_the_split_or_in_a_benchmark_is_named(copy: Project) -> None:
    warehouse = copy.warehouse()
    photos = warehouse.read_table("training_photos")
    both = photos.copy()
    learner = both.index[(both["split"] == "train") & (both["author_id"] != "")][0]
    both.loc[both.index[both["split"] == "validation"][0], "author_id"] = both.loc[learner, "author_id"]
    warehouse.replace_table("training_photos", both)
    assert "1 authors are on both sides" in fault(content.authors_disjoint, copy)

    benchmark = warehouse.read_table("labeled_photos", {"shard": "bench-a"})
    author = next(name for name in benchmark["author_id"] if name)
    warehouse.replace_table("training_photos", photos.assign(author_id=[author, *photos["author_id"].iloc[1:]]))
    sentence = "1 authors and 0 photos of the benchmarks are in training"
    assert sentence in fault(content.no_benchmark_author, copy)


def test_photos_that_vanish_are_missed(copy: Project) -> None:
    warehouse = copy.warehouse()
    warehouse.replace_table("training_photos", warehouse.read_table("training_photos").iloc[1:])
    assert "photos are not the" in fault(content.training_photos_complete, copy)
    assert "photos are counted and" in fault(content.class_distribution_complete, copy)
    labeled = warehouse.read_table("labeled_photos", {"shard": SHARD})
    warehouse.replace_shard("labeled_photos", SHARD, labeled.iloc[1:])
    sentence = f"{len(labeled)} photos went in and {len(labeled) - 1} came out"
    assert sentence in fault(content.labeled_photos_complete, copy, SHARD)
    write_rows(read_rows(copy.layout.images(SHARD)).iloc[1:], copy.layout.images(SHARD))
    assert "not all the same" in fault(content.images_complete, copy, SHARD)


def test_embeddings_that_are_missing_or_no_numbers_are_refused(copy: Project) -> None:
    path = copy.layout.embeddings("tiny-vit", SHARD)
    identity = open_checkpoint(backbone("tiny-vit"), copy.checkpoints).identity
    block, _ = read_shard(path)
    first = int(np.flatnonzero(block.ok)[0])
    for value, words in ((np.nan, "1 vectors hold NaN or infinity"), (0.0, "lengths reach from 0 to")):
        block.vectors[first] = value
        write_shard(path, block, identity)
        assert words in fault(content.embeddings_in_range, copy, VECTORS)
    block.status[first] = "encoder_failed"
    write_shard(path, block, identity)
    usable = int((read_rows(copy.layout.images(SHARD))["status"] == "ok").sum())
    assert fault(content.embeddings_complete, copy, VECTORS) == f"{usable - 1} vectors for {usable} usable pictures"


def test_class_weights_and_heads_that_learned_nothing_are_named(copy: Project) -> None:
    path = copy.layout.class_weights("country")
    table = read_rows(path)
    for value in (np.inf, 0.0, np.nan):
        write_rows(table.assign(inverse=[value, *table["inverse"].iloc[1:]]), path)
        assert "a weight is not a positive number" in fault(content.class_weights_finite, copy, "country")

    path = copy.layout.head(HEAD) / "head.json"
    described = json.loads(path.read_text())
    for loss, words in ((0.01, ""), (99.0, "the head's log loss 99.000 is not below the prior's")):
        described["calibration"]["nll"] = loss
        path.write_text(json.dumps(described))
        assert fault(content.head_beats_the_prior, copy, HEAD).startswith(words)
        assert bool(fault(content.head_beats_the_prior, copy, HEAD)) == bool(words)


def test_a_photo_that_is_not_in_the_denominator_is_missed(copy: Project) -> None:
    for check, key, folder in (
        (content.validation_denominator, HEAD, copy.layout.validation_report(HEAD)),
        (content.benchmark_denominator, f"bench-a|{HEAD}", copy.layout.benchmark_report(HEAD, "bench-a")),
    ):
        predictions = read_predictions(folder / "predictions.parquet")
        write_predictions(folder / "predictions.parquet", predictions.iloc[1:])
        assert f"{len(predictions) - 1} predictions do not name the {len(predictions)} " in fault(check, copy, key)


def test_heads_that_became_worse_than_the_champion_are_named(copy: Project) -> None:
    decision = {"experiment": "old", "opponent": "old", "challenger": "new", "metric": "accuracy", "accepted": True}
    for high, words in ((0.5, ""), (-1.0, "new is worse than the champion old in accuracy: -3.0 [-5.0, -1.0]")):
        gain = {"value": -3.0, "low": -5.0, "high": high}
        copy.layout.champion_decision.write_text(json.dumps([{**decision, "reasons": [], "gain": gain}]))
        assert fault(content.no_worse_than_the_champion, copy) == words
    copy.layout.champion_decision.write_text(json.dumps([{"accepted": True}]))
    assert "champion.json cannot be read" in fault(content.no_worse_than_the_champion, copy)


def test_a_delivery_is_compared_with_the_one_before_and_has_pages(made_project: Project) -> None:
    before = [content.previous_shard(made_project, shard) for shard in ("sample-00", "sample-02", "bench-a")]
    assert before == ["", "sample-01", ""]
    verdict = content.delivery_as_expected(made_project, "sample-01")
    assert any("drift" in name for name in verdict.figures)
    assert (made_project.layout.data_docs / "sample-01" / "index.html").is_file()


def test_what_cannot_be_read_does_not_hold(copy: Project) -> None:
    copy.layout.raw_photos("sample-00").write_bytes(b"no parquet")
    assert "cannot be read" in fault(content.delivery_is_not_garbage, copy, "sample-00")

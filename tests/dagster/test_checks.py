"""Each check of content holds for what was made, and does not for what was spoilt."""

import json

import numpy as np
import pandas as pd

from geoloc_core.evaluation.predictions import read_predictions, write_predictions
from geoloc_core.features.backbones import backbone
from geoloc_core.features.checkpoints import open_checkpoint
from geoloc_core.features.shards import read_shard, write_shard
from geoloc_core.line.project import Project
from geoloc_core.photos.rows import read_rows, write_rows
from geoloc_dagster.checks import Question, answer
from geoloc_dagster.checks.content import (
    authors_disjoint,
    benchmark_denominator,
    class_distribution_contract,
    class_weights_finite,
    embeddings_complete,
    embeddings_in_range,
    head_beats_the_prior,
    images_contract,
    labeled_photos_contract,
    no_benchmark_author,
    no_worse_than_the_champion,
    training_photos_contract,
    validation_denominator,
)

HEAD = "clip.linear.country.thesis"
SHARD = "sample-01"


def wrong(check: Question, project: Project, partition: str = "") -> str:
    return answer(check, project, partition).fault


def change_training(project: Project, change) -> None:
    warehouse = project.warehouse()
    warehouse.replace_table("training_photos", change(warehouse.read_table("training_photos")))


def test_nobody_is_on_both_sides_of_the_split(copy: Project) -> None:
    assert wrong(authors_disjoint, copy) == ""

    def spoil(photos: pd.DataFrame) -> pd.DataFrame:
        learner = photos.index[(photos["split"] == "train") & (photos["author_id"] != "")][0]
        judged = photos.index[photos["split"] == "validation"][0]
        photos.loc[judged, "author_id"] = photos.loc[learner, "author_id"]
        return photos

    change_training(copy, spoil)
    assert "1 authors are on both sides" in wrong(authors_disjoint, copy)


def test_nobody_of_a_benchmark_is_learned_from(copy: Project) -> None:
    assert wrong(no_benchmark_author, copy) == ""
    benchmark = copy.warehouse().read_table("labeled_photos", {"shard": "bench-a"})
    author = next(name for name in benchmark["author_id"] if name)
    change_training(copy, lambda photos: photos.assign(author_id=[author, *photos["author_id"].iloc[1:]]))
    assert "1 authors and 0 photos of the benchmarks are in training" in wrong(no_benchmark_author, copy)


def test_photos_that_vanish_are_missed(copy: Project) -> None:
    for check, partition in (
        (labeled_photos_contract, SHARD), (images_contract, SHARD), (training_photos_contract, ""),
        (class_distribution_contract, ""),
    ):  # fmt: skip
        assert wrong(check, copy, partition) == ""
    change_training(copy, lambda photos: photos.iloc[1:])
    assert "photos are not the" in wrong(training_photos_contract, copy)
    assert "photos are counted and" in wrong(class_distribution_contract, copy)
    labeled = copy.warehouse().read_table("labeled_photos", {"shard": SHARD})
    copy.warehouse().replace_shard("labeled_photos", SHARD, labeled.iloc[1:])
    assert f"{len(labeled)} photos went in and {len(labeled) - 1} came out" in wrong(
        labeled_photos_contract, copy, SHARD
    )
    manifest = read_rows(copy.layout.images(SHARD))
    write_rows(manifest.iloc[1:], copy.layout.images(SHARD))
    assert "not all the same" in wrong(images_contract, copy, SHARD)


def test_embeddings_that_are_missing_or_no_numbers_are_refused(copy: Project) -> None:
    key, path = f"tiny-vit|{SHARD}", copy.layout.embeddings("tiny-vit", SHARD)
    identity = open_checkpoint(backbone("tiny-vit"), copy.checkpoints).identity
    assert wrong(embeddings_complete, copy, key) == wrong(embeddings_in_range, copy, key) == ""
    block, _ = read_shard(path)
    first = int(np.flatnonzero(block.ok)[0])
    for value, said in ((np.nan, "1 vectors hold NaN or infinity"), (0.0, "lengths reach from 0 to")):
        block.vectors[first] = value
        write_shard(path, block, identity)
        assert said in wrong(embeddings_in_range, copy, key)
    block.status[first] = "encoder_failed"
    write_shard(path, block, identity)
    usable = int((read_rows(copy.layout.images(SHARD))["status"] == "ok").sum())
    assert wrong(embeddings_complete, copy, key) == f"{usable - 1} vectors for {usable} usable pictures"


def test_class_weights_are_positive_numbers(copy: Project) -> None:
    path = copy.layout.class_weights("country")
    assert wrong(class_weights_finite, copy, "country") == ""
    table = read_rows(path)
    for value in (np.inf, 0.0, np.nan):
        write_rows(table.assign(inverse=[value, *table["inverse"].iloc[1:]]), path)
        assert "a weight is not a positive number" in wrong(class_weights_finite, copy, "country")


def test_a_head_that_learned_nothing_is_told(copy: Project) -> None:
    path = copy.layout.head(HEAD) / "head.json"
    described = json.loads(path.read_text())
    for loss, good in ((0.01, True), (99.0, False)):
        described["calibration"]["nll"] = loss
        path.write_text(json.dumps(described))
        assert (wrong(head_beats_the_prior, copy, HEAD) == "") == good
    assert "the head's log loss 99.000 is not below the prior's" in wrong(head_beats_the_prior, copy, HEAD)


def test_a_photo_that_is_not_in_the_denominator_is_missed(copy: Project) -> None:
    reports = (
        (validation_denominator, HEAD, copy.layout.validation_report(HEAD)),
        (benchmark_denominator, f"bench-a|{HEAD}", copy.layout.benchmark_report(HEAD, "bench-a")),
    )
    for check, key, folder in reports:
        assert wrong(check, copy, key) == ""
        predictions = read_predictions(folder / "predictions.parquet")
        write_predictions(folder / "predictions.parquet", predictions.iloc[1:])
        assert f"{len(predictions) - 1} predictions do not name the {len(predictions)} " in wrong(check, copy, key)


def test_heads_that_became_worse_than_the_champion_are_told(copy: Project) -> None:
    assert wrong(no_worse_than_the_champion, copy) == ""
    decision = {"experiment": "old", "opponent": "old", "challenger": "new", "metric": "accuracy"}
    for high, said in ((0.5, ""), (-1.0, "new is worse than the champion old in accuracy: -3.0 [-5.0, -1.0]")):
        gain = {"value": -3.0, "low": -5.0, "high": high}
        copy.layout.champion_decision.write_text(json.dumps([{**decision, "gain": gain}]))
        assert wrong(no_worse_than_the_champion, copy) == said

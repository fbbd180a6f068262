"""How good each head is, and compared with what; the tables, the report, and the champion."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from geoloc_core.answers.answer import Answerer
from geoloc_core.answers.kinds import NEAREST_ANSWER
from geoloc_core.errors import StaleArtifactError
from geoloc_core.evaluation.certainty import certainty
from geoloc_core.evaluation.evaluate import VALIDATION, evaluate
from geoloc_core.evaluation.predictions import bootstrap_units, continents, predictions_frame, write_predictions
from geoloc_core.features.shards import shard_metadata
from geoloc_core.geography.boundaries import read_boundaries
from geoloc_core.geography.cells import ROOT, id_column
from geoloc_core.learning.head_files import load_head, read_references
from geoloc_core.learning.posterior import Head
from geoloc_core.line.inputs import picture_status, read_blocks, read_places
from geoloc_core.line.layout import Layout
from geoloc_core.line.promotion import choose_champion, pack_head
from geoloc_core.line.results import write_results
from geoloc_core.line.steps import Job, Markdown, Output, files_version
from geoloc_core.storage import write_json


def validation_report(job: Job) -> Output:
    """One experiment on the validation photos, whose authors it never learned from: every prediction, the scores of
    Table 2, and how well the head's promises of certainty hold; and the head, packed so that it answers by
    itself and logged in MLflow as a model.
    """
    photos = job.project.warehouse().read_table("training_photos", {"split": "validation"})
    folder, shards = job.layout.validation_report(job.key), job.profile.training_shards()
    report = _report(job, job.key, VALIDATION, photos, shards, folder)
    packed = pack_head(job.profile, job.layout, job.key, job.layout.packed_head(job.key))
    return Output(report.version, [*report.files, *packed.files], facts=report.facts)


def benchmark_report(job: Job) -> Output:
    """One experiment on one benchmark: every photo of it counts, those without a picture as wrong."""
    benchmark, key = job.key.split("|")
    photos = job.project.warehouse().read_table("labeled_photos", {"shard": benchmark})
    return _report(job, key, benchmark, photos, (benchmark,), job.layout.benchmark_report(key, benchmark))


def _report(job: Job, key: str, name: str, photos: pd.DataFrame, shards: tuple[str, ...], folder: Path) -> Output:
    """An experiment's predictions of `photos`, which lie in `shards`, their scores, and what its promises are worth."""
    if photos.empty:
        raise StaleArtifactError(f"{name} has no photo to report on; look at the rejected rows of {', '.join(shards)}")
    layout, answer = job.layout, job.profile.answer_of(key)
    head = load_head(layout.head(key))
    _check_versions(layout, head, shards)
    blocks, present = read_blocks(layout, job.profile.backbones_of(key), shards, photos, keep=name == VALIDATION)
    references = read_references(layout.head(key), head) if answer == NEAREST_ANSWER else None
    answers = Answerer(head, read_places(layout), answer, references=references).answers(blocks)
    predictions = predictions_frame(
        photos,
        answers.country_posterior,
        answers.countries,
        answers.points,
        continents=continents(read_boundaries(layout.regions)),
        status=picture_status(layout, photos, present),
        predicted_cells=answers.predicted_cells,
    )
    evaluation = evaluate(key, predictions, photos=name).to_json()
    files = [folder / "predictions.parquet", folder / "evaluation.json"]
    write_predictions(files[0], predictions)
    write_json(files[1], evaluation)
    if present.any():
        truth, authors = predictions[id_column(ROOT)].to_numpy(object), bootstrap_units(predictions)
        before = answers.best_before, answers.probability_before
        promises = certainty(head, answers.country_posterior, before, truth, authors, present)
        files.append(folder / "certainty.json")
        write_json(files[-1], promises.model_dump())
    # Scores plot over partitions; one that does not exist is left out.
    scores = {metric: float(value) for metric, value in evaluation["scores"].items() if value is not None}
    return Output(files_version(files), files, facts={"rows": len(predictions), **scores})


def _check_versions(layout: Layout, head: Head, shards: tuple[str, ...]) -> None:
    """A head answers only for vectors of the very checkpoints that it was trained on."""
    for feature in head.features:
        for shard in shards:
            path = layout.embeddings(feature["backbone"], shard)
            if shard_metadata(path)["identity"]["version"] != feature["version"]:
                raise StaleArtifactError(
                    f"{path} was made by another checkpoint of {feature['backbone']} than the head was trained on; "
                    "`geoloc refresh` brings the two together"
                )


def results(job: Job) -> Output:
    """Tables 1, 2 and 3 beside the class prior, the best constant point, a random photo and zero-shot CLIP; maps; the
    HTML report.
    """
    written = write_results(job.profile, job.layout, job.project.warehouse(), job.project.checkpoints)
    facts = {
        "report": written.report,
        "experiments": len(job.profile.experiments),
        **{name: Markdown(text) for name, text in written.tables.items()},
        **{file.stem: file.read_bytes() for file in written.files if file.stem.startswith("map_errors")},
    }
    return Output(files_version(written.files), written.files, facts=facts)


def champion(job: Job) -> Output:
    """The head that answers for new photos, packed with all it needs except the backbones' weights, registered in
    MLflow under the alias `champion`. The best head on the validation photos challenges it; it moves only if
    that one is better beyond its interval and loses on no continent more than a margin. Why is recorded in
    champion.json.
    """
    choice = choose_champion(job.profile, job.layout, job.project.warehouse())
    packed = choice.packed
    facts = {
        "experiment": packed.experiment,
        "companion": packed.companion,
        "accepted": choice.accepted,
        "why": Markdown("\n".join(f"- {reason}" for reason in choice.decision["reasons"])),
        "decision": choice.decision,
    }
    return Output(files_version(packed.files), [*packed.files, job.layout.champion_decision], facts=facts)

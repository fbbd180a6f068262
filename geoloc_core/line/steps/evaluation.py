"""How good each head is, and compared with what; the tables, the report, and the champion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from geoloc_core.line.experiments import report_benchmark, report_validation
from geoloc_core.line.promotion import choose_champion, pack_head
from geoloc_core.line.steps import Job, Markdown, Output, files_version
from geoloc_core.storage import read_json


def validation_report(job: Job) -> Output:
    """Predictions and scores of an experiment on the validation photos, and the head packed."""
    files = report_validation(job.profile, job.layout, job.project.warehouse(), job.key)
    packed = pack_head(job.profile, job.layout, job.key, job.layout.packed_head(job.key))
    facts = _scores(job.layout.validation_report(job.key), files)
    return Output(files_version(files), [*files, *packed.files], facts=facts)


def benchmark_report(job: Job) -> Output:
    """Predictions and scores of an experiment on a benchmark."""
    benchmark, key = job.key.split("|")
    files = report_benchmark(job.profile, job.layout, job.project.warehouse(), key, benchmark)
    return Output(files_version(files), files, facts=_scores(job.layout.benchmark_report(key, benchmark), files))


def _scores(folder: Path, files: list[Path]) -> dict[str, Any]:
    """Rows, and scores that plot over partitions; a score that does not exist is left out."""
    scores = read_json(folder / "evaluation.json")["scores"]
    rows = sum(pq.read_metadata(file).num_rows for file in files if file.suffix == ".parquet")
    return {"rows": rows, **{name: float(value) for name, value in scores.items() if value is not None}}


def results(job: Job) -> Output:
    """Tables, maps and the report."""
    from geoloc_core.line.results import write_results

    written = write_results(job.profile, job.layout, job.project.warehouse(), job.project.checkpoints)
    facts = {
        "report": written.report,
        "experiments": len(job.profile.experiments),
        **{name: Markdown(text) for name, text in written.tables.items()},
        **{file.stem: file.read_bytes() for file in written.files if file.stem.startswith("map_errors")},
    }
    return Output(files_version(written.files), written.files, facts=facts)


def champion(job: Job) -> Output:
    """Let the best head challenge the champion, and pack the one that answers."""
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

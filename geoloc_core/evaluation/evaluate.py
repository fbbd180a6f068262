"""One predictions frame, scored: a figure and an interval for every metric, in a form that is kept as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import pandas as pd
import pydantic

from geoloc_core.errors import InputError
from geoloc_core.evaluation.comparison import verdicts
from geoloc_core.evaluation.intervals import Bootstrap, Figure, Interval, bootstrap, intervals
from geoloc_core.evaluation.metrics import score

KINDS = ("experiment", "baseline", "ceiling", "published")
VALIDATION = "validation"


@pydantic.dataclasses.dataclass(frozen=True)
class Evaluation:
    """One row of a table.

    name: the experiment's key, or the name of a baseline; kind: one of `KINDS`; photos: "validation" or a benchmark's name;
    scores: as `metrics.score` gives them; intervals: by metric of `metrics.DEFINITIONS`, empty for published figures;
    n_authors, n_resamples: how many authors were drawn for the intervals, and how often; verdicts: for each metric "best",
    "tie" (with the best) or "", empty where nothing was compared.
    """

    name: str
    kind: str
    photos: str
    scores: dict[str, Figure]
    intervals: dict[str, Interval]
    n_authors: int = 0
    n_resamples: int = 0
    verdicts: dict[str, str] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values for `storage.write_json`; a figure that does not exist (NaN) is null."""
        return json.loads(pydantic.TypeAdapter(Evaluation).dump_json(self))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Evaluation:
        """What `to_json` gave."""
        return pydantic.TypeAdapter(cls).validate_python(value)


@dataclasses.dataclass(frozen=True)
class PhotoSet:
    """Predictions over the same photos, by name."""

    experiments: dict[str, pd.DataFrame]
    baselines: dict[str, pd.DataFrame]
    ceilings: dict[str, pd.DataFrame]


def evaluate(
    name: str, predictions: pd.DataFrame, photos: str = VALIDATION, kind: str = KINDS[0], boot: Bootstrap | None = None
) -> Evaluation:
    """Score predictions and put an interval around each metric; give `boot` if the bootstrap was made already."""
    boot = boot or bootstrap(predictions)
    return Evaluation(name, kind, photos, score(predictions), intervals(boot), boot.n_authors, len(boot.values))


def evaluate_set(
    photos: str,
    experiments: Mapping[str, pd.DataFrame],
    baselines: Mapping[str, pd.DataFrame] | None = None,
    ceilings: Mapping[str, pd.DataFrame] | None = None,
) -> list[Evaluation]:
    """Score predictions (by name) of the same photos; of experiments and baselines say which is best, which tie with it."""
    kinds = {"experiment": experiments, "baseline": baselines or {}, "ceiling": ceilings or {}}
    rows = [(kind, name, frame) for kind, frames in kinds.items() for name, frame in frames.items()]
    boots = [bootstrap(frame) for _, _, frame in rows]
    competing = {name: boot for (kind, name, _), boot in zip(rows, boots, strict=True) if kind != "ceiling"}
    if not competing:
        raise InputError(f"there is no answer for the photos of {photos!r}; give the predictions of an experiment")
    compared = verdicts(competing)
    return [
        dataclasses.replace(evaluate(name, frame, photos=photos, kind=kind, boot=boot), verdicts=compared.get(name, {}))
        for (kind, name, frame), boot in zip(rows, boots, strict=True)
    ]

"""One head to be trained: what every way of training needs, and what every way of training ends with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from geoloc_core.learning import calibrate, conformal
from geoloc_core.learning.batches import RowReader, join
from geoloc_core.learning.data import Parts, TrainingData
from geoloc_core.learning.heads import FusionHead, build_head
from geoloc_core.learning.objective import Objective, build_objective
from geoloc_core.learning.posterior import Head
from geoloc_core.learning.recipes import HeadSpec, Recipe

NEVER_SURE = 2.0
SMALLEST_PROBABILITY = 1e-38
MAX_CALIBRATION_PHOTOS = 20_000
MAX_CALIBRATION_LOGITS = 20_000_000
ROWS_AT_ONCE = 512


@dataclass(frozen=True)
class TrainedHead:
    """A head and how it came about.

    history: one row for each epoch: epoch (from 1), learning_rate, train_loss, stopping_loss, stopping_accuracy.
    best_epoch: the epoch whose weights were kept. `head.calibration` says which photos decided ("stopping_source",
    "n_stopping"), what they measured with the kept weights over the head's classes ("accuracy", "nll", "ece", "brier"),
    and from which probability of a country on it belongs to the set of countries that holds the truth nine times in ten
    ("set_threshold", "set_coverage") or the answer is sure ("sure_threshold", "sure_max_risk"; 2 is never).
    """

    head: Head
    recipe: Recipe
    history: pd.DataFrame
    best_epoch: int
    seed: int


@dataclass(frozen=True)
class Task:
    """blocks: which blocks of `data` the head reads, in order; statistics: (mean, deviation) of every block of `data`,
    or none where the recipe does not standardise.
    """

    data: TrainingData
    reader: RowReader
    blocks: tuple[int, ...]
    spec: HeadSpec
    recipe: Recipe
    classes: list[str]
    parents: list[str]
    level: str
    parts: Parts
    statistics: Sequence[tuple[Tensor, Tensor]] | None
    seed: int

    @property
    def name(self) -> str:
        """For progress and messages."""
        return f"{self.spec.kind} / {self.level} / {self.recipe.name}"

    @property
    def device(self) -> torch.device:
        """Where it is computed."""
        return self.reader.device

    @property
    def block_dims(self) -> tuple[int, ...]:
        """Width of each block that the head reads."""
        return tuple(self.data.block_dims[index] for index in self.blocks)

    def labels(self) -> Tensor:
        """int64 (n,), on the device."""
        return torch.from_numpy(np.ascontiguousarray(self.data.labels, dtype=np.int64)).to(self.device)

    def joined(self, pieces: Sequence[Tensor]) -> Tensor:
        """The head's input, float32 (B, sum D), from what the reader read."""
        return join([pieces[index] for index in self.blocks], self.device)

    def objective(self) -> Objective:
        """The loss of the recipe at this level."""
        fit = self.parts.fit.numpy()
        return build_objective(self.data, self.recipe, self.parents, self.level, fit, self.seed, self.device)

    def new_module(self) -> FusionHead:
        """The head before training, on the device; the random numbers of the rest of the program stay as they are."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            module = build_head(self.spec, self.block_dims, len(self.classes))
        if self.spec.standardise:
            assert self.statistics is not None
            assert module.standardise is not None
            mean = torch.cat([self.statistics[index][0] for index in self.blocks])
            deviation = torch.cat([self.statistics[index][1] for index in self.blocks])
            module.standardise.set_statistics(mean, deviation)
        return module.to(self.device)

    def finish(self, state: dict[str, Tensor], history: Sequence[dict[str, float]], best_epoch: int) -> TrainedHead:
        """Calibrate the head with these weights on the photos that decided when to stop."""
        counts = np.bincount(self.data.teachable_labels, minlength=len(self.classes))
        head = Head(
            spec=self.spec,
            block_dims=self.block_dims,
            state=state,
            level=self.level,
            classes=self.classes,
            parents=self.parents,
            class_counts=counts,
            logit_adjustment=self.recipe.logit_adjustment,
        )
        rows = self._calibration_rows()
        # Few rows at a time: they lie all over the matrices, and a mapped one would be wholly in memory after some thousand.
        parts = self.reader.pieces(torch.from_numpy(rows), ROWS_AT_ONCE)
        vectors = ([pieces[index].cpu().numpy() for index in self.blocks] for _, pieces in parts)
        logits = np.concatenate([head.logits(some) for some in vectors])
        labels = self.data.labels[rows]
        if self.recipe.calibrate and self.level == "country":
            head = replace(head, temperature=calibrate.fit_temperature(logits, labels))
        elif self.recipe.calibrate:
            among, within = calibrate.fit_group_temperatures(logits, labels, head.country_of_class)
            head = replace(head, temperature=among, within_temperature=within)
        calibration = {
            "stopping_source": self.parts.stopping_source,
            "n_stopping": len(self.parts.stopping),
            **self._promises(head, logits, labels, rows),
        }
        return TrainedHead(
            head=replace(head, calibration=calibration),
            recipe=self.recipe,
            history=pd.DataFrame(list(history)).astype({"epoch": "int64"}),
            best_epoch=best_epoch,
            seed=self.seed,
        )

    def _promises(self, head: Head, logits: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> dict[str, float]:
        """What these photos say of the head: figures over its classes, and thresholds over countries."""
        posterior = head.posterior_of_logits(logits, head.logit_adjustment)
        confidence, correct = calibrate.top_confidence(posterior, labels)
        by_country = head.to_countries(posterior)
        countries = head.country_of_class[labels]
        country_confidence, country_correct = calibrate.top_confidence(by_country, countries)
        authors = None if self.data.author_id is None else self.data.author_id[rows]
        # Photos that were learned from say nothing of new ones: then nothing is promised.
        fresh = self.parts.stopping_source != "training"
        at_truth = posterior[np.arange(len(rows)), labels].astype(np.float64)
        truth_probability = by_country[np.arange(len(rows)), countries]
        sure = conformal.sure_threshold(country_confidence, country_correct) if fresh else NEVER_SURE
        return {
            "n_calibration": len(rows),
            "accuracy": float(correct.mean()),
            "nll": float(-np.log(np.maximum(at_truth, SMALLEST_PROBABILITY)).mean()),
            "ece": calibrate.expected_calibration_error(confidence, correct),
            "brier": calibrate.brier_score(posterior, labels),
            "set_coverage": conformal.COVERAGE,
            "set_threshold": conformal.set_threshold(truth_probability, authors) if fresh else 0.0,
            "sure_max_risk": conformal.MAX_RISK,
            "sure_threshold": min(NEVER_SURE, sure),
        }

    def _calibration_rows(self) -> np.ndarray:
        """The stopping photos, or so many of them drawn at random that their logits stay small."""
        rows = self.parts.stopping.numpy()
        most = max(1, min(MAX_CALIBRATION_PHOTOS, MAX_CALIBRATION_LOGITS // len(self.classes)))
        if len(rows) <= most:
            return rows
        return np.sort(np.random.default_rng(self.seed).choice(rows, most, replace=False))

"""From vectors to a trained head.

The vectors are held once and read by shuffled row numbers; there is no per-photo Python. With the same data, seed, machine
and number of threads the weights are the same bit for bit.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch

from geoloc_core.devices import pick_device
from geoloc_core.errors import InputError, ProfileError
from geoloc_core.geography.cells import ROOT
from geoloc_core.learning import calibrate
from geoloc_core.learning.data import RowReader, TrainingData, mean_and_deviation, split_rows
from geoloc_core.learning.fusion import FusionHead, Standardise
from geoloc_core.learning.heads import build_head, kind_of
from geoloc_core.learning.losses import build_objective
from geoloc_core.learning.posterior import Head
from geoloc_core.learning.problem import Fit, Problem
from geoloc_core.learning.recipes import HeadSpec, Recipe
from geoloc_core.learning.weights import HIERARCHICAL, LEVELS
from geoloc_core.progress import bar

SMALLEST_PROBABILITY = 1e-38
MAX_CALIBRATION_PHOTOS = 20_000
MAX_CALIBRATION_LOGITS = 20_000_000
# Calibration photos lie all over the matrices, and a mapped one would be wholly in memory after some thousand rows.
CALIBRATION_ROWS_AT_ONCE = 512


@dataclass(frozen=True)
class TrainedHead:
    """A head and how it came about.

    recipe: as given, with the learning rate that was used. history: one row for each epoch: epoch (from 1),
    stopping_loss, stopping_accuracy, and what the kind of head adds (learning_rate and train_loss; inverse_penalty; width).
    best_epoch: the epoch whose weights were kept. `head.calibration`: see `_calibrated`.
    """

    head: Head
    recipe: Recipe
    history: pd.DataFrame
    best_epoch: int
    seed: int


def train_head(
    data: TrainingData,
    spec: HeadSpec,
    recipe: Recipe,
    classes: Sequence[str],
    *,
    level: str = ROOT,
    parents: Sequence[str] | None = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    progress: bool = True,
) -> TrainedHead:
    """Train one head on `data`.

    classes: region_id of each label (K,), as `data.encode_labels` gives them; parents: for a level below the coarsest, the
    coarsest cell that each class lies in (K,). Device "auto", "cpu" or "cuda".
    InputError when the data cannot teach these classes, or its vectors are not finite.
    """
    target = device if isinstance(device, torch.device) else pick_device(device)
    _check_classes(data, classes, level, parents)
    spec = replace(spec, standardise=recipe.standardise, fusion=recipe.fusion or spec.fusion)
    name = f"{spec.kind} / {level} / {recipe.name}"
    with _deterministic(target), bar(name, unit="step") if progress else contextlib.nullcontext() as steps:
        reader = RowReader(data.blocks, target)
        n_folds = recipe.folds if kind_of(spec).cross_validates else 0
        split = split_rows(data, recipe.held_out_share, seed, n_folds)
        with torch.random.fork_rng(devices=[]):  # the random numbers of the rest of the program stay as they are
            torch.manual_seed(seed)
            network = build_head(spec, data.block_dims, len(classes)).to(target)
        for rows in (split.stopping, split.fit):
            mean, deviation = mean_and_deviation(reader, rows)
            if not mean.isfinite().all():
                raise InputError(f"training {name}: the vectors hold values that are not numbers; embed them again")
        if isinstance(network.standardise, Standardise):
            network.standardise.set_statistics(mean, deviation)
        both = parents if level == HIERARCHICAL else None
        objective = build_objective(data, recipe, len(classes), split.fit.numpy(), both, seed, target)
        labels = torch.from_numpy(np.ascontiguousarray(data.labels, dtype=np.int64)).to(target)
        advance = steps.update if steps is not None else lambda: None
        problem = Problem(name, data, reader, labels, split, recipe, objective, seed, advance)
        fit = kind_of(spec).fit(network, problem)
        head = Head(
            spec=spec,
            block_dims=data.block_dims,
            state={name: tensor.cpu().clone() for name, tensor in network.state_dict().items()},
            level=level,
            classes=list(classes),
            parents=list(classes if parents is None else parents),
            class_counts=np.bincount(data.labels[data.training_rows], minlength=len(classes)),
            logit_adjustment=recipe.logit_adjustment,
        )
        head = _calibrated(head, network, problem, fit)
    history = pd.DataFrame(fit.history).astype({"epoch": "int64"})
    recipe = replace(recipe, learning_rate=fit.learning_rate or recipe.learning_rate)
    return TrainedHead(head, recipe, history, fit.best_epoch, seed)


def _calibrated(head: Head, network: FusionHead, problem: Problem, fit: Fit) -> Head:
    """The head with its temperatures, and what the photos that decided when to stop say of it (`Head.calibration`).

    stopping_source and n_stopping: which photos decided, and how many; n_calibration: how many of them, drawn at random,
    were used here. accuracy, nll, ece, brier: over the head's classes, with the kept weights. set_threshold: from which
    probability on a country belongs to the set that holds the truth with probability set_coverage; sure_threshold: from
    which an answer is sure, at most sure_max_risk of such being wrong (2: never).
    """
    most = max(1, min(MAX_CALIBRATION_PHOTOS, MAX_CALIBRATION_LOGITS // len(head.classes)))
    source = problem.split.stopping_source
    if fit.held_out is None:
        sample = problem.sample(problem.split.stopping, most)
        logits = problem.logits(network, sample, CALIBRATION_ROWS_AT_ONCE).cpu().numpy()
    else:  # by the fits that have not seen them: the network has
        sample, logits = fit.held_out[0], fit.held_out[1].cpu().numpy()
    rows, labels = sample.numpy(), problem.labels.cpu()[sample].numpy()
    if problem.recipe.calibrate and head.has_parents:
        among, within = calibrate.fit_group_temperatures(logits, labels, head.country_of_class)
        head = replace(head, temperature=among, within_temperature=within)
    elif problem.recipe.calibrate:
        head = replace(head, temperature=calibrate.fit_temperature(logits, labels))
    posterior = head.posterior_of_logits(logits)
    confidence, correct = calibrate.top_confidence(posterior, labels)
    by_country, countries = head.to_countries(posterior), head.country_of_class[labels]
    country_confidence, country_correct = calibrate.top_confidence(by_country, countries)
    # Photos that were learned from say nothing about new ones: then nothing is promised.
    set_threshold, sure_threshold = 0.0, calibrate.NEVER_SURE
    if source != "training":
        set_threshold = calibrate.set_threshold(
            by_country[np.arange(len(rows)), countries], problem.data.author_id[rows]
        )
        sure_threshold = min(sure_threshold, calibrate.sure_threshold(country_confidence, country_correct))
    at_truth = posterior[np.arange(len(rows)), labels].astype(np.float64)
    calibration = {
        "stopping_source": source,
        "n_stopping": len(problem.split.stopping),
        "n_calibration": len(rows),
        "accuracy": float(correct.mean()),
        "nll": float(-np.log(np.maximum(at_truth, SMALLEST_PROBABILITY)).mean()),
        "ece": calibrate.expected_calibration_error(confidence, correct),
        "brier": calibrate.brier_score(posterior, labels),
        "set_coverage": calibrate.COVERAGE,
        "set_threshold": set_threshold,
        "sure_max_risk": calibrate.MAX_RISK,
        "sure_threshold": sure_threshold,
    }
    return replace(head, calibration=calibration)


def _check_classes(data: TrainingData, classes: Sequence[str], level: str, parents: Sequence[str] | None) -> None:
    if level not in LEVELS:
        raise ProfileError(f"level {level!r} is not known; choose one of {', '.join(LEVELS)}")
    if level != ROOT and parents is None:
        raise ProfileError(f"level {level} needs the {ROOT} of each class: give parents")
    if parents is not None and len(parents) != len(classes):
        raise InputError(f"there are {len(classes)} classes, but parents for {len(parents)}")
    seen = np.unique(data.labels[data.training_rows])
    if seen[-1] >= len(classes):
        raise InputError(f"label {seen[-1]} has no class: the class list has {len(classes)} names")
    if len(seen) < len(classes):
        raise InputError(
            f"{len(classes) - len(seen)} classes have no training photo, and a class that training never saw cannot be "
            "answered; make classes and labels with encode_labels"
        )


@contextlib.contextmanager
def _deterministic(device: torch.device) -> Iterator[None]:
    """On CUDA, kernels that give the same bits every time; the CPU's do anyway."""
    before = torch.are_deterministic_algorithms_enabled()
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)

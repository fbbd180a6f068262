"""From vectors to a trained head.

The vectors are held once and read by shuffled row numbers; there is no per-photo Python. With the same data, seed, machine
and number of threads the weights are the same bit for bit.
"""

from __future__ import annotations

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
from geoloc_core.learning.data import RowReader, Split, TrainingData, mean_and_deviation, split_rows
from geoloc_core.learning.fusion import FusionHead
from geoloc_core.learning.heads import build_head, kind_of
from geoloc_core.learning.losses import build_objective
from geoloc_core.learning.posterior import Head
from geoloc_core.learning.problem import Problem
from geoloc_core.learning.recipes import HeadSpec, Recipe
from geoloc_core.learning.weights import HIERARCHICAL, LEVELS
from geoloc_core.progress import bar

__all__ = ["TrainedHead", "TrainingData", "train_head"]

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
    spec = replace(spec, standardise=recipe.standardise)
    name = f"{spec.kind} / {level} / {recipe.name}"
    with _deterministic(target), bar(name, unit="step") if progress else contextlib.nullcontext() as shown:
        reader = RowReader(data.blocks, target)
        split = split_rows(data, recipe.held_out_share, seed)
        with torch.random.fork_rng(devices=[]):  # the random numbers of the rest of the program stay as they are
            torch.manual_seed(seed)
            network = build_head(spec, data.block_dims, len(classes)).to(target)
        if network.standardise is not None:
            network.standardise.set_statistics(*mean_and_deviation(reader, split.fit))
        problem = Problem(
            name=name,
            reader=reader,
            labels=torch.from_numpy(np.ascontiguousarray(data.labels, dtype=np.int64)).to(target),
            split=split,
            recipe=recipe,
            objective=build_objective(
                data,
                recipe,
                len(classes),
                split.fit.numpy(),
                parents=parents if level == HIERARCHICAL else None,
                seed=seed,
                device=target,
            ),
            seed=seed,
            advance=shown.update if shown is not None else lambda: None,
        )
        fit = kind_of(spec).fit(network, problem)
        head = Head(
            spec=spec,
            block_dims=data.block_dims,
            state={key: tensor.cpu().clone() for key, tensor in network.state_dict().items()},
            level=level,
            classes=list(classes),
            parents=list(parents) if parents is not None else list(classes),
            class_counts=np.bincount(data.labels[data.training_rows], minlength=len(classes)),
            logit_adjustment=recipe.logit_adjustment,
        )
        head = _calibrated(head, network, data, split, reader, recipe, seed)
    history = pd.DataFrame(fit.history).astype({"epoch": "int64"})
    recipe = replace(recipe, learning_rate=fit.learning_rate or recipe.learning_rate)
    return TrainedHead(head, recipe, history, fit.best_epoch, seed)


def _calibrated(
    head: Head,
    network: FusionHead,
    data: TrainingData,
    split: Split,
    reader: RowReader,
    recipe: Recipe,
    seed: int,
) -> Head:
    """The head with its temperatures, and what the photos that decided when to stop say of it."""
    rows = _calibration_rows(split, len(head.classes), seed)
    with torch.no_grad():
        parts = [
            network(vectors).cpu().numpy()
            for _, vectors in reader.batches(torch.from_numpy(rows), CALIBRATION_ROWS_AT_ONCE)
        ]
    logits, labels = np.concatenate(parts), data.labels[rows]
    if recipe.calibrate and head.has_parents:
        among, within = calibrate.fit_group_temperatures(logits, labels, head.country_of_class)
        head = replace(head, temperature=among, within_temperature=within)
    elif recipe.calibrate:
        head = replace(head, temperature=calibrate.fit_temperature(logits, labels))
    authors = None if data.author_id is None else data.author_id[rows]
    # Photos that were learned from say nothing about new ones: then nothing is promised.
    promises = (
        calibrate.NO_PROMISES if split.stopping_source == "training" else _promises(head, logits, labels, authors)
    )
    posterior = head.posterior_of_logits(logits, head.logit_adjustment)
    confidence, correct = calibrate.top_confidence(posterior, labels)
    at_truth = posterior[np.arange(len(rows)), labels].astype(np.float64)
    measured = {
        "stopping_source": split.stopping_source,
        "n_stopping": len(split.stopping),
        "n_calibration": len(rows),
        "accuracy": float(correct.mean()),
        "nll": float(-np.log(np.maximum(at_truth, SMALLEST_PROBABILITY)).mean()),
        "ece": calibrate.expected_calibration_error(confidence, correct),
        "brier": calibrate.brier_score(posterior, labels),
        "set_coverage": calibrate.COVERAGE,
        "sure_max_risk": calibrate.MAX_RISK,
        **promises,
    }
    return replace(head, calibration=measured)


def _promises(head: Head, logits: np.ndarray, labels: np.ndarray, authors: np.ndarray | None) -> dict[str, float]:
    """Thresholds over countries, from photos that were not fitted."""
    by_country = head.to_countries(head.posterior_of_logits(logits, head.logit_adjustment))
    countries = head.country_of_class[labels]
    confidence, correct = calibrate.top_confidence(by_country, countries)
    at_truth = by_country[np.arange(len(countries)), countries]
    return {
        "set_threshold": calibrate.set_threshold(at_truth, authors),
        "sure_threshold": min(calibrate.NEVER_SURE, calibrate.sure_threshold(confidence, correct)),
    }


def _calibration_rows(split: Split, n_classes: int, seed: int) -> np.ndarray:
    """The stopping photos, or so many of them drawn at random that their logits stay small."""
    rows = split.stopping.numpy()
    most = max(1, min(MAX_CALIBRATION_PHOTOS, MAX_CALIBRATION_LOGITS // n_classes))
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def _check_classes(data: TrainingData, classes: Sequence[str], level: str, parents: Sequence[str] | None) -> None:
    if level not in LEVELS:
        raise ProfileError(f"level {level!r} is not known; choose one of {', '.join(LEVELS)}")
    if level != ROOT and parents is None:
        raise ProfileError(f"level {level} needs the {ROOT} of each class: give parents")
    if parents is not None and len(parents) != len(classes):
        raise InputError(f"there are {len(classes)} classes, but parents for {len(parents)}")
    counts = np.bincount(data.labels[data.training_rows], minlength=len(classes))
    if len(counts) > len(classes):
        raise InputError(f"label {len(counts) - 1} has no class: the class list has {len(classes)} names")
    if (counts == 0).any():
        unseen = [classes[index] for index in np.flatnonzero(counts == 0)[:5]]
        raise InputError(
            f"{int((counts == 0).sum())} classes have no training photo ({', '.join(unseen)}...): a class that training "
            "never saw cannot be answered; make classes and labels with encode_labels"
        )


@contextlib.contextmanager
def _deterministic(device: torch.device) -> Iterator[None]:
    """On CUDA, kernels that give the same bits every time; the CPU's do anyway."""
    if device.type != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)

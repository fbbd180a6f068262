"""From vectors to a trained head.

The matrices are held once and read by shuffled row numbers; there is no per-photo Python. Several heads can be trained
from one reading of the data. With the same data, seed, machine and number of threads the weights are the same bit for
bit.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from geoloc_core.devices import pick_device
from geoloc_core.errors import InputError, ProfileError
from geoloc_core.learning import calibrate
from geoloc_core.learning.batches import RowReader, mean_and_deviation
from geoloc_core.learning.data import Parts, TrainingData, divide
from geoloc_core.learning.heads import FusionHead, build_head
from geoloc_core.learning.objective import Objective, build_objective
from geoloc_core.learning.posterior import Head
from geoloc_core.learning.recipes import HeadSpec, Recipe
from geoloc_core.learning.schedules import Pace
from geoloc_core.learning.weights import LEVELS
from geoloc_core.progress import bar


@dataclass(frozen=True)
class TrainedHead:
    """A head and how it came about.

    history: one row for each epoch: epoch (from 1), learning_rate, train_loss, stopping_loss, stopping_accuracy.
    best_epoch: the epoch whose weights were kept. `head.calibration` says which photos decided ("stopping_source",
    "n_stopping") and what they measured with the kept weights ("accuracy", "nll", "ece", "brier").
    """

    head: Head
    recipe: Recipe
    history: pd.DataFrame
    best_epoch: int
    seed: int


def train_head(
    data: TrainingData,
    head_spec: HeadSpec,
    recipe: Recipe,
    classes: Sequence[str],
    *,
    level: str = "country",
    parents: Sequence[str] | None = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    progress: bool = True,
) -> TrainedHead:
    """Train one head on `data`.

    classes: region_id of each label (K,), as `data.encode_labels` gives them; parents: the country of each class,
    needed for the levels "subdivision" and "hierarchical". Device "auto", "cpu" or "cuda".
    InputError when the data cannot teach these classes, or training diverges.
    """
    target = device if isinstance(device, torch.device) else pick_device(device)
    _check_classes(data, classes, level, parents)
    parts = divide(data, recipe.held_out_share, seed)
    with _deterministic(target):
        training = _Training(data, head_spec, recipe, classes, level, parents, parts, seed, target)
        with _progress(f"{head_spec.kind} / {level} / {recipe.name}", training.pace.total_steps, progress) as advance:
            while not training.finished:
                for rows in training.shuffled_batches():
                    training.step(training.reader.joined(rows), rows)
                    advance()
                training.end_epoch()
        return training.result()


class _Training:
    """One head in the making."""

    def __init__(
        self,
        data: TrainingData,
        head_spec: HeadSpec,
        recipe: Recipe,
        classes: Sequence[str],
        level: str,
        parents: Sequence[str] | None,
        parts: Parts,
        seed: int,
        device: torch.device,
    ) -> None:
        self.data, self.recipe, self.parts, self.seed, self.device = data, recipe, parts, seed, device
        self.classes, self.level = list(classes), level
        self.parents = list(parents) if parents is not None else list(classes)
        self.spec = replace(head_spec, standardise=recipe.standardise)
        self.reader = RowReader(data.blocks, device)
        self.labels = torch.from_numpy(np.ascontiguousarray(data.labels, dtype=np.int64)).to(device)
        self.objective: Objective = build_objective(data, recipe, self.parents, level, parts.fit, seed, device)
        self.module = self._new_module()
        self.optimiser = _optimiser(self.module, recipe)
        self.pace = Pace(recipe, n_rows=len(parts.fit))
        self.shuffler = torch.Generator().manual_seed(seed)
        self.fit_rows = torch.from_numpy(parts.fit)
        self.loss_sum = torch.zeros((), device=device)
        self.history: list[dict[str, float]] = []
        self.best_state: dict[str, Tensor] = {}
        self.n_steps = 0

    @property
    def finished(self) -> bool:
        return self.pace.finished

    def shuffled_batches(self) -> Iterator[Tensor]:
        """The row numbers of one epoch, in a fresh order, cut into batches."""
        order = self.fit_rows[torch.randperm(len(self.fit_rows), generator=self.shuffler)]
        yield from order.split(self.recipe.batch_size)

    def step(self, joined: Tensor, rows: Tensor) -> None:
        """One batch: joined float32 (B, sum D), rows (B,)."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.pace.learning_rate(self.n_steps)
        self.optimiser.zero_grad(set_to_none=True)
        rows = rows.to(self.device)
        loss = self.objective(self.module(joined), self.labels[rows], rows)
        loss.backward()
        self.optimiser.step()
        self.loss_sum += loss.detach() * len(rows)
        self.n_steps += 1

    def end_epoch(self) -> None:
        """Judge the epoch on the stopping photos and keep its weights if it is the best so far."""
        train_loss = self.loss_sum.item() / len(self.parts.fit)
        self.loss_sum.zero_()
        if not np.isfinite(train_loss):
            raise InputError(
                f"training diverged in epoch {len(self.history) + 1} (recipe {self.recipe.name}): the vectors hold "
                "values that are not numbers, or are far too large; look at the embeddings, or standardise them"
            )
        logits, labels = self._stopping_logits()
        loss = self.objective.judge(logits, labels)
        self.history.append(
            {
                "epoch": len(self.history) + 1,
                "learning_rate": self.pace.learning_rate(self.n_steps - 1),
                "train_loss": train_loss,
                "stopping_loss": loss,
                "stopping_accuracy": float((logits.argmax(dim=1) == labels).double().mean()),
            }
        )
        if self.pace.end_epoch(loss):
            self.best_state = {name: tensor.detach().cpu().clone() for name, tensor in self.module.state_dict().items()}

    def result(self) -> TrainedHead:
        self.module.load_state_dict(self.best_state)
        logits, labels = (part.cpu().numpy() for part in self._stopping_logits())
        counts = np.bincount(self.data.teachable_labels, minlength=len(self.classes))
        temperature = calibrate.fit_temperature(logits, labels) if self.recipe.calibrate else 1.0
        head = Head(
            spec=self.spec,
            block_dims=self.data.block_dims,
            state=self.best_state,
            level=self.level,
            classes=self.classes,
            parents=self.parents,
            class_counts=counts,
            temperature=temperature,
            logit_adjustment=self.recipe.logit_adjustment,
        )
        posterior = head.posterior_of_logits(logits)
        confidence, correct = calibrate.top_confidence(posterior, labels)
        calibration = {
            "stopping_source": self.parts.stopping_source,
            "n_stopping": len(labels),
            "accuracy": float(correct.mean()),
            "nll": calibrate.negative_log_likelihood(logits / temperature, labels),
            "ece": calibrate.expected_calibration_error(confidence, correct),
            "brier": calibrate.brier_score(posterior, labels),
        }
        return TrainedHead(
            head=replace(head, calibration=calibration),
            recipe=self.recipe,
            history=pd.DataFrame(self.history).astype({"epoch": "int64"}),
            best_epoch=self.pace.best_epoch,
            seed=self.seed,
        )

    @torch.no_grad()
    def _stopping_logits(self) -> tuple[Tensor, Tensor]:
        chunks = [self.module(joined) for _, joined in self.reader.chunks(self.parts.stopping)]
        return torch.cat(chunks), self.labels[torch.from_numpy(self.parts.stopping).to(self.device)]

    def _new_module(self) -> FusionHead:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            module = build_head(self.spec, self.data.block_dims, len(self.classes))
        assert isinstance(module, FusionHead)
        if module.standardise is not None:
            mean, deviation = mean_and_deviation(self.reader, self.parts.fit)
            module.standardise.set_statistics(mean.cpu(), deviation.cpu())
        return module.to(self.device)


def _optimiser(module: torch.nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(
            module.parameters(),
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(
            module.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
        )
    raise ProfileError(f"optimiser {recipe.optimiser!r} is not known; choose sgd or adamw")


def _check_classes(data: TrainingData, classes: Sequence[str], level: str, parents: Sequence[str] | None) -> None:
    if level not in LEVELS:
        raise ProfileError(f"level {level!r} is not known; choose one of {', '.join(LEVELS)}")
    if level != "country" and parents is None:
        raise ProfileError(f"level {level} needs the country of each class: give parents")
    if parents is not None and len(parents) != len(classes):
        raise InputError(f"there are {len(classes)} classes, but parents for {len(parents)}")
    counts = np.bincount(data.teachable_labels, minlength=len(classes))
    if len(counts) > len(classes):
        raise InputError(f"label {len(counts) - 1} has no class: the class list has {len(classes)} names")
    if (counts == 0).any():
        never = [classes[index] for index in np.flatnonzero(counts == 0)[:5]]
        raise InputError(
            f"{int((counts == 0).sum())} classes have no training photo ({', '.join(never)}...): a class that training "
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


@contextlib.contextmanager
def _progress(what: str, total: int, shown: bool) -> Iterator:
    if not shown:
        yield lambda: None
        return
    with bar(what, total=total, unit="batch") as shown_bar:
        yield shown_bar.update

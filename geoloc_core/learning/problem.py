"""What a way of training is handed, and what it hands back: the same for every kind of head."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geoloc_core.learning.data import RowReader, Split
from geoloc_core.learning.fusion import FusionHead
from geoloc_core.learning.losses import Objective
from geoloc_core.learning.recipes import Recipe


@dataclass(frozen=True)
class Problem:
    """A head to be fitted. labels: int64 (n,) on the device, -1 for no class; advance: to be called after each step."""

    name: str
    reader: RowReader
    labels: Tensor
    split: Split
    recipe: Recipe
    objective: Objective
    seed: int
    advance: Callable[[], object]

    @torch.no_grad()
    def measure(self, network: FusionHead) -> dict[str, float]:
        """stopping_loss and stopping_accuracy: means over the photos that decide when to stop."""
        loss, n_correct = torch.zeros((2, 1), dtype=torch.float64, device=self.labels.device)
        for rows, vectors in self.reader.batches(self.split.stopping):
            logits, labels = network(vectors), self.labels[rows.to(self.labels.device)]
            loss += self.objective.stopping_loss(logits, labels)
            n_correct += (logits.argmax(dim=1) == labels).sum()
        n = len(self.split.stopping)
        return {"stopping_loss": loss.item() / n, "stopping_accuracy": n_correct.item() / n}

    def sample(self, rows: Tensor, most: int) -> Tensor:
        """At most `most` of `rows`, drawn by the seed, ascending."""
        if len(rows) <= most:
            return rows
        return rows[torch.from_numpy(np.sort(np.random.default_rng(self.seed).choice(len(rows), most, replace=False)))]


@dataclass(frozen=True)
class Fit:
    """How fitting went. history: one row for each epoch (or penalty, or width), with what `Problem.measure` gives;
    best_epoch: the row (from 1) whose weights the network holds; learning_rate: the one that was used, or 0.
    """

    history: list[dict[str, float]]
    best_epoch: int
    learning_rate: float = 0.0

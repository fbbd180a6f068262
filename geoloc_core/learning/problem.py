"""What a way of training is handed, and what it hands back: the same for every kind of head."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geoloc_core.learning.data import ROWS_AT_ONCE, RowReader, Split, TrainingData
from geoloc_core.learning.fusion import FusionHead
from geoloc_core.learning.losses import Objective
from geoloc_core.learning.recipes import Recipe


@dataclass(frozen=True)
class Problem:
    """A head to be fitted. labels: those of the data, on the device; advance: to be called after each step."""

    name: str
    data: TrainingData
    reader: RowReader
    labels: Tensor
    split: Split
    recipe: Recipe
    objective: Objective
    seed: int
    advance: Callable[[], object]

    def measure(self, network: FusionHead) -> dict[str, float]:
        """stopping_loss and stopping_accuracy: means over the photos that decide when to stop."""
        return self.judge((rows, network(vectors)) for rows, vectors in self.reader.batches(self.split.stopping))

    @torch.no_grad()
    def judge(self, answers: Iterable[tuple[Tensor, Tensor]]) -> dict[str, float]:
        """The same of any photos: rows (B,) and their logits (B, K), batch by batch."""
        loss, n_correct, n = torch.zeros((3, 1), dtype=torch.float64, device=self.labels.device)
        for rows, logits in answers:
            labels = self.labels[rows.to(self.labels.device)]
            loss += self.objective.stopping_loss(logits, labels)
            n_correct += (logits.argmax(dim=1) == labels).sum()
            n += len(rows)
        return {"stopping_loss": (loss / n).item(), "stopping_accuracy": (n_correct / n).item()}

    @torch.no_grad()
    def logits(self, network: FusionHead, rows: Tensor, size: int = ROWS_AT_ONCE) -> Tensor:
        """Logits (n, K) of the photos `rows`, read `size` at a time."""
        return torch.cat([network(vectors) for _, vectors in self.reader.batches(rows, size)])

    def sample(self, rows: Tensor, most: int) -> Tensor:
        """At most `most` of `rows`, drawn by the seed, ascending."""
        if len(rows) <= most:
            return rows
        return rows[torch.from_numpy(np.sort(np.random.default_rng(self.seed).choice(len(rows), most, replace=False)))]


@dataclass(frozen=True)
class Fit:
    """How fitting went. history: one row for each epoch (or penalty, or width), with what `Problem.measure` gives;
    best_epoch: the row (from 1) whose weights the network holds; learning_rate: the one that was used, or 0;
    held_out: rows and logits of photos, each from a fit that has not seen it (None: the network has not seen `stopping`).
    """

    history: list[dict[str, float]]
    best_epoch: int
    learning_rate: float = 0.0
    held_out: tuple[Tensor, Tensor] | None = None

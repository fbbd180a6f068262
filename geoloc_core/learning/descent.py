"""Training by gradient steps on mini-batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from geoloc_core.errors import InputError
from geoloc_core.learning.cuda_graph import GraphedStep
from geoloc_core.learning.optimisers import Optimiser
from geoloc_core.learning.schedules import Pace
from geoloc_core.learning.task import Task, TrainedHead


class Descent:
    """One head in the making; `train` feeds it batches, judges it after each epoch and asks whether it is finished."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.labels = task.labels()
        self.objective = task.objective()
        self.module = task.new_module()
        self.optimiser = Optimiser(list(self.module.parameters()), task.recipe)
        self.pace = Pace(task.recipe, n_rows=len(task.parts.fit))
        self.n_steps = 0
        self.history: list[dict[str, float]] = []
        self._loss_sum = torch.zeros((), device=task.device)
        self._judged = [torch.zeros((), dtype=torch.float64, device=task.device) for _ in range(2)]
        self._best_state: dict[str, Tensor] = {}
        self._graph: GraphedStep | None = None

    @property
    def finished(self) -> bool:
        """Whether another epoch would be in vain."""
        return self.pace.finished

    @property
    def reads_for_itself(self) -> bool:
        """Whether `step` needs no pieces: on a GPU that holds the matrices, reading them is a part of the step."""
        return self.task.device.type == "cuda" and self.task.reader.on_device

    def step(self, rows: Tensor, pieces: Sequence[Tensor]) -> None:
        """Learn from one batch: rows (B,), and what the reader read for them."""
        self.optimiser.set_rate(self.pace.learning_rate(self.n_steps))
        rows = rows.to(self.task.device)
        if self.reads_for_itself and len(rows) == self.task.recipe.batch_size:
            if self._graph is None:
                self._graph = GraphedStep(self._learn_by_number, rows, self._changed_by_a_step())
            self._graph(rows)
        elif self.reads_for_itself:
            self._learn_by_number(rows)
        else:
            self._learn(rows, self.task.joined(pieces))
        self.n_steps += 1

    def judge(self, rows: Tensor, pieces: Sequence[Tensor]) -> None:
        """Take in some of the stopping photos; `end_epoch` sums up."""
        with torch.no_grad():
            logits = self.module(self.task.joined(pieces))
            labels = self.labels[rows.to(self.task.device)]
            self._judged[0] += self.objective.judge(logits, labels)
            self._judged[1] += (logits.argmax(dim=1) == labels).sum()

    def end_epoch(self) -> None:
        """Keep the weights if the epoch is the best so far."""
        train_loss = self._loss_sum.item() / len(self.task.parts.fit)
        self._loss_sum.zero_()
        loss, correct = (total.item() / len(self.task.parts.stopping) for total in self._judged)
        for total in self._judged:
            total.zero_()
        check_finite(train_loss, len(self.history) + 1, self.task)
        self.history.append(
            {
                "epoch": len(self.history) + 1,
                "learning_rate": self.pace.learning_rate(self.n_steps - 1),
                "train_loss": train_loss,
                "stopping_loss": loss,
                "stopping_accuracy": correct,
            }
        )
        if self.pace.end_epoch(loss):
            self._best_state = {name: tensor.cpu().clone() for name, tensor in self.module.state_dict().items()}

    def result(self) -> TrainedHead:
        """The head with the weights of the best epoch."""
        return self.task.finish(self._best_state, self.history, self.pace.best_epoch)

    def _changed_by_a_step(self) -> list[Tensor]:
        return [*self.module.state_dict().values(), *self.optimiser.state, self._loss_sum]

    def _learn(self, rows: Tensor, joined: Tensor) -> None:
        self.optimiser.zero_grad()
        loss = self.objective(self.module(joined), self.labels[rows], rows)
        loss.backward()
        self.optimiser.step()
        self._loss_sum.add_(loss.detach(), alpha=len(rows))

    def _learn_by_number(self, rows: Tensor) -> None:
        self._learn(rows, self.task.joined(self.task.reader.read(rows)))


def check_finite(train_loss: float, epoch: int, task: Task) -> None:
    """InputError when a loss is no number."""
    if not np.isfinite(train_loss):
        raise InputError(
            f"training diverged in epoch {epoch} ({task.name}): the vectors hold values that are not numbers, or are "
            "far too large; look at the embeddings, or standardise them"
        )

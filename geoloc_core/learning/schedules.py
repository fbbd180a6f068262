"""How fast a head learns, and when it has learnt enough."""

from __future__ import annotations

import math

from geoloc_core.errors import ProfileError
from geoloc_core.learning.recipes import Recipe

PLATEAU_FACTOR = 0.1
PLATEAU_THRESHOLD = 1e-4
"""A loss counts as better when it is lower by this part of itself: the convention of torch's ReduceLROnPlateau."""


class Pace:
    """The learning rate of every step and the end of training, from the losses on the stopping photos."""

    def __init__(self, recipe: Recipe, n_rows: int) -> None:
        if recipe.schedule not in ("plateau", "cosine"):
            raise ProfileError(f"schedule {recipe.schedule!r} is not known; choose plateau or cosine")
        self.recipe = recipe
        self.steps_per_epoch = math.ceil(n_rows / recipe.batch_size)
        self.max_epochs = max(recipe.epochs, math.ceil(recipe.min_steps / self.steps_per_epoch))
        self.epoch = 0
        self.best_epoch = 0
        self._best_loss = math.inf
        self._plateau_best = math.inf
        self._plateau_waited = 0
        self._rate = recipe.learning_rate

    @property
    def total_steps(self) -> int:
        """The most steps that training can take."""
        return self.max_epochs * self.steps_per_epoch

    @property
    def finished(self) -> bool:
        """Whether the last epoch is reached, or `patience` epochs have passed since the best one."""
        return self.epoch >= self.max_epochs or self.epoch - self.best_epoch >= self.recipe.patience > 0

    def learning_rate(self, step: int) -> float:
        """The rate of step `step` (from 0)."""
        if self.recipe.schedule == "plateau":
            return self._rate
        warmup = max(1, round(self.recipe.warmup_share * self.total_steps))
        if step < warmup:
            return self.recipe.learning_rate * (step + 1) / warmup
        done = (step - warmup) / max(1, self.total_steps - warmup)
        return self.recipe.learning_rate * 0.5 * (1.0 + math.cos(math.pi * done))

    def end_epoch(self, loss: float) -> bool:
        """Take note of an epoch's stopping loss; True when it is the best so far."""
        self.epoch += 1
        if self.recipe.schedule == "plateau":
            self._reduce_on_plateau(loss)
        if loss < self._best_loss or self.best_epoch == 0:
            self._best_loss, self.best_epoch = loss, self.epoch
            return True
        return False

    def _reduce_on_plateau(self, loss: float) -> None:
        if loss < self._plateau_best * (1.0 - PLATEAU_THRESHOLD):
            self._plateau_best, self._plateau_waited = loss, 0
            return
        self._plateau_waited += 1
        if self._plateau_waited > self.recipe.plateau_patience:
            self._rate *= PLATEAU_FACTOR
            self._plateau_waited = 0

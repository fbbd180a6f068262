"""Multinomial logistic regression to convergence: the literature's yardstick for frozen features.

Radford et al. (2021, CLIP) fit their linear probes so: L-BFGS on all photos at once, the penalty chosen on held-out
ones. The loss is convex, so there is one answer and no learning rate to be lucky with.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from geoloc_core.errors import ProfileError
from geoloc_core.learning.descent import check_finite
from geoloc_core.learning.task import Task, TrainedHead

SWEEP_PHOTOS = 20_000
"""The penalty is chosen on so many photos: it speaks of the size of the weights, not of the number of photos."""
INVERSE_PENALTIES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 1.0)
"""C in sum(loss) + |W|^2 / (2 C), strongest penalty first; inputs are standardised, so that one grid fits all."""
SWEEP_ITERATIONS = 40
MEMORY = 10
ROWS_AT_ONCE = 8192


def fit_probe(task: Task, advance: Callable[[int], object]) -> TrainedHead:
    """Choose the penalty, then fit all photos with it; history has a row for each fit, with its `inverse_penalty`."""
    if task.spec.kind != "linear" or task.spec.fusion not in ("concat", "normalised"):
        raise ProfileError(
            f"recipe {task.recipe.name} is a logistic regression and trains head linear with fusion concat or "
            f"normalised, not {task.spec.kind} with {task.spec.fusion}"
        )
    problem = _Problem(task, advance)
    fit = task.parts.fit
    if len(fit) > SWEEP_PHOTOS:
        chosen = np.random.default_rng(task.seed).choice(len(fit), SWEEP_PHOTOS, replace=False)
        sample = fit[torch.from_numpy(np.sort(chosen))]
    else:
        sample = fit
    flat = problem.start()
    history: list[dict[str, float]] = []
    best: tuple[float, float, np.ndarray] | None = None
    for inverse_penalty in INVERSE_PENALTIES:
        flat = problem.solve(flat, sample, inverse_penalty, SWEEP_ITERATIONS)
        row = problem.row(len(history) + 1, inverse_penalty)
        history.append(row)
        if best is not None and row["stopping_loss"] >= best[0]:
            break  # along the path from a strong to a weak penalty the held-out loss falls, then rises
        best = row["stopping_loss"], inverse_penalty, flat.copy()
    assert best is not None
    problem.solve(best[2], fit, best[1], task.recipe.epochs)
    history.append(problem.row(len(history) + 1, best[1]))
    state = {name: tensor.cpu().clone() for name, tensor in problem.module.state_dict().items()}
    return task.finish(state, history, best_epoch=len(history))


class _Problem:
    """The penalised loss and its gradient as functions of all weights in one float64 row."""

    def __init__(self, task: Task, advance: Callable[[int], object]) -> None:
        self.task, self.advance = task, advance
        self.module = task.new_module()
        self.objective = task.objective()
        self.labels = task.labels()
        self.parameters = list(self.module.parameters())
        self.train_loss = float("nan")

        counts = np.bincount(task.data.labels[task.parts.fit.numpy()], minlength=len(task.classes))
        self.frequency = counts / counts.sum()

    def start(self) -> np.ndarray:
        """No weights yet, and the classes' frequencies as biases."""
        with torch.no_grad():
            for parameter in self.parameters:
                parameter.zero_()
            body = self.module.bodies[0]
            assert isinstance(body, torch.nn.Linear)
            body.bias.copy_(torch.from_numpy(np.log(self.frequency)))
        return np.concatenate([parameter.detach().double().cpu().numpy().ravel() for parameter in self.parameters])

    def solve(self, flat: np.ndarray, rows: Tensor, inverse_penalty: float, iterations: int) -> np.ndarray:
        """Minimise from `flat` over the photos `rows`; leaves the module at the answer."""
        penalty = 1.0 / (inverse_penalty * len(rows))
        stretch = self._stretch(penalty)
        answer = minimize(
            self._loss_and_gradient,
            flat * stretch,
            args=(stretch, rows, penalty),
            method="L-BFGS-B",
            jac=True,
            options={"maxiter": iterations, "maxcor": MEMORY, "ftol": 1e-5, "gtol": 1e-6},
        )
        self._put(answer.x / stretch)
        self.train_loss = float(answer.fun)
        return answer.x / stretch

    def _stretch(self, penalty: float) -> np.ndarray:
        """What to multiply each weight with so that the loss is about equally curved in all of them.

        At the start, with standardised inputs, the curvature along a weight of class k is f_k (1 - f_k) plus the
        penalty, f_k the class's frequency; these differ by four orders of magnitude, and unstretched the search takes
        several times the iterations.
        """
        curvature = self.frequency * (1.0 - self.frequency)
        pieces = []
        for parameter in self.parameters:
            own = np.sqrt(curvature + (penalty if parameter.ndim > 1 else 0.0))
            pieces.append(np.repeat(own, parameter.numel() // len(own)))
        return np.concatenate(pieces)

    def row(self, epoch: int, inverse_penalty: float) -> dict[str, float]:
        """What the module measures now on the photos that decide."""
        check_finite(self.train_loss, epoch, self.task)
        loss = correct = 0.0
        with torch.no_grad():
            for rows, pieces in self.task.reader.pieces(self.task.parts.stopping):
                logits = self.module(self.task.joined(pieces))
                labels = self.labels[rows.to(self.task.device)]
                loss += self.objective.judge(logits, labels).item()
                correct += (logits.argmax(dim=1) == labels).sum().item()
        return {
            "epoch": epoch,
            "inverse_penalty": inverse_penalty,
            "train_loss": self.train_loss,
            "stopping_loss": loss / len(self.task.parts.stopping),
            "stopping_accuracy": correct / len(self.task.parts.stopping),
        }

    def _loss_and_gradient(
        self, stretched: np.ndarray, stretch: np.ndarray, rows: Tensor, penalty: float
    ) -> tuple[float, np.ndarray]:
        self._put(stretched / stretch)
        total = 0.0
        for parameter in self.parameters:
            parameter.grad = None
        for some, pieces in self.task.reader.pieces(rows, ROWS_AT_ONCE):
            some = some.to(self.task.device)
            loss = self.objective(self.module(self.task.joined(pieces)), self.labels[some], some)
            loss = loss * (len(some) / len(rows))
            loss.backward()
            total += loss.item()
        gradients = []
        for parameter in self.parameters:
            assert parameter.grad is not None
            gradient = parameter.grad.double()
            if parameter.ndim > 1:  # weights are penalised, biases are not
                gradient = gradient + penalty * parameter.detach().double()
                total += 0.5 * penalty * float(parameter.detach().double().square().sum())
            gradients.append(gradient.cpu().numpy().ravel())
        self.advance(1)
        return total, np.concatenate(gradients) / stretch

    @torch.no_grad()
    def _put(self, flat: np.ndarray) -> None:
        start = 0
        for parameter in self.parameters:
            values = flat[start : start + parameter.numel()].reshape(parameter.shape)
            parameter.copy_(torch.from_numpy(values))
            start += parameter.numel()

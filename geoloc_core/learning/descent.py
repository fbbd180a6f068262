"""Training by gradient steps on mini-batches, with torch.optim: the plain loop of kinds "linear" and "mlp"."""

import copy
import itertools
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from geoloc_core.errors import InputError
from geoloc_core.learning.fusion import FusionHead
from geoloc_core.learning.problem import Fit, Problem
from geoloc_core.learning.recipes import Recipe

TRIAL_RATES = (0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4)
TRIAL_STEPS = (25, 25, 50)
# A run that diverges is begun again at a third of its rate, at most so often: together a factor of half a million.
MAX_RESTARTS = 12
STEPS_BETWEEN_CHECKS = 100


def descend(network: FusionHead, problem: Problem) -> Fit:
    """Train `network` and leave it with the weights of the best epoch.

    Where the recipe names no learning rate, it is the best of a short trial. A run whose loss is no longer a finite number
    is begun again at a third of the rate. history: epoch, learning_rate, train_loss, stopping_loss, stopping_accuracy.
    """
    initial = copy.deepcopy(network.state_dict())
    rate = problem.recipe.learning_rate or best_trial_rate(network, problem)
    for _ in range(1 + MAX_RESTARTS):
        network.load_state_dict(initial)
        if fit := _train(network, problem, rate):
            return fit
        rate /= 3.0
    raise InputError(
        f"training {problem.name} diverged even at a learning rate of {3 * rate:.1e}: the vectors are far too large; "
        "look at the embeddings, or choose a recipe that standardises them"
    )


def best_trial_rate(network: FusionHead, problem: Problem) -> float:
    """The one of `TRIAL_RATES` that lowers the training loss furthest, by successive halving (Jamieson & Talwalkar 2016).

    Every rate starts from the network's present weights and sees the same batches; after each round the better half goes
    on. The loss is the mean over the second half of the round. A rate that diverges, or kills the units of an MLP, loses.
    """
    trials = {rate: copy.deepcopy(network) for rate in TRIAL_RATES}
    runs = {rate: (trial, build_optimiser(trial, problem.recipe, rate)) for rate, trial in trials.items()}
    batches = itertools.chain.from_iterable(shuffled_epochs(problem))
    for n_steps in TRIAL_STEPS:
        rows = list(itertools.islice(batches, n_steps))
        losses = {}
        for rate, (trial, optimiser) in runs.items():
            steps = [_step(trial, optimiser, problem, batch) for batch in rows]
            loss = torch.stack(steps[n_steps // 2 :]).mean().item()
            losses[rate] = loss if math.isfinite(loss) else math.inf
        kept = sorted(losses, key=lambda rate: losses[rate])[: math.ceil(len(losses) / 2)]
        runs = {rate: runs[rate] for rate in kept}
    return kept[0]


def _train(network: FusionHead, problem: Problem, rate: float) -> Fit | None:
    """Train to the end at this rate; None where it diverges."""
    recipe, fit = problem.recipe, problem.split.fit
    n_epochs, steps_per_epoch = epochs_and_steps(recipe, len(fit))
    optimiser = build_optimiser(network, recipe, rate)
    schedule = build_schedule(optimiser, recipe, n_epochs * steps_per_epoch)
    history: list[dict[str, float]] = []
    best: dict[str, Tensor] = {}
    best_epoch, best_loss = 0, math.inf
    for epoch, batches in zip(range(1, n_epochs + 1), shuffled_epochs(problem), strict=False):
        total = torch.zeros((), device=problem.labels.device)
        for step, rows in enumerate(batches, start=1):
            total += _step(network, optimiser, problem, rows) * len(rows)
            if step % STEPS_BETWEEN_CHECKS == 0 and not math.isfinite(total.item()):
                return None
            last_rate = optimiser.param_groups[0]["lr"]
            if isinstance(schedule, LambdaLR):
                schedule.step()
        measured = problem.measure(network)
        train_loss, loss = total.item() / len(fit), measured["stopping_loss"]
        if not (math.isfinite(train_loss) and math.isfinite(loss)):
            return None
        history.append({"epoch": epoch, "learning_rate": last_rate, "train_loss": train_loss, **measured})
        if loss < best_loss:
            best, best_epoch, best_loss = copy.deepcopy(network.state_dict()), epoch, loss
        if epoch - best_epoch >= recipe.patience > 0:
            break
        if isinstance(schedule, ReduceLROnPlateau):
            schedule.step(loss)
    network.load_state_dict(best)
    return Fit(history, best_epoch, rate)


def _step(network: nn.Module, optimiser: torch.optim.Optimizer, problem: Problem, rows: Tensor) -> Tensor:
    """Learn from one batch, rows (B,); its loss."""
    rows = rows.to(problem.labels.device)
    loss = problem.objective(network(problem.reader.read(rows)), problem.labels[rows], rows)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    problem.advance()
    return loss.detach()


def epochs_and_steps(recipe: Recipe, n_rows: int) -> tuple[int, int]:
    """The most epochs, and the steps of each, for this many fitted photos."""
    steps_per_epoch = math.ceil(n_rows / recipe.batch_size)
    return max(recipe.epochs, math.ceil(recipe.min_steps / steps_per_epoch)), steps_per_epoch


def build_optimiser(network: nn.Module, recipe: Recipe, rate: float) -> torch.optim.Optimizer:
    """torch's SGD or AdamW in its fused form: one kernel for all parameters."""
    settings: dict[str, Any] = {"lr": rate, "weight_decay": recipe.weight_decay, "fused": True}
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(network.parameters(), momentum=recipe.momentum, **settings)
    return torch.optim.AdamW(network.parameters(), **settings)


def build_schedule(optimiser: torch.optim.Optimizer, recipe: Recipe, n_steps: int) -> LambdaLR | ReduceLROnPlateau:
    """The recipe's learning rate over time: LambdaLR moves with every step, ReduceLROnPlateau with every epoch's loss."""
    if recipe.schedule == "plateau":
        return ReduceLROnPlateau(optimiser, factor=0.1, patience=recipe.plateau_patience)
    warmup = max(1, round(recipe.warmup_share * n_steps))

    def share_of_rate(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, n_steps - warmup)))

    return LambdaLR(optimiser, share_of_rate)


def shuffled_epochs(problem: Problem) -> Iterator[tuple[Tensor, ...]]:
    """Epoch after epoch, without end: the fitted rows in a new order, as batches."""
    shuffler = torch.Generator().manual_seed(problem.seed)
    while True:
        order = torch.randperm(len(problem.split.fit), generator=shuffler)
        yield problem.split.fit[order].split(problem.recipe.batch_size)

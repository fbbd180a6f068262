"""From vectors to trained heads.

The matrices are held once and read by shuffled row numbers; there is no per-photo Python, and several heads are trained
from one reading of the data. With the same data, seed, machine and number of threads the weights are the same bit for
bit, whether a head is trained alone or in company.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from geoloc_core.devices import pick_device
from geoloc_core.errors import InputError, ProfileError
from geoloc_core.learning.batches import RowReader, mean_and_deviation
from geoloc_core.learning.data import TrainingData, divide
from geoloc_core.learning.descent import Descent
from geoloc_core.learning.probe import fit_probe
from geoloc_core.learning.recipes import HeadSpec, Recipe
from geoloc_core.learning.task import Task, TrainedHead
from geoloc_core.learning.voting import fit_neighbours
from geoloc_core.learning.weights import LEVELS
from geoloc_core.progress import bar

__all__ = ["HeadRequest", "TrainedHead", "TrainingData", "train_head", "train_heads"]


@dataclass(frozen=True)
class HeadRequest:
    """One head to train: its shape, its recipe, and which blocks of the data it reads, in order (none: all)."""

    head_spec: HeadSpec
    recipe: Recipe
    blocks: tuple[int, ...] | None = None


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
    request = HeadRequest(head_spec, recipe)
    return train_heads(
        data, [request], classes, level=level, parents=parents, seed=seed, device=device, progress=progress
    )[0]


def train_heads(
    data: TrainingData,
    requests: Sequence[HeadRequest],
    classes: Sequence[str],
    *,
    level: str = "country",
    parents: Sequence[str] | None = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    progress: bool = True,
) -> list[TrainedHead]:
    """Train several heads on the same photos, in the order of `requests`.

    Heads whose recipes agree on the batch size and on who decides when to stop walk through the data together: each
    batch of each block is read once and serves all of them.
    """
    target = device if isinstance(device, torch.device) else pick_device(device)
    _check_classes(data, classes, level, parents)
    for request in requests:
        if request.blocks is not None and not set(request.blocks) <= set(range(len(data.blocks))):
            raise InputError(f"a head asks for blocks {list(request.blocks)}, but the data has {len(data.blocks)}")
    parents = list(parents) if parents is not None else list(classes)
    trained: dict[int, TrainedHead] = {}
    with _deterministic(target):
        reader = RowReader(data.blocks, target)
        for company in _companies(requests):
            share = requests[company[0]].recipe.held_out_share
            parts = divide(data, share, seed)
            wanted = any(requests[index].recipe.standardise for index in company)
            statistics = mean_and_deviation(reader, parts.fit) if wanted else None
            tasks = [
                Task(
                    data=data,
                    reader=reader,
                    blocks=requests[index].blocks or tuple(range(len(data.blocks))),
                    spec=replace(requests[index].head_spec, standardise=requests[index].recipe.standardise),
                    recipe=requests[index].recipe,
                    classes=list(classes),
                    parents=parents,
                    level=level,
                    parts=parts,
                    statistics=statistics,
                    seed=seed,
                )
                for index in company
            ]
            trained.update(zip(company, _train(tasks, progress), strict=True))
    return [trained[index] for index in range(len(requests))]


def _train(tasks: Sequence[Task], progress: bool) -> list[TrainedHead]:
    """The heads of one company."""
    fit = {"knn": fit_neighbours, "lbfgs": fit_probe}.get(_way(tasks[0].spec, tasks[0].recipe))
    if fit is None:
        return _descend(tasks, progress)
    with _progress(tasks[0].name, None, progress) as advance:
        return [fit(task, advance) for task in tasks]


def _way(spec: HeadSpec, recipe: Recipe) -> str:
    """By which of the three ways a head is trained: "knn", "lbfgs" or "descent"."""
    if spec.kind == "knn":
        return "knn"
    return "lbfgs" if recipe.optimiser == "lbfgs" else "descent"


def _descend(tasks: Sequence[Task], progress: bool) -> list[TrainedHead]:
    """Epoch after epoch over the same rows in the same order, for as long as any of the heads is still learning."""
    descents = [Descent(task) for task in tasks]
    reader, parts = tasks[0].reader, tasks[0].parts
    shuffler = torch.Generator().manual_seed(tasks[0].seed)
    name = tasks[0].name if len(tasks) == 1 else f"{len(tasks)} heads"
    learning = list(descents)
    with _progress(name, max(descent.pace.total_steps for descent in descents), progress) as advance:
        while learning:
            order = parts.fit[torch.randperm(len(parts.fit), generator=shuffler)]
            walk(learning, reader, order, tasks[0].recipe.batch_size, advance)
            for rows, pieces in reader.pieces(parts.stopping):
                for descent in learning:
                    descent.judge(rows, pieces)
            for descent in learning:
                descent.end_epoch()
            learning = [descent for descent in learning if not descent.finished]
    return [descent.result() for descent in descents]


def walk(
    descents: Sequence[Descent],
    reader: RowReader,
    order: Tensor,
    batch_size: int,
    advance: Callable[[int], object] = lambda _: None,
) -> None:
    """Train all of `descents` on the rows of `order`, batch by batch, reading each batch once."""
    shared = not all(descent.reads_for_itself for descent in descents)
    for rows in order.to(reader.device).split(batch_size):
        pieces = reader.read(rows) if shared else []
        for descent in descents:
            descent.step(rows, pieces)
        advance(1)


def _companies(requests: Sequence[HeadRequest]) -> list[list[int]]:
    """Positions of the requests that can walk through the data together."""
    companies: dict[tuple[int, float, str], list[int]] = {}
    for index, request in enumerate(requests):
        how = request.recipe
        way = _way(request.head_spec, how)
        companies.setdefault((how.batch_size, how.held_out_share, way), []).append(index)
    return list(companies.values())


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
def _progress(what: str, total: int | None, shown: bool) -> Iterator[Callable[[int], object]]:
    if not shown:
        yield lambda _: None
        return
    with bar(what, total=total, unit="step") as shown_bar:
        yield shown_bar.update

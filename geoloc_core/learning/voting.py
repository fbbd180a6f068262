"""Training a head of neighbours: keep the vectors, and choose how quickly a vote fades with distance."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional

from geoloc_core.learning import neighbour_index
from geoloc_core.learning.heads import FusionHead
from geoloc_core.learning.neighbours import NeighbourVote
from geoloc_core.learning.task import Task, TrainedHead

_log = logging.getLogger(__name__)

MAX_REFERENCES = 1_000_000
JUDGED_PHOTOS = 2_000
WIDTHS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


def fit_neighbours(task: Task, advance: Callable[[int], object]) -> TrainedHead:
    """Keep the fitted photos' vectors and choose the width of the vote.

    Up to a million are searched exactly. More of them are looked up in an index where faiss is installed; where it is not, a
    million are drawn at random. history: one row for each width tried, with `width`, `stopping_loss` and
    `stopping_accuracy` on at most 2,000 of the photos that decide. Where these are the fitted photos themselves, each would
    find itself: then the middle width stays.
    """
    rng = np.random.default_rng(task.seed)
    rows = task.parts.fit
    if len(rows) > MAX_REFERENCES and not neighbour_index.available():
        _log.warning(
            "%d training vectors: a million of them, drawn at random, are kept, as faiss is not installed "
            "(pip install 'geoloc[neighbours]')",
            len(rows),
        )
        rows = _some(rows, MAX_REFERENCES, rng)
    index = _index(task, rows, rng, advance) if len(rows) > MAX_REFERENCES else torch.zeros(0, dtype=torch.uint8)
    task = replace(task, spec=replace(task.spec, references=len(rows), index_bytes=len(index)))
    module = task.new_module()
    vote = module.bodies[0]
    assert isinstance(vote, NeighbourVote)
    labels = task.labels()
    with torch.no_grad():
        vote.index.copy_(index)
        start = 0
        for some in _unit(task, module, rows) if not len(index) else ():
            vote.references[start : start + len(some)] = some.half()
            start += len(some)
            advance(1)
        vote.labels.copy_(labels[rows.to(task.device)])
        counts = np.bincount(task.data.labels[task.parts.fit.numpy()], minlength=len(task.classes))
        vote.prior.copy_(torch.from_numpy(counts / counts.sum()))
        judged = _some(task.parts.stopping, JUDGED_PHOTOS, rng)
        truth = labels[judged.to(task.device)]
        cosines, voters = vote.look_up(module.fused(task.joined(task.reader.read(judged))))
        history: list[dict[str, float]] = []
        widths = WIDTHS if task.parts.stopping_source != "training" else (0.1,)
        for width in widths:
            vote.width.fill_(width)
            logits = vote.vote(cosines, voters)
            history.append(
                {
                    "epoch": len(history) + 1,
                    "width": width,
                    "stopping_loss": functional.cross_entropy(logits, truth).item(),
                    "stopping_accuracy": (logits.argmax(dim=1) == truth).double().mean().item(),
                }
            )
        best = min(history, key=lambda row: row["stopping_loss"])
        vote.width.fill_(best["width"])
    state = {name: tensor.cpu().clone() for name, tensor in module.state_dict().items()}
    return task.finish(state, history, best_epoch=int(best["epoch"]))


def _unit(task: Task, module: FusionHead, rows: torch.Tensor) -> Iterator[torch.Tensor]:
    """The vectors of `rows`, of length 1, some at a time."""
    for _, pieces in task.reader.pieces(rows):
        yield functional.normalize(module.fused(task.joined(pieces)), dim=1)


def _index(task: Task, rows: torch.Tensor, rng: np.random.Generator, advance: Callable[[int], object]) -> torch.Tensor:
    """The index of `rows` as bytes."""
    module = task.new_module()
    most = neighbour_index.VECTORS_PER_LIST * neighbour_index.number_of_lists(len(rows))

    def told() -> Iterator[torch.Tensor]:
        for some in _unit(task, module, rows):
            yield some.cpu()
            advance(1)

    with torch.no_grad():
        sample = torch.cat([some.cpu() for some in _unit(task, module, _some(rows, most, rng))])
        return neighbour_index.build_index(sample, told(), len(rows))


def _some(rows: torch.Tensor, most: int, rng: np.random.Generator) -> torch.Tensor:
    if len(rows) <= most:
        return rows
    return rows[torch.from_numpy(np.sort(rng.choice(len(rows), most, replace=False)))]

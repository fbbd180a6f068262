"""Training a head of neighbours: keep the vectors, and choose how quickly a vote fades with distance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional

from geoloc_core.learning.neighbours import NeighbourVote
from geoloc_core.learning.task import Task, TrainedHead

MAX_REFERENCES = 1_000_000
JUDGED_PHOTOS = 2_000
WIDTHS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


def fit_neighbours(task: Task, advance: Callable[[int], object]) -> TrainedHead:
    """Keep the fitted photos' vectors (at most a million, drawn at random) and choose the width of the vote.

    history: one row for each width tried, with `width`, `stopping_loss` and `stopping_accuracy` on at most 2,000 of the
    photos that decide. Where these are the fitted photos themselves, each would find itself: then the middle width stays.
    """
    rng = np.random.default_rng(task.seed)
    rows = _some(task.parts.fit, MAX_REFERENCES, rng)
    task = replace(task, spec=replace(task.spec, references=len(rows)))
    module = task.new_module()
    vote = module.bodies[0]
    assert isinstance(vote, NeighbourVote)
    labels = task.labels()
    start = 0
    with torch.no_grad():
        for some, pieces in task.reader.pieces(rows):
            fused = module.fused(task.joined(pieces))
            vote.references[start : start + len(some)] = functional.normalize(fused, dim=1).half()
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


def _some(rows: torch.Tensor, most: int, rng: np.random.Generator) -> torch.Tensor:
    if len(rows) <= most:
        return rows
    return rows[torch.from_numpy(np.sort(rng.choice(len(rows), most, replace=False)))]

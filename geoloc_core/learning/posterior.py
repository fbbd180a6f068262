"""A trained head and what it answers; knows nothing of training."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor, nn

from geoloc_core.errors import CheckpointError, InputError
from geoloc_core.learning.calibrate import COVERAGE, MAX_RISK, prediction_sets
from geoloc_core.learning.heads import build_head
from geoloc_core.learning.recipes import HeadSpec

ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class Promise:
    """What a head promises about its countries, for photos of authors that it has not seen.

    set_coverage: how often its set of countries holds the truth; set_threshold: the probability from which a country
    belongs to the set. Of the answers with a probability of sure_threshold or more at most sure_max_risk are wrong; None:
    no answer is sure. n_photos and fitted_on: how many photos it was fitted on, and which.
    """

    set_coverage: float
    set_threshold: float
    sure_max_risk: float
    sure_threshold: float | None
    n_photos: int
    fitted_on: str


@dataclass(frozen=True)
class Head:
    """All that is needed to turn vectors into probabilities.

    classes: region_ids of `level` ("hierarchical" has those of the finest level), ascending, all of them seen in training.
    parents: the country of each class; at the coarsest level the classes themselves.
    class_counts: int64 (K,), training photos of each class.
    temperature, within_temperature and logit_adjustment: see `posterior`.
    calibration: what the held-out photos said: see `train.TrainedHead`.
    features: for each block {"backbone", "version", "dimension"}; may be empty.
    """

    spec: HeadSpec
    block_dims: tuple[int, ...]
    state: dict[str, Tensor]
    level: str
    classes: list[str]
    parents: list[str]
    class_counts: np.ndarray
    temperature: float = 1.0
    within_temperature: float = 1.0
    logit_adjustment: float = 0.0
    calibration: dict[str, Any] = field(default_factory=dict)
    features: list[dict[str, Any]] = field(default_factory=list)
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def has_parents(self) -> bool:
        """Whether the classes lie below the coarsest level."""
        return self.parents != self.classes

    @cached_property
    def countries(self) -> list[str]:
        """The countries that this head can answer, ascending: the columns of `country_posterior`."""
        return sorted(set(self.parents))

    @cached_property
    def country_of_class(self) -> np.ndarray:
        """int64 (K,), the position of each class's country in `countries`."""
        return np.searchsorted(np.asarray(self.countries), np.asarray(self.parents))

    @cached_property
    def module(self) -> nn.Module:
        """The network, on the CPU, ready to answer; CheckpointError when the weights do not fit the specification."""
        with torch.device("meta"):  # no memory and no random numbers for weights that are about to be replaced
            module = build_head(self.spec, self.block_dims, len(self.classes))
        try:
            module.load_state_dict(self.state, assign=True)
        except RuntimeError as error:
            shape = f"{self.spec.kind}, {self.spec.fusion}, blocks {self.block_dims}, {len(self.classes)} classes"
            raise CheckpointError(f"the head's weights do not fit its shape ({shape}); train it again") from error
        return module.eval().requires_grad_(False)

    def logits(self, blocks: Sequence[np.ndarray]) -> np.ndarray:
        """float32 (n, K), before temperature, of one matrix (n, D_i) for each backbone."""
        self._check(blocks)
        chunks = [self.module(joined) for joined in joined_chunks(blocks)]
        return torch.cat(chunks).numpy() if chunks else np.zeros((0, len(self.classes)), np.float32)

    def posterior(self, blocks: Sequence[np.ndarray]) -> np.ndarray:
        """Probabilities float32 (n, K) over `classes`: softmax((logits - a log prior) / temperature).

        Where the classes have parents, a country's probability is the sum of that softmax over its own classes, and it is
        divided among them by their softmax at `within_temperature`. One temperature cannot serve both levels: on the
        sample, the one that suits 200 sub-divisions brings the ECE of the countries from 0.07 to 0.22.
        `logit_adjustment` a answers for another balance of classes than the training photos' (Menon et al. 2021): 0 as
        trained, 1 as if all classes were equally frequent.
        """
        return self.posterior_of_logits(self.logits(blocks))

    def posterior_of_logits(self, logits: np.ndarray) -> np.ndarray:
        """The same from logits (n, K)."""
        if self.logit_adjustment:
            logits = logits - self.logit_adjustment * np.log(self.class_counts / self.class_counts.sum())
        logits = logits.astype(np.float32, copy=False)
        posterior = softmax(logits / np.float32(self.temperature), axis=1)
        if not self.has_parents or self.within_temperature == self.temperature:
            return posterior
        group = self.country_of_class
        return self.to_countries(posterior)[:, group] * within_groups(logits, group, self.within_temperature)

    def country_posterior(self, blocks: Sequence[np.ndarray]) -> np.ndarray:
        """Probabilities float32 (n, C) over `countries`, each the sum over its classes."""
        return self.to_countries(self.posterior(blocks))

    def to_countries(self, posterior: np.ndarray) -> np.ndarray:
        """Sum the columns (n, K) of a posterior over `classes` into those of `countries` (n, C)."""
        return reduce_columns(np.add, posterior, self.country_of_class)

    @cached_property
    def promise(self) -> Promise:
        """What the held-out photos allow it to promise; without any: every country in the set, and never sure."""
        measured = self.calibration.get
        threshold = measured("sure_threshold", math.inf)
        return Promise(
            set_coverage=measured("set_coverage", COVERAGE),
            set_threshold=measured("set_threshold", 0.0),
            sure_max_risk=measured("sure_max_risk", MAX_RISK),
            sure_threshold=threshold if threshold <= 1.0 else None,
            n_photos=measured("n_calibration", 0),
            fitted_on=measured("stopping_source", "nothing"),
        )

    def country_sets(self, country_posterior: np.ndarray) -> np.ndarray:
        """bool (n, C): sets of countries that hold the truth of a new author's photo `set_coverage` of the time."""
        return prediction_sets(country_posterior, self.promise.set_threshold)

    def sure(self, country_posterior: np.ndarray) -> np.ndarray:
        """bool (n,): whether the likeliest country may be called sure (at most `sure_max_risk` of such are wrong)."""
        threshold = self.promise.sure_threshold
        return country_posterior.max(axis=1) >= (math.inf if threshold is None else threshold)

    def _check(self, blocks: Sequence[np.ndarray]) -> None:
        dims = tuple(block.shape[1] if block.ndim == 2 else -1 for block in blocks)
        if dims != self.block_dims:
            names = ", ".join(str(feature.get("backbone", "?")) for feature in self.features)
            expected = f"{list(self.block_dims)} ({names})"
            raise InputError(f"this head reads vectors of widths {expected}, but got {list(dims)}")
        if len({len(block) for block in blocks}) > 1:
            raise InputError(f"the blocks hold different numbers of photos: {[len(block) for block in blocks]}")


def within_groups(logits: np.ndarray, group: np.ndarray, temperature: float) -> np.ndarray:
    """float32 (n, K): softmax(logits / temperature) among the columns of each group."""
    highest = reduce_columns(np.maximum, logits, group)
    shares = np.exp((logits - highest[:, group]) / np.float32(temperature))
    return shares / reduce_columns(np.add, shares, group)[:, group]


def reduce_columns(operation: np.ufunc, values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """(n, K) -> (n, C): the columns of each group in one; `group` int64 (K,) takes every value from 0 to C - 1."""
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    return operation.reduceat(values[:, order], starts, axis=1)


def joined_chunks(blocks: Sequence[np.ndarray], rows_at_once: int = ROWS_AT_ONCE) -> Iterator[Tensor]:
    """Walk through the rows of `blocks` as float32 tensors (<= rows_at_once, sum D)."""
    for start in range(0, len(blocks[0]), rows_at_once):
        pieces = [np.asarray(block[start : start + rows_at_once], np.float32) for block in blocks]
        yield torch.from_numpy(np.concatenate(pieces, axis=1))

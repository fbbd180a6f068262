"""What a head promises of its certainty, and what it keeps on photos that it did not see.

A head carries three promises, fitted on photos that trained nothing (`learning.train`): the temperature that makes its
probabilities mean what they say, the threshold of a set of countries that holds the truth nine times in ten, and the
probability from which an answer may be called sure. Here they are held against other photos.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from geoloc_core.errors import InputError
from geoloc_core.evaluation.intervals import CONFIDENCE, RESAMPLES, Interval, author_weights
from geoloc_core.learning.calibrate import expected_calibration_error, top_confidence

if TYPE_CHECKING:
    from geoloc_core.answers.answer import Answers
    from geoloc_core.learning.posterior import Head


@dataclass(frozen=True)
class Certainty:
    """Promised and kept, over n photos with an answer; shares lie between 0 and 1.

    fitted_on: which photos the promises were fitted on; where these are the validation photos (a recipe that spares no
    training authors, as the thesis's), what is kept on validation is no test of them, only what is kept on a benchmark.
    ece_before, ece: calibration error of the country's probability at temperature 1 and at the head's own.
    set_kept: share of the photos whose true country is in the set, with its interval over authors; set_size: the mean.
    sure_threshold: None where no answer may be called sure; then sure_wrong is None as well.
    """

    fitted_on: str
    fitted_photos: int
    photos: int
    temperature: float
    ece_before: float
    ece: float
    set_promised: float
    set_kept: Interval
    set_size: float
    sure_threshold: float | None
    sure_promised: float
    sure_share: float
    sure_wrong: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Certainty:
        """What `to_json` gave."""
        return cls(**{**value, "set_kept": Interval(**value["set_kept"])})


def certainty(head: Head, answers: Answers, truth: np.ndarray, authors: np.ndarray, given: np.ndarray) -> Certainty:
    """Hold the promises of `head` against its answers.

    truth (n,): country ids, one that is no class of the head (or "") is never right and in no set; authors (n,); given,
    bool (n,): which photos were answered. The others do not count.
    """
    if not given.any():
        raise InputError("there is no answered photo to hold the head's promises against")
    position = {name: index for index, name in enumerate(answers.countries)}
    labels = np.array([position.get(name, -1) for name in truth[given]], dtype=np.int64)
    confidence, correct = top_confidence(answers.country_posterior[given], labels)
    before, plainly = answers.uncalibrated[0][given] == labels, answers.uncalibrated[1][given]
    sets, sure = answers.country_sets[given], answers.sure[given]
    inside = (labels >= 0) & sets[np.arange(len(labels)), labels]
    promise = head.promise
    return Certainty(
        fitted_on=promise.fitted_on,
        fitted_photos=promise.n_photos,
        photos=len(labels),
        temperature=head.temperature,
        ece_before=expected_calibration_error(plainly, before),
        ece=expected_calibration_error(confidence, correct),
        set_promised=promise.set_coverage,
        set_kept=share_over_authors(inside, authors[given]),
        set_size=float(sets.sum(axis=1).mean()),
        sure_threshold=promise.sure_threshold,
        sure_promised=promise.sure_max_risk,
        sure_share=float(sure.mean()),
        sure_wrong=float(1.0 - correct[sure].mean()) if sure.any() else None,
    )


def share_over_authors(held: np.ndarray, authors: np.ndarray, seed: int = 0) -> Interval:
    """Share of the photos (n,) for which something holds, with its 95 % bootstrap interval over authors (n,)."""
    names, author = np.unique(authors.astype(str), return_inverse=True)
    photos_of = np.bincount(author).astype(np.float64)
    held_of = np.bincount(author, weights=held)
    weights = author_weights(len(names), RESAMPLES, seed, max(len(names), len(held)))
    shares = np.concatenate([(some @ held_of) / (some @ photos_of) for some in weights])
    low, high = np.quantile(shares, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    return Interval(float(np.mean(held)), float(low), float(high))

"""What a head answers: a country, a finer cell where it knows one, a point, and how sure it is.

The point is, by the experiment's choice (`kinds.ANSWERS`), the anchor of the region that is answered (the finest that the
head knows), the point that is best for the whole posterior (`decide`), or the place of the training photo of the answered
region that looks most like this one (`learning.refine`). The sub-division is the most probable one *of the answered country*,
so the two never disagree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from geoloc_core.answers.decide import Decider, decider, mass_of_cells
from geoloc_core.answers.kinds import ANCHOR_OF_RULE, NEAREST_ANSWER, THESIS_ANSWER
from geoloc_core.errors import StaleArtifactError
from geoloc_core.geography.cells import FINEST, ROOT
from geoloc_core.learning.posterior import Head
from geoloc_core.learning.refine import References, refine_within

PHOTOS_AT_ONCE = 8192


@dataclass(frozen=True)
class Places:
    """Where the regions of a level may be answered: the frames of `region_anchors` and of `decide.photo_cells`."""

    anchors: pd.DataFrame
    cells: pd.DataFrame


@dataclass(frozen=True)
class Answers:
    """For each of n photos.

    country_posterior: (n, C) over `countries`; points: (n, 2) latitude and longitude in degrees; country_sets: bool (n, C),
    the conformal set; sure: bool (n,); subdivision_ids, subdivision_probability: (n,), not given its country, None where the
    head has countries only; best_before, probability_before: the likeliest country (a position) and its probability (n,) at
    temperature 1.
    """

    countries: list[str]
    country_posterior: np.ndarray
    points: np.ndarray
    country_sets: np.ndarray
    sure: np.ndarray
    subdivision_ids: np.ndarray | None
    subdivision_probability: np.ndarray | None
    best_before: np.ndarray
    probability_before: np.ndarray

    @property
    def predicted_cells(self) -> dict[str, list[str]]:
        """The answered cells of each finer level that the head knows."""
        return {} if self.subdivision_ids is None else {FINEST: self.subdivision_ids.tolist()}


@dataclass(frozen=True)
class Answerer:
    """A head that answers; what does not depend on the photo is worked out once.

    places: by level; how: one of `kinds.ANSWERS`; companion: a head with sub-divisions that divides each country's
    probability; references: photos of the finest regions that are answered, which the answer "nearest_photo" needs.
    """

    head: Head
    places: Mapping[str, Places]
    how: str
    companion: Head | None = None
    references: References | None = None

    def answers(self, blocks: Sequence[np.ndarray], companion_blocks: Sequence[np.ndarray] = ()) -> Answers:
        """Answers for vectors (n, D_i), one matrix for each backbone of the head, and of its companion where it has one.

        A part of the photos at a time: a posterior over 4,000 sub-divisions of a million photos would take 16 GB.
        """
        parts = []
        for start in range(0, max(len(blocks[0]), 1), PHOTOS_AT_ONCE):
            rows = slice(start, start + PHOTOS_AT_ONCE)
            parts.append(self._answers(*([block[rows] for block in part] for part in (blocks, companion_blocks))))
        arrays = [name for name, value in vars(parts[0]).items() if isinstance(value, np.ndarray)]
        joined: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in arrays}
        return replace(parts[0], **joined)

    def _answers(self, blocks: Sequence[np.ndarray], companion_blocks: Sequence[np.ndarray]) -> Answers:
        head, finer = self.head, self._finer
        logits = head.logits(blocks)
        posterior = head.posterior_of_logits(logits)
        by_country = head.to_countries(posterior)
        country = by_country.argmax(axis=1)
        plain = replace(head, temperature=1.0, within_temperature=1.0)
        before = plain.to_countries(plain.posterior_of_logits(logits))
        names, probability, vectors = None, None, blocks
        if finer is None:
            points = self._points(posterior, country, vectors)
        else:
            parent = pd.Index(head.countries).get_indexer(pd.Index(finer.parents))
            if finer is self.companion:
                vectors = companion_blocks
                within = finer.posterior(vectors)
                posterior = share_out(by_country, within, parent)
            # The most probable class among those of the answered country.
            best = np.where(parent[None, :] == country[:, None], posterior, -1.0).argmax(axis=1)
            probability = np.take_along_axis(posterior, best[:, None], axis=1)[:, 0]
            points = self._points(posterior, best, vectors)
            names = np.asarray(finer.classes, dtype=object)[best]
            # A country whose photos lie in none of its sub-divisions answers for itself.
            alone = ~np.isin(country, parent)
            if alone.any():
                own = self._anchors(ROOT, head.countries)
                points[alone], names[alone], probability[alone] = own[country[alone]], "", 0.0
        return Answers(
            countries=head.countries,
            country_posterior=by_country,
            points=points,
            country_sets=head.country_sets(by_country),
            sure=head.sure(by_country),
            subdivision_ids=names,
            subdivision_probability=probability,
            best_before=before.argmax(axis=1),
            probability_before=before.max(axis=1),
        )

    @property
    def _finer(self) -> Head | None:
        """The head that knows sub-divisions."""
        return self.companion if self.head.level == ROOT else self.head

    def _anchors(self, level: str, names: Sequence[str]) -> np.ndarray:
        """(K, 2) where one point stands for each region of a level."""
        return anchor_points(self.places[level].anchors, names, ANCHOR_OF_RULE.get(self.how, self.how))

    @cached_property
    def _regions(self) -> tuple[Places, list[str], np.ndarray]:
        """The places of the regions that may be answered, their K ids, and the anchor (K, 2) of each."""
        level, names = (FINEST, self._finer.classes) if self._finer else (ROOT, self.head.countries)
        return self.places[level], names, self._anchors(level, names)

    @cached_property
    def _decider(self) -> Decider:
        places, names, anchors = self._regions
        return decider(anchors, self.how, mass_of_cells(places.cells, names, anchors))

    def _points(self, posterior: np.ndarray, chosen: np.ndarray, vectors: Sequence[np.ndarray]) -> np.ndarray:
        """(n, 2): by the whole posterior (n, K), the anchor of the chosen region (n,), or its photo nearest to `vectors`."""
        anchors = self._regions[2]
        if self.how == NEAREST_ANSWER:
            if self.references is None:
                raise StaleArtifactError("this head keeps no photos to answer with; train it again")
            return refine_within(vectors, chosen, anchors[chosen], self.references)
        return self._decider.points(posterior) if self.how in ANCHOR_OF_RULE else anchors[chosen]


def share_out(by_country: np.ndarray, within: np.ndarray, parent: np.ndarray) -> np.ndarray:
    """(n, M): each country's probability (n, C), divided over its sub-divisions as another posterior (n, M) has them.

    parent: (M,) the country of each sub-division, -1 for one that `by_country` does not know, which gets nothing. What
    belongs to countries without sub-divisions is left out, so a row may sum to less than 1.
    """
    known = np.flatnonzero(parent >= 0)
    belongs = parent[known][:, None] == np.arange(by_country.shape[1])
    total = within[:, known].astype(np.float64) @ belongs.astype(np.float64)
    shared = np.zeros(within.shape, dtype=np.float64)
    shared[:, known] = within[:, known] * (by_country / np.maximum(total, 1e-12))[:, parent[known]]
    return shared


def anchor_points(anchors: pd.DataFrame, region_ids: Sequence[str], kind: str) -> np.ndarray:
    """(K, 2) latitude and longitude of regions, by `kind`; the polygon's centroid where no photo gave another."""
    points = np.full((len(region_ids), 2), np.nan)
    for choice in dict.fromkeys((THESIS_ANSWER, kind)):
        of_kind = anchors[anchors["kind"] == choice].set_index("region_id")[["latitude", "longitude"]]
        better = of_kind.reindex(list(region_ids)).to_numpy(dtype=np.float64)
        points = np.where(np.isnan(better), points, better)
    if np.isnan(points).any():
        missing = region_ids[int(np.isnan(points).any(axis=1).argmax())]
        raise StaleArtifactError(f"there is no anchor for {missing}; materialize region_anchors again")
    return points

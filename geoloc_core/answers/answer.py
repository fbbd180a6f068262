"""What a head answers: a country, a sub-division where it knows one, a point, and how sure it is.

The point is, by the experiment's choice (`profile.ANSWERS`), the anchor of the region that is answered (of the country for
a head of countries, as the thesis does; of the sub-division for a head that has sub-divisions), the point that is best for the
whole posterior (`evaluation.decide`), which may lie across a border when the posterior does, or the place of the training
photo of the answered region that looks most like this one (`learning.refine`). The sub-division is the most probable one
*of the answered country*, so the two never disagree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from geoloc_core.answers.decide import Decider, decider
from geoloc_core.answers.mass import mass_of_cells
from geoloc_core.errors import StaleArtifactError
from geoloc_core.learning.posterior import Head
from geoloc_core.learning.refine import References, refine_within
from geoloc_core.line.profile import NEAREST_ANSWER, THESIS_ANSWER

PHOTOS_AT_ONCE = 8192
# The anchor that comes nearest to a rule, where one point stands for a region; with `nearest_photo`, where none of the
# region's photos is near enough to be believed.
ANCHOR_OF_RULE = {"expected_geoscore": "geoscore", "expected_distance": "medoid", NEAREST_ANSWER: "geoscore"}


@dataclass(frozen=True)
class Places:
    """Where the regions of a level may be answered.

    anchors: the frame of `region_anchors`; cells: the frame of `evaluation.mass.photo_cells`.
    """

    anchors: pd.DataFrame
    cells: pd.DataFrame


@dataclass(frozen=True)
class Answers:
    """For each of n photos.

    country_posterior: (n, C) over `countries`; points: (n, 2) latitude and longitude in degrees; country_sets: bool (n, C),
    the conformal set; sure: bool (n,); subdivision_ids: object (n,) and subdivision_probability: (n,), of the sub-division
    itself and not given its country, both None where the head has countries only; uncalibrated: the likeliest country
    (n,), as a position, and its probability (n,) at temperature 1.
    """

    countries: list[str]
    country_posterior: np.ndarray
    points: np.ndarray
    country_sets: np.ndarray
    sure: np.ndarray
    subdivision_ids: np.ndarray | None
    subdivision_probability: np.ndarray | None
    uncalibrated: tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Answerer:
    """A head that answers; what does not depend on the photo is worked out once.

    places: by level, "country" and "subdivision"; how: one of `profile.ANSWERS`; companion: a head with sub-divisions that
    is asked within the country, where `head` has countries only; references: photos of the finest regions that are answered,
    which `how` = "nearest_photo" needs.
    """

    head: Head
    places: Mapping[str, Places]
    how: str
    companion: Head | None = None
    references: References | None = None

    def answers(self, blocks: Sequence[np.ndarray], companion_blocks: Sequence[np.ndarray] = ()) -> Answers:
        """Answers for vectors (n, D_i), one matrix for each backbone of the head, and of its companion where it has one.

        Some photos at a time: a posterior over 4,000 sub-divisions of a million photos would take 16 GB.
        """
        parts = []
        for start in range(0, max(len(blocks[0]), 1), PHOTOS_AT_ONCE):
            rows = slice(start, start + PHOTOS_AT_ONCE)
            some, finest = [block[rows] for block in blocks], [block[rows] for block in companion_blocks]
            logits = self.head.logits(some)
            other = self.companion
            others = None if other is None else other.logits(finest)
            parts.append(self._answers(logits, others, some if other is None else finest))
        return parts[0] if len(parts) == 1 else _joined(parts)

    def _answers(
        self, logits: np.ndarray, companion_logits: np.ndarray | None, vectors: Sequence[np.ndarray]
    ) -> Answers:
        head = self.head
        posterior = head.posterior_of_logits(logits, head.logit_adjustment)
        by_country = head.to_countries(posterior)
        best_country = by_country.argmax(axis=1)
        plain = replace(head, temperature=1.0, within_temperature=1.0)
        before = plain.to_countries(plain.posterior_of_logits(logits, head.logit_adjustment))
        finer, names, probability = self._finer, None, None
        if finer is None:
            points = self._points(posterior, best_country, vectors)
        else:
            parent = parent_positions(finer.parents, head.countries)
            if finer is not head:
                assert companion_logits is not None
                posterior = share_out(
                    by_country, finer.posterior_of_logits(companion_logits, finer.logit_adjustment), parent
                )
            best, probability = best_child(posterior, parent, best_country)
            points = self._points(posterior, best, vectors)
            names = np.asarray(finer.classes, dtype=object)[best]
            # A country whose photos lie in none of its sub-divisions answers for itself.
            alone = ~np.isin(best_country, parent)
            if alone.any():
                own = anchor_points(self.places["country"].anchors, head.countries, self._kind)
                points[alone], names[alone], probability[alone] = own[best_country[alone]], "", 0.0
        return Answers(
            countries=head.countries,
            country_posterior=by_country,
            points=points,
            country_sets=head.country_sets(by_country),
            sure=head.sure(by_country),
            subdivision_ids=names,
            subdivision_probability=probability,
            uncalibrated=(before.argmax(axis=1), before.max(axis=1)),
        )

    @property
    def _kind(self) -> str:
        """Kind of anchor where one point stands for a region."""
        return ANCHOR_OF_RULE.get(self.how, self.how)

    @property
    def _finer(self) -> Head | None:
        """The head that knows sub-divisions."""
        return self.head if self.head.level != "country" else self.companion

    @cached_property
    def _anchors(self) -> np.ndarray:
        """(K, 2) the anchor of each region that may be answered."""
        finer = self._finer
        names = self.head.countries if finer is None else finer.classes
        return anchor_points(self._level.anchors, names, self._kind)

    @property
    def _level(self) -> Places:
        return self.places["country" if self._finer is None else "subdivision"]

    @cached_property
    def _decider(self) -> Decider:
        finer = self._finer
        names = self.head.countries if finer is None else finer.classes
        anchors = pd.DataFrame({"region_id": names, "latitude": self._anchors[:, 0], "longitude": self._anchors[:, 1]})
        mass = mass_of_cells(self._level.cells, names, anchors)
        return decider(self._anchors[:, 0], self._anchors[:, 1], self.how, mass)

    def _points(self, posterior: np.ndarray, chosen: np.ndarray, vectors: Sequence[np.ndarray]) -> np.ndarray:
        """(n, 2): by the whole posterior (n, K), the anchor of the chosen region (n,), or its photo nearest to `vectors`."""
        if self.how == NEAREST_ANSWER:
            if self.references is None:
                raise StaleArtifactError("this head keeps no photos to answer with; train it again")
            return refine_within(vectors, chosen, self._anchors[chosen], self.references)
        return self._decider.points(posterior) if self.how in ANCHOR_OF_RULE else self._anchors[chosen]


def _joined(parts: Sequence[Answers]) -> Answers:
    """The answers of several lots of photos as one."""

    def together(values: Sequence[np.ndarray | None]) -> np.ndarray | None:
        there = [value for value in values if value is not None]
        return np.concatenate(there) if there else None

    return Answers(
        countries=parts[0].countries,
        country_posterior=np.concatenate([part.country_posterior for part in parts]),
        points=np.concatenate([part.points for part in parts]),
        country_sets=np.concatenate([part.country_sets for part in parts]),
        sure=np.concatenate([part.sure for part in parts]),
        subdivision_ids=together([part.subdivision_ids for part in parts]),
        subdivision_probability=together([part.subdivision_probability for part in parts]),
        uncalibrated=(
            np.concatenate([part.uncalibrated[0] for part in parts]),
            np.concatenate([part.uncalibrated[1] for part in parts]),
        ),
    )


def parent_positions(parents: Sequence[str], countries: Sequence[str]) -> np.ndarray:
    """(K,) position of each class's country among `countries`; -1 where it is not among them."""
    position = {name: index for index, name in enumerate(countries)}
    return np.array([position.get(name, -1) for name in parents], dtype=np.int64)


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


def best_child(posterior: np.ndarray, parent: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The most probable class of each row among those of its chosen country.

    posterior (n, K), parent (K,) the country of each class, chosen (n,) a country that has a class; returns its column
    (n,) and its probability (n,).
    """
    among = np.where(parent[None, :] == chosen[:, None], posterior, -1.0)
    best = among.argmax(axis=1)
    return best, np.take_along_axis(posterior, best[:, None], axis=1)[:, 0]


def anchor_points(anchors: pd.DataFrame, region_ids: Sequence[str], kind: str) -> np.ndarray:
    """(K, 2) latitude and longitude of regions, by `kind`; the polygon's centroid where no photo gave another."""
    points = np.full((len(region_ids), 2), np.nan)
    for wanted in dict.fromkeys((THESIS_ANSWER, kind)):
        of_kind = anchors[anchors["kind"] == wanted].set_index("region_id")[["latitude", "longitude"]]
        found = of_kind.reindex(list(region_ids)).to_numpy(dtype=np.float64)
        points = np.where(np.isnan(found), points, found)
    if np.isnan(points).any():
        missing = [name for name, point in zip(region_ids, points, strict=True) if np.isnan(point).any()]
        raise StaleArtifactError(f"there is no anchor for {missing[0]}; materialize region_anchors again")
    return points

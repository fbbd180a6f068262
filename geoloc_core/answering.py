"""What a head answers: a country, a sub-division where it knows one, and a point.

The point is the anchor of the region that is answered: of the country for a head of countries (as the thesis does), of
the sub-division for a head that has sub-divisions. The sub-division is the most probable one *of the answered country*, so
the two never disagree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from geoloc_core.errors import StaleArtifactError
from geoloc_core.learning.posterior import Head

THESIS_ANCHOR = "centroid"


@dataclass(frozen=True)
class Answers:
    """For each of n photos.

    country_posterior: (n, C) over `countries`; points: (n, 2) latitude and longitude in degrees; subdivision_ids: (n,)
    or None where the head has countries only; subdivision_probability: (n,), of the sub-division itself, not given its
    country.
    """

    countries: list[str]
    country_posterior: np.ndarray
    points: np.ndarray
    subdivision_ids: np.ndarray | None = None
    subdivision_probability: np.ndarray | None = None


def answer(head: Head, blocks: Sequence[np.ndarray], anchors: Mapping[str, pd.DataFrame], kind: str) -> Answers:
    """Answers of `head` for vectors (n, D_i), one matrix for each backbone.

    anchors: for the levels "country" and "subdivision", a frame of `region_anchors`; kind: which anchor of a region.
    """
    posterior = head.posterior(blocks)
    countries = head.countries
    country_posterior = head.to_countries(posterior)
    best_country = country_posterior.argmax(axis=1)
    if head.level == "country":
        points = anchor_points(anchors["country"], countries, kind)[best_country]
        return Answers(countries, country_posterior, points)
    best, probability = best_child(posterior, parent_positions(head.parents, countries), best_country)
    points = anchor_points(anchors["subdivision"], head.classes, kind)[best]
    names = np.asarray(head.classes, dtype=object)[best]
    return Answers(countries, country_posterior, points, names, probability)


def parent_positions(parents: Sequence[str], countries: Sequence[str]) -> np.ndarray:
    """(K,) position of each class's country among `countries`; -1 where it is not among them."""
    position = {name: index for index, name in enumerate(countries)}
    return np.array([position.get(name, -1) for name in parents], dtype=np.int64)


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
    for wanted in dict.fromkeys((THESIS_ANCHOR, kind)):
        of_kind = anchors[anchors["kind"] == wanted].set_index("region_id")[["latitude", "longitude"]]
        found = of_kind.reindex(list(region_ids)).to_numpy(dtype=np.float64)
        points = np.where(np.isnan(found), points, found)
    if np.isnan(points).any():
        missing = [name for name, point in zip(region_ids, points, strict=True) if np.isnan(point).any()]
        raise StaleArtifactError(f"there is no anchor for {missing[0]}; materialize region_anchors again")
    return points

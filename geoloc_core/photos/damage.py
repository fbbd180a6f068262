"""Whether a whole delivery is garbage: each row may look possible while half of the coordinates are exchanged.

The evidence is counted on the rows of one delivery and compared with limits far from what real deliveries show
(IM2GPS, YFCC and MP-16: no row out of range, at most 1 in 100 far from any land, no point that many authors share).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

# Ways in which software spoils a whole column, each with what undoes it.
REPAIRS: Mapping[str, Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "exchanging latitude and longitude": lambda latitude, longitude: (longitude, latitude),
    "turning the sign of the latitude": lambda latitude, longitude: (-latitude, longitude),
    "turning the sign of the longitude": lambda latitude, longitude: (latitude, -longitude),
}


@dataclass(frozen=True)
class DamageLimits:
    """Where suspicion becomes refusal, as shares of the rows of a delivery that have coordinates."""

    out_of_range: float = 0.01
    # Of points at sea about a third come to lie on land by any of the repairs; of spoilt points nearly all do.
    repaired: float = 0.02
    repaired_of_unlabelled: float = 0.6
    one_point: float = 0.2
    whole_degrees: float = 0.2
    # Below this many rows no share means much.
    min_rows: int = 50


@dataclass(frozen=True)
class CoordinateDamage:
    """The evidence, as shares of `rows`, which are those with coordinates, in range or not."""

    rows: int
    out_of_range: float
    unlabelled: float
    repaired: Mapping[str, float]  # of each repair, the rows that are far from land and would not be after it
    one_point: float  # rows of the commonest point, where it is shared by several authors
    whole_degrees: float  # rows both of whose coordinates are whole numbers

    def problems(self, limits: DamageLimits | None = None) -> list[str]:
        """What is wrong with the delivery as a whole, a sentence each; [] where nothing is."""
        limits = limits or DamageLimits()
        if self.rows < limits.min_rows:
            return []
        problems = []
        if self.out_of_range > limits.out_of_range:
            problems.append(f"{self.out_of_range:.1%} of the coordinates are out of range")
        for repair, share in self.repaired.items():
            if share > limits.repaired and share > limits.repaired_of_unlabelled * self.unlabelled:
                problems.append(
                    f"{share:.1%} of the photos lie far from any land and would not after {repair}:"
                    " part of the coordinates seem to be spoilt in that way"
                )
        if self.one_point > limits.one_point:
            problems.append(f"{self.one_point:.1%} of the photos, by several authors, lie at exactly one point")
        if self.whole_degrees > limits.whole_degrees:
            problems.append(f"{self.whole_degrees:.1%} of the coordinates are whole degrees")
        return problems


def coordinate_damage(
    latitude: np.ndarray,
    longitude: np.ndarray,
    author_id: np.ndarray,
    out_of_range: int,
    on_land: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> CoordinateDamage:
    """The evidence in one delivery.

    `latitude`, `longitude`, `author_id` (n,) are of the accepted rows; `out_of_range` is the number of rows rejected for
    that reason; `on_land(latitude, longitude)` says which points lie in or near a region, (n,) bool.
    """
    rows = latitude.size + out_of_range
    if not rows:
        return CoordinateDamage(0, 0.0, 0.0, dict.fromkeys(REPAIRS, 0.0), 0.0, 0.0)
    astray = ~on_land(latitude, longitude)
    lat, lon = latitude[astray], longitude[astray]
    repaired = {}
    for name, repair in REPAIRS.items():
        new_lat, new_lon = repair(lat, lon)
        possible = np.abs(new_lat) <= 90.0
        repaired[name] = float(on_land(new_lat[possible], new_lon[possible]).sum()) / rows if possible.any() else 0.0
    whole = (latitude == np.rint(latitude)) & (longitude == np.rint(longitude))
    return CoordinateDamage(
        rows=rows,
        out_of_range=out_of_range / rows,
        unlabelled=float(astray.sum()) / rows,
        repaired=repaired,
        one_point=_commonest_point(latitude, longitude, author_id) / rows,
        whole_degrees=float(whole.sum()) / rows,
    )


def _commonest_point(latitude: np.ndarray, longitude: np.ndarray, author_id: np.ndarray) -> int:
    """How many rows lie at the commonest point that at least three authors share."""
    if not latitude.size:
        return 0
    _, point, counts = np.unique(np.stack([latitude, longitude]), axis=1, return_inverse=True, return_counts=True)
    for candidate in np.argsort(counts)[::-1][:10]:
        if np.unique(author_id[point.ravel() == candidate].astype(str)).size >= 3:
            return int(counts[candidate])
    return 0

"""Whether a delivery as a whole is garbage: each row may look possible while half of the coordinates are exchanged.

The limits are far from what real deliveries show
(IM2GPS, YFCC and MP-16: no row out of range, at most 1 in 100 far from any land, no point that many authors share).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

# Where suspicion becomes refusal, as shares of the rows of a delivery that have coordinates; below so many rows no share
# means much.
MIN_ROWS, OUT_OF_RANGE, ONE_POINT, WHOLE_DEGREES = 50, 0.01, 0.2, 0.2
# Of points at sea about a third come to lie on land by any of the repairs; of spoilt points nearly all do.
REPAIRED, REPAIRED_OF_UNLABELLED = 0.02, 0.6

# Ways in which software spoils a whole column, each with what undoes it.
REPAIRS: Mapping[str, Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "exchanging latitude and longitude": lambda latitude, longitude: (longitude, latitude),
    "turning the sign of the latitude": lambda latitude, longitude: (-latitude, longitude),
    "turning the sign of the longitude": lambda latitude, longitude: (latitude, -longitude),
}


@dataclass(frozen=True)
class CoordinateDamage:
    """The evidence, as shares of `rows`, which are those with coordinates, in range or not."""

    rows: int
    out_of_range: float
    unlabelled: float
    repaired: Mapping[str, float]  # of each repair, the rows that are far from land and would not be after it
    one_point: float  # rows of the commonest point, where it is shared by several authors
    whole_degrees: float  # rows both of whose coordinates are whole numbers

    def problems(self) -> list[str]:
        """What is wrong with the delivery as a whole, a sentence each; [] where nothing is."""
        if self.rows < MIN_ROWS:
            return []
        problems = []
        if self.out_of_range > OUT_OF_RANGE:
            problems.append(f"{self.out_of_range:.1%} of the coordinates are out of range")
        for repair, share in self.repaired.items():
            if share > max(REPAIRED, REPAIRED_OF_UNLABELLED * self.unlabelled):
                problems.append(
                    f"{share:.1%} of the photos lie far from any land and would not after {repair}:"
                    " part of the coordinates seem to be spoilt in that way"
                )
        if self.one_point > ONE_POINT:
            problems.append(f"{self.one_point:.1%} of the photos, by several authors, lie at exactly one point")
        if self.whole_degrees > WHOLE_DEGREES:
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
    share = 1.0 / max(1, rows)
    astray = ~on_land(latitude, longitude)
    repaired = {}
    for name, repair in REPAIRS.items():
        lat, lon = repair(latitude[astray], longitude[astray])
        possible = np.abs(lat) <= 90.0
        repaired[name] = float(on_land(lat[possible], lon[possible]).sum()) * share
    whole = (latitude == np.rint(latitude)) & (longitude == np.rint(longitude))
    return CoordinateDamage(
        rows=rows,
        out_of_range=out_of_range * share,
        unlabelled=float(astray.sum()) * share,
        repaired=repaired,
        one_point=_commonest_point(latitude, longitude, author_id) * share,
        whole_degrees=float(whole.sum()) * share,
    )


def _commonest_point(latitude: np.ndarray, longitude: np.ndarray, author_id: np.ndarray) -> int:
    """How many rows lie at the commonest point that at least three authors share."""
    points = pd.DataFrame({"latitude": latitude, "longitude": longitude, "author_id": author_id})
    counts = points.groupby(["latitude", "longitude"])["author_id"].agg(["size", "nunique"])
    return int(counts.loc[counts["nunique"] >= 3, "size"].max()) if (counts["nunique"] >= 3).any() else 0

"""Whether a delivery as a whole is garbage: each row may look possible while half of the coordinates are exchanged.

Real ones (IM2GPS, YFCC, MP-16) have no row out of range, 1 in 100 far from land at most, and no point that many authors
share.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

# Where suspicion becomes refusal, as shares of the rows of a delivery that have coordinates; below so many rows no share
# means much.
MIN_ROWS, OUT_OF_RANGE, ONE_POINT, WHOLE_DEGREES = 50, 0.01, 0.2, 0.2
# Of points at sea about a third come to lie on land by any of the repairs; of spoilt points nearly all do.
REPAIRED, REPAIRED_OF_UNLABELLED = 0.02, 0.6

# Ways in which software spoils a whole column, each with what undoes it.
REPAIRS: Mapping[str, Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "exchanging_latitude_and_longitude": lambda latitude, longitude: (longitude, latitude),
    "turning_the_sign_of_the_latitude": lambda latitude, longitude: (-latitude, longitude),
    "turning_the_sign_of_the_longitude": lambda latitude, longitude: (latitude, -longitude),
}


def problems_of(evidence: Mapping[str, float]) -> list[str]:
    """What is wrong with a delivery as a whole, by its `coordinate_damage`, a sentence each; [] where nothing is."""
    if evidence["rows"] < MIN_ROWS:
        return []
    problems = []
    if evidence["out_of_range"] > OUT_OF_RANGE:
        problems.append(f"{evidence['out_of_range']:.1%} of the coordinates are out of range")
    for repair in REPAIRS:
        share = evidence[f"on_land_after_{repair}"]
        if share > max(REPAIRED, REPAIRED_OF_UNLABELLED * evidence["unlabelled"]):
            problems.append(
                f"{share:.1%} of the photos lie far from any land and would not after {repair.replace('_', ' ')}:"
                " part of the coordinates seem to be spoilt in that way"
            )
    if evidence["at_one_point"] > ONE_POINT:
        problems.append(f"{evidence['at_one_point']:.1%} of the photos, by several authors, lie at exactly one point")
    if evidence["on_whole_degrees"] > WHOLE_DEGREES:
        problems.append(f"{evidence['on_whole_degrees']:.1%} of the coordinates are whole degrees")
    return problems


def coordinate_damage(
    latitude: np.ndarray,
    longitude: np.ndarray,
    author_id: np.ndarray,
    out_of_range: int,
    on_land: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> dict[str, float]:
    """The evidence in one delivery: `rows`, those with coordinates, and as shares of them the rows that are
    `out_of_range`, `unlabelled` (far from land), `on_land_after_...` each of `REPAIRS` and not before, `at_one_point`
    (the commonest that several authors share) and `on_whole_degrees` (both coordinates).

    `latitude`, `longitude`, `author_id` (n,) are of the accepted rows; `out_of_range` is the number of rows rejected for
    that reason; `on_land(latitude, longitude)` says which points lie in or near a region, (n,) bool.
    """
    rows = latitude.size + out_of_range
    astray = ~on_land(latitude, longitude)
    whole = (latitude == np.rint(latitude)) & (longitude == np.rint(longitude))
    counts = {"out_of_range": out_of_range, "unlabelled": astray.sum(), "on_whole_degrees": whole.sum()}
    counts["at_one_point"] = _commonest_point(latitude, longitude, author_id)
    for name, repair in REPAIRS.items():
        lat, lon = repair(latitude[astray], longitude[astray])
        possible = np.abs(lat) <= 90.0
        counts[f"on_land_after_{name}"] = on_land(lat[possible], lon[possible]).sum()
    return {"rows": rows, **{name: float(count) / max(1, rows) for name, count in counts.items()}}


def _commonest_point(latitude: np.ndarray, longitude: np.ndarray, author_id: np.ndarray) -> int:
    """How many rows lie at the commonest point that at least three authors share."""
    points = pd.DataFrame({"latitude": latitude, "longitude": longitude, "author_id": author_id})
    counts = points.groupby(["latitude", "longitude"])["author_id"].agg(["size", "nunique"])
    return int(counts.loc[counts["nunique"] >= 3, "size"].max()) if (counts["nunique"] >= 3).any() else 0

"""How many photos each region has: the thesis's Table 1, and how unequal it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from geoloc_core.errors import InputError
from geoloc_core.photos.schemas import ClassDistribution, column_names, validate

if TYPE_CHECKING:
    from geoloc_core.geography.boundaries import BoundarySet

LEVELS = {"country": "country_id", "subdivision": "subdivision_id"}
SHOWN = 5  # regions in the head and in the tail of a summary, as in the thesis


def class_distribution(photos: pd.DataFrame, boundaries: BoundarySet) -> pd.DataFrame:
    """`ClassDistribution`: one row for each region with photos, most photos first in each level.

    `photos` is `TrainingPhotos`, or, where that is too much to hold, their counts: the columns `country_id`,
    `subdivision_id`, `split` and `n`, as `Warehouse.count_by` gives them. `share` is of the photos that have a label at
    that level, so that the shares of a level add up to 1.
    """
    if "n" not in photos.columns:
        photos = photos.assign(n=1)
    parts = []
    for level, column in LEVELS.items():
        regions = boundaries.countries if level == "country" else boundaries.subdivisions
        names = dict(zip(regions["region_id"], regions["name"].fillna(""), strict=True))
        labelled = photos[photos[column] != ""]
        counts = labelled.pivot_table(index=column, columns="split", values="n", aggfunc="sum", fill_value=0)
        counts = counts.reindex(columns=["train", "validation"], fill_value=0)
        n_photos = counts.sum(axis=1)
        parts.append(
            pd.DataFrame(
                {
                    "level": level,
                    "region_id": counts.index.astype(object),
                    "name": [names.get(region, "") for region in counts.index],
                    "n_photos": n_photos.to_numpy(dtype=np.int64),
                    "n_train": counts["train"].to_numpy(dtype=np.int64),
                    "n_validation": counts["validation"].to_numpy(dtype=np.int64),
                    "share": (n_photos / max(1, n_photos.sum())).to_numpy(dtype=np.float64),
                }
            ).sort_values(["n_photos", "region_id"], ascending=[False, True])
        )
    frame = pd.concat(parts, ignore_index=True)[column_names(ClassDistribution)]
    return validate(ClassDistribution, frame, "the class distribution")


def distribution_summary(distribution: pd.DataFrame, level: str) -> dict[str, Any]:
    """What Table 1 says of one level in a few numbers.

    `effective_classes` is exp(entropy) of the shares (Hill 1973, order 1): the number of equally frequent classes that
    would be as uncertain. `head` and `tail` are the `SHOWN` largest and smallest classes with their photos.
    """
    if level not in LEVELS:
        raise InputError(f"there is no level {level!r}; known are {', '.join(LEVELS)}")
    rows = distribution[distribution["level"] == level].sort_values(["n_photos", "region_id"], ascending=[False, True])
    if rows.empty:
        raise InputError(f"there are no photos with a {level}")
    counts = rows["n_photos"].to_numpy(dtype=np.float64)
    shares = counts / counts.sum()
    listed = list(zip(rows["region_id"], rows["name"], rows["n_photos"].astype(int), strict=True))
    return {
        "level": level,
        "n_photos": int(counts.sum()),
        "n_classes": len(rows),
        "mean": float(counts.mean()),
        "median": float(np.median(counts)),
        "largest": str(rows["region_id"].iloc[0]),
        "largest_share": float(shares.max()),
        "effective_classes": float(np.exp(-(shares * np.log(shares)).sum())),
        "head": [{"region_id": region, "name": name, "n_photos": n} for region, name, n in listed[:SHOWN]],
        "tail": [{"region_id": region, "name": name, "n_photos": n} for region, name, n in listed[-SHOWN:]],
    }

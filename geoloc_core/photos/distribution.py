"""How many photos each region has: the thesis's Table 1, and how unequal it is."""

from typing import Any

import numpy as np
import pandas as pd

from geoloc_core.errors import InputError
from geoloc_core.geography.cells import LEVELS, id_column
from geoloc_core.photos.schemas import SPLITS, ClassDistribution
from geoloc_core.tables import validate

LISTED = 5  # regions in the head and in the tail of a summary, as in the thesis


def class_distribution(photos: pd.DataFrame, regions: pd.DataFrame) -> pd.DataFrame:
    """`ClassDistribution`: one row for each region with photos, most photos first in each level.

    `photos` is `TrainingPhotos`, or, where that is too much to hold, their counts: the columns of the levels, `split` and
    `n`, as `Warehouse.count_by` gives them. `regions` gives the names, by `level` and `region_id`. `share` is of the photos
    that have a label at that level, so that the shares of a level add up to 1.
    """
    if "n" not in photos.columns:
        photos = photos.assign(n=1)
    parts = []
    for level in LEVELS:
        labelled = photos[photos[id_column(level)] != ""].rename(columns={id_column(level): "region_id"})
        counts = labelled.pivot_table(index="region_id", columns="split", values="n", aggfunc="sum", fill_value=0)
        counts = counts.reindex(columns=list(SPLITS), fill_value=0)
        n_photos = counts.sum(axis=1)
        names = regions[regions["level"] == level].set_index("region_id")["name"].reindex(counts.index).fillna("")
        frame = counts.add_prefix("n_").assign(
            level=level, name=names, n_photos=n_photos, share=n_photos / n_photos.sum()
        )
        parts.append(frame.reset_index().sort_values(["n_photos", "region_id"], ascending=[False, True]))
    return validate(ClassDistribution, pd.concat(parts, ignore_index=True), "the class distribution")


def distribution_summary(distribution: pd.DataFrame, level: str) -> dict[str, Any]:
    """Table 1 of one level in a few numbers.

    `effective_classes` is exp(entropy) of the shares (Hill 1973, order 1): the number of equally frequent classes that
    would be as uncertain. `head` and `tail` are the `LISTED` largest and smallest classes with their photos.
    """
    rows = distribution[distribution["level"] == level].sort_values(["n_photos", "region_id"], ascending=[False, True])
    if rows.empty:
        raise InputError(f"there are no photos with a {level}")
    counts = rows["n_photos"].to_numpy(dtype=np.float64)
    shares = counts / counts.sum()
    listed = rows[["region_id", "name", "n_photos"]].to_dict("records")
    return {
        "level": level,
        "n_photos": int(counts.sum()),
        "n_classes": len(rows),
        "mean": float(counts.mean()),
        "median": float(np.median(counts)),
        "largest": str(rows["region_id"].iloc[0]),
        "largest_share": float(shares.max()),
        "effective_classes": float(np.exp(-(shares * np.log(shares)).sum())),
        "head": listed[:LISTED],
        "tail": listed[-LISTED:],
    }

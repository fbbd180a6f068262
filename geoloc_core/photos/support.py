"""What is done about regions with too few photos to learn from.

Support is counted on the training side of the split: it is what a head can learn from.

- A country below `min_support`: its training photos are left out, reason `below_min_support`.
- A sub-division below it: its training photos stay, with their country alone; they still teach the country.

Validation photos stay as they are in both cases. A head cannot name such a region, and its photos count as wrong: what
was left out of the classes is not left out of the score.
"""

from __future__ import annotations

import numpy as np
import pandas as pd


def low_support(training: pd.DataFrame, min_support: int) -> pd.DataFrame:
    """Regions of `TrainingPhotos` with fewer than `min_support` training photos: level, region_id, n_train, n_photos."""
    parts = []
    for level, column in (("country", "country_id"), ("subdivision", "subdivision_id")):
        labelled = training[training[column] != ""]
        is_train = labelled["split"] == "train"
        counts = pd.DataFrame(
            {"n_train": is_train.groupby(labelled[column]).sum(), "n_photos": labelled[column].value_counts()}
        )
        rare = counts[counts["n_train"] < min_support].astype(np.int64).sort_index()
        parts.append(rare.rename_axis("region_id").reset_index().assign(level=level))
    return pd.concat(parts, ignore_index=True)[["level", "region_id", "n_train", "n_photos"]]


def apply_min_support(training: pd.DataFrame, min_support: int) -> tuple[pd.DataFrame, np.ndarray]:
    """`training` after the policy above, and which of its rows (n,) are left out. 1 or less changes nothing."""
    rare = low_support(training, min_support)
    countries, subdivisions = (
        set(rare.loc[rare["level"] == level, "region_id"]) for level in ("country", "subdivision")
    )
    is_train = (training["split"] == "train").to_numpy()
    left_out = training["country_id"].isin(countries).to_numpy() & is_train
    nameless = training["subdivision_id"].isin(subdivisions).to_numpy() & is_train
    kept = training.assign(subdivision_id=np.where(nameless, "", training["subdivision_id"].to_numpy(dtype=object)))
    return kept[~left_out], left_out

"""What of the photos cannot be used, and why: counted beside what was made, as a shard of 20 refused pictures is no success."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable

from geoloc_core.errors import GeolocError
from geoloc_core.line.artifacts import Target
from geoloc_core.line.layout import Layout
from geoloc_core.photos.rows import read_rows
from geoloc_core.photos.sources.row_choice import OF_ANOTHER

COUNTED = {"raw_photos": "rows", "images": "pictures"}


def losses(layout: Layout, target: Target) -> tuple[int, Counter[str]]:
    """How many rows (`raw_photos`) or pictures (`images`) a shard has, and how many of them cannot be used, by reason.

    A row that the profile gives to another dataset is none of this one's.
    """
    if target.asset == "raw_photos":
        refused = read_rows(layout.rejected_rows(target.partition), ["reason"])["reason"]
        refused = refused[~refused.isin(OF_ANOTHER)]
        return len(refused) + len(read_rows(layout.raw_photos(target.partition), ["photo_id"])), Counter(refused)
    status = read_rows(layout.images(target.partition), ["status"])["status"]
    return len(status), Counter(status[status != "ok"])


def told(what: str, number: int, lost: Counter[str]) -> str:
    """The same in words; an empty text where nothing is lost."""
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in lost.most_common())
    return f"{lost.total():,} of {number:,} {what} cannot be used: {reasons}" if lost else ""


def losses_of_all(layout: Layout, made: Iterable[Target]) -> list[str]:
    """A sentence for the rows, and one for the pictures, of all these targets; shards without a usable one are named."""
    sentences, made = [], list(made)
    for asset, what in COUNTED.items():
        counts = {}
        for target in (target for target in made if target.asset == asset):
            with contextlib.suppress(GeolocError):  # a damaged file is told of elsewhere
                counts[target.partition] = losses(layout, target)
        lost = sum((reasons for _, reasons in counts.values()), Counter[str]())
        empty = [shard for shard, (number, reasons) in counts.items() if number and reasons.total() == number]
        sentence = told(what, sum(number for number, _ in counts.values()), lost)
        sentences += [f"{sentence}{'; nothing is left of ' + ', '.join(empty) if empty else ''}"] if sentence else []
    return sentences

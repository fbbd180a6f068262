"""Which rows of a table are a dataset's own, and the address of a picture made from columns of its row."""

from __future__ import annotations

import re
from collections.abc import Mapping
from string import Formatter
from urllib.parse import quote

from geoloc_core.photos.settings import RowChoice
from geoloc_core.photos.splits import belongs_to_share

# Rows of a shared file that are another dataset's: nothing is wrong with them.
OF_ANOTHER = ("other_rows", "held_out", "not_held_out")


def columns_of_choice(rows: RowChoice, url: str) -> tuple[str, ...]:
    """The columns that `choose_row` and `picture_url` look at."""
    fields = [name for _, name, _, _ in Formatter().parse(url) if name]
    return tuple(dict.fromkeys((*rows.where, *rows.licence, *filter(None, (rows.by,)), *fields)))


def choose_row(rows: RowChoice, values: Mapping[str, str]) -> str:
    """The reason why a row with these values by column is not the dataset's, "" where it is."""
    if not all(re.fullmatch(pattern, values[column]) for column, pattern in rows.where.items()):
        return "other_rows"
    if rows.by and belongs_to_share(values[rows.by], rows.key, rows.share) != rows.held_out:
        return "not_held_out" if rows.held_out else "held_out"
    allowed = all(re.fullmatch(pattern, values[column]) for column, pattern in rows.licence.items())
    return "" if allowed else "licence"


def picture_url(template: str, values: Mapping[str, str]) -> str:
    """The address of a picture, every value quoted; "" where a column that it is made from is empty."""
    fields = {name: quote(values[name], safe="") for _, name, _, _ in Formatter().parse(template) if name}
    return template.format_map(fields) if all(fields.values()) else ""

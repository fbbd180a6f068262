"""What the Dagster UI shows of an artifact besides its columns (columns.py): small tables, small pictures, links."""

import base64
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import dagster as dg

if TYPE_CHECKING:
    from geoloc_core.geography.repair import Repair

# The event log keeps every picture and every table of every materialization: larger ones belong into a file.
LARGEST_PICTURE_BYTES = 100_000
MOST_ROWS = 60


def picture(content: bytes, caption: str) -> dg.MetadataValue:
    """A PNG or a JPEG that the UI shows where it stands; one larger than the event log should hold is named instead."""
    kind = "jpeg" if content.startswith(b"\xff\xd8") else "png"
    text = f"![{caption}](data:image/{kind};base64,{base64.b64encode(content).decode('ascii')})"
    if len(text) > LARGEST_PICTURE_BYTES:
        return dg.MetadataValue.md(f"{caption}: {len(content):,} bytes, too large to be shown here; see the report.")
    return dg.MetadataValue.md(text)


def file_link(home: Path, file: Path) -> dg.MetadataValue:
    """A file of the data folder, as something to click on or to copy.

    Browsers follow no link from a page to a file of the machine. Where a web server gives out the data folder (a proxy in
    front of the stack), GEOLOC_FILES_URL names it and the link goes there; elsewhere the UI shows the path.
    """
    served = os.environ.get("GEOLOC_FILES_URL")
    if served:
        return dg.MetadataValue.url(f"{served.rstrip('/')}/{quote(file.relative_to(home).as_posix())}")
    return dg.MetadataValue.path(str(file))


def rows_table(header: Sequence[str], rows: Sequence[Sequence[str]], rest: str = "") -> str:
    """A Markdown table of the first `MOST_ROWS` rows; others are counted, and `rest` says where they are."""
    lines = [header, ["---"] * len(header), *rows[:MOST_ROWS]]
    if len(rows) > MOST_ROWS:
        lines.append([f"and {len(rows) - MOST_ROWS:,} more", rest, *[""] * (len(header) - 2)])
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def counts_table(counts: Mapping[str, int], name: str) -> dg.MetadataValue:
    """A small table of how often each thing occurs, the most frequent first."""
    rows = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return dg.MetadataValue.md(rows_table((name, "count"), [(key, f"{value:,}") for key, value in rows]))


def repairs_table(repairs: Sequence["Repair"]) -> dg.MetadataValue:
    """What was changed in a boundary set's polygons, the first `MOST_ROWS` of it."""
    rows = [(one.level, one.region_id, one.what, one.detail) for one in repairs]
    header = ("level", "region", "what", "detail")
    return dg.MetadataValue.md(rows_table(header, rows, "the metadata of regions.parquet has them"))


def parquet_rows(file: Path) -> int:
    """Rows of a Parquet file, from its footer."""
    import pyarrow.parquet as pq

    return int(pq.read_metadata(file).num_rows)

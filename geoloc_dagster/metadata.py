"""What the Dagster UI shows of an artifact: columns, small tables, small pictures."""

import base64
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    from geoloc_core.geography.repair import Repair

# The event log keeps every picture of every materialization: larger ones belong into a file.
LARGEST_PICTURE_BYTES = 100_000
MOST_ROWS = 50


def column_schema(model: Any) -> dg.TableSchema:
    """The columns of a pandera model, with what must hold of each."""
    columns = []
    for name, column in model.to_schema().columns.items():
        checks = [str(check.error or check.name) for check in column.checks]
        columns.append(
            dg.TableColumn(
                name=str(name),
                type=str(column.dtype),
                description=column.description or column.title,
                constraints=dg.TableColumnConstraints(
                    nullable=bool(column.nullable), unique=bool(column.unique), other=checks
                ),
            )
        )
    return dg.TableSchema(columns=columns)


def picture(png: bytes, caption: str) -> dg.MetadataValue:
    """A PNG that the UI shows where it stands; a larger one than the event log should hold is named instead."""
    if len(png) > LARGEST_PICTURE_BYTES:
        return dg.MetadataValue.md(f"{caption}: {len(png):,} bytes, too large to be shown here; see the report.")
    return dg.MetadataValue.md(f"![{caption}](data:image/png;base64,{base64.b64encode(png).decode('ascii')})")


def counts_table(counts: Mapping[str, int], name: str) -> dg.MetadataValue:
    """A small table of how often each thing occurs, the most frequent first."""
    rows = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    lines = [f"| {name} | count |", "|---|---:|", *(f"| {key} | {value:,} |" for key, value in rows)]
    return dg.MetadataValue.md("\n".join(lines))


def repairs_table(repairs: Sequence["Repair"]) -> dg.MetadataValue:
    """What was changed in a boundary set's polygons, the first `MOST_ROWS` of it."""
    lines = ["| level | region | what | detail |", "|---|---|---|---|"]
    lines += [f"| {one.level} | {one.region_id} | {one.what} | {one.detail} |" for one in repairs[:MOST_ROWS]]
    if len(repairs) > MOST_ROWS:
        lines.append(f"\n... and {len(repairs) - MOST_ROWS:,} more, in the metadata of regions.parquet")
    return dg.MetadataValue.md("\n".join(lines))

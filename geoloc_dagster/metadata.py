"""What the Dagster UI shows of an artifact: its figures, small tables and pictures, links, columns."""

import base64
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import dagster as dg

from geoloc_core.line.make import Made
from geoloc_core.line.project import Project
from geoloc_core.line.steps import Markdown

if TYPE_CHECKING:
    from pandera.pandas import DataFrameSchema

# The event log keeps every picture and every table of every materialization: larger ones belong into a file.
LARGEST_PICTURE_BYTES = 100_000
MOST_ROWS = 60
# The tables of photos that the tables of predictions are about.
PREDICTED = {"validation_report": "training_photos", "benchmark_report": "labeled_photos"}
# Dagster's own names for facts that it shows in places of their own.
OWN_NAMES = {"rows": "dagster/row_count", "table": "dagster/table_name"}


def materialization(project: Project, made: Made, seconds: float) -> dg.MaterializeResult:
    """What Dagster records of a target that was made."""
    receipt = made.receipt
    metadata = {
        "geoloc/made_from": dg.MetadataValue.json(dict(receipt.made_from)),
        "geoloc/seconds": round(seconds, 3),
        **{
            OWN_NAMES.get(name, name): shown(project.home, name, fact, receipt.target.partition)
            for name, fact in made.facts.items()
        },
    }
    if receipt.target.asset in schemas():
        metadata |= table_metadata(receipt.target.asset)
    if receipt.files:
        metadata["dagster/size_bytes"] = sum(stamp.size for stamp in receipt.files.values())
        metadata["dagster/uri"] = str(project.home / next(iter(receipt.files)))
    return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(receipt.data_version))


def schemas() -> "dict[str, DataFrameSchema]":
    """The schema of every artifact that is a table."""
    from geoloc_core import tables
    from geoloc_core.evaluation.prediction_table import Predictions
    from geoloc_core.photos import schemas as photos

    return {**tables.TABLES, **photos.TABLES, **dict.fromkeys(PREDICTED, Predictions)}


def table_metadata(asset: str) -> dict[str, Any]:
    """Columns with type, meaning and rules, and the columns upstream that each is made from.

    Dagster's open UI draws no column lineage, so each description says as well where the column comes from.
    """
    from geoloc_core.tables import columns_of

    columns = columns_of(schemas()[asset])
    described = [
        dg.TableColumn(
            name=column.name,
            type=column.dtype,
            description=column.sentence.replace("{photos}", PREDICTED.get(asset, "")),
            constraints=dg.TableColumnConstraints(
                nullable=column.nullable, unique=column.unique, other=list(column.constraints)
            ),
        )
        for column in columns
    ]
    sources = {
        column.name: [_column_dependency(asset, source) for source in column.made_from]
        for column in columns
        if column.made_from
    }
    return {
        "dagster/column_schema": dg.TableSchema(columns=described),
        "dagster/column_lineage": dg.TableColumnLineage(sources),
    }


def _column_dependency(asset: str, source: str) -> dg.TableColumnDep:
    upstream, column = source.replace("{photos}", PREDICTED.get(asset, "")).split(".")
    return dg.TableColumnDep(dg.AssetKey(upstream), column)


def shown(home: Path, name: str, fact: Any, partition: str = "") -> Any:
    """A fact (`geoloc_core.line.steps.Output`) as the UI shows it."""
    if isinstance(fact, Markdown):
        return dg.MetadataValue.md(fact)
    if isinstance(fact, bytes):
        return picture(fact, name.replace("_", " ") + (f" of {partition}" if partition else ""))
    if isinstance(fact, Path):
        return file_link(home, fact)
    if isinstance(fact, Mapping) and all(type(count) is int for count in fact.values()):
        return counts_table(fact, name)
    return dg.MetadataValue.json(fact) if isinstance(fact, Mapping | list) else fact


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
    base = os.environ.get("GEOLOC_FILES_URL")
    if base:
        return dg.MetadataValue.url(f"{base.rstrip('/')}/{quote(file.relative_to(home).as_posix())}")
    return dg.MetadataValue.path(str(file))


def rows_table(header: Sequence[str], rows: Sequence[Sequence[str]], rest: str = "") -> dg.MetadataValue:
    """A Markdown table of the first `MOST_ROWS` rows; others are counted, and `rest` says where they are."""
    lines = [header, ["---"] * len(header), *rows[:MOST_ROWS]]
    if len(rows) > MOST_ROWS:
        lines.append([f"and {len(rows) - MOST_ROWS:,} more", rest, *[""] * (len(header) - 2)])
    text = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    return dg.MetadataValue.md(text)


def counts_table(counts: Mapping[str, int], name: str) -> dg.MetadataValue:
    """A small table of how often each thing occurs, the most frequent first."""
    rows = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return rows_table((name, "count"), [(str(key), f"{value:,}") for key, value in rows])

"""A blocking check that fails stops what is downstream, in the same refresh and in every later one, until it passes."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg

from geoloc_core.line.artifacts import Target
from geoloc_core.line.project import Project
from geoloc_core.line.receipts import read_receipt
from geoloc_dagster.definitions import defs
from geoloc_dagster.refresh import refresh

Edit = Callable[..., Project]
SHARD = "mine"


def own_delivery(project: Project, edit: Edit, exchanged: bool) -> tuple[Project, Path]:
    """The project with a shard whose metadata a test writes; `exchanged`: half of them change places."""
    path = project.layout.home.parent / "mine.csv"
    write(path, *rows_of_samples(project), exchanged)
    entry = {"name": SHARD, "metadata": str(path), "images": str(project.layout.delivery("sample-01") / "images")}
    return edit(project, training=[entry]), path


def rows_of_samples(project: Project) -> tuple[str, list[str]]:
    """Header and rows of three drawn deliveries: of fewer than 50 rows no share means much to the check."""
    tables = [
        (project.layout.delivery(shard) / "metadata.csv").read_text().splitlines()
        for shard in ("sample-00", "sample-01", "sample-02")
    ]
    return tables[0][0], [row for table in tables for row in table[1:]]


def write(path: Path, header: str, rows: list[str], exchanged: bool) -> None:
    """A delivery; the first fields are id, author, latitude and longitude."""
    lines = [header]
    for number, row in enumerate(rows):
        cells = row.split(",")
        if exchanged and number % 2 == 0 and cells[3] and abs(float(cells[3])) <= 90:
            cells[2], cells[3] = cells[3], cells[2]
        lines.append(",".join(cells))
    path.write_text("\n".join(lines) + "\n")


def test_a_delivery_that_its_check_refuses_reaches_nothing_until_it_is_mended(
    copy: Project, own_instance: dg.DagsterInstance, edit: Edit
) -> None:
    project, path = own_delivery(copy, edit, exchanged=True)
    rows_before = project.warehouse().rows_by_shard("labeled_photos")
    refused = Target("raw_photos", SHARD)
    for _ in range(2):
        outcome = refresh(project, own_instance, defs)
        assert list(outcome.failed) == [refused]
        assert outcome.failed[refused].startswith("its check not_garbage refused it: ")
        assert outcome.faults == []
        blocked = {target.asset for target in outcome.blocked}
        assert {"images", "labeled_photos", "embeddings", "training_photos", "heads", "results", "champion"} <= blocked
        assert project.warehouse().rows_by_shard("labeled_photos") == rows_before
        receipt = read_receipt(project.layout, refused)
        assert receipt is not None
        assert set(receipt.refused) == {"not_garbage"}

    write(path, *rows_of_samples(project), exchanged=False)
    mended = refresh(project, own_instance, defs)
    assert mended.well, mended.failed
    assert {refused, Target("labeled_photos", SHARD), Target("training_photos")} <= set(mended.made)
    assert project.warehouse().rows_by_shard("labeled_photos")[SHARD] > 20

"""What a data engineer does on the first day: look at the graph, remake one partition, read what it says, follow it."""

import json
import re
from urllib.parse import quote

import pytest

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Page, expect

from geoloc_core.line.artifacts import ASSETS, Target
from geoloc_core.line.receipts import read_receipt
from geoloc_core.photos.contact_sheet import SIDE
from geoloc_dagster.columns import COLUMNS
from tests.browser.conftest import PATIENCE_MS, Shoot, Ui

expect.set_options(timeout=PATIENCE_MS)
GROUPS = ("geography", "photos", "features", "learning", "evaluation")
SHARD = "sample-01"
# Four processes, one after another, on cores that others work on as well.
RUN_MS = 240_000


def test_the_asset_graph_shows_every_asset_as_materialized(page: Page, ui: Ui, shoot: Shoot) -> None:
    page.goto(f"{ui.address}/asset-groups")
    for group in GROUPS:
        expect(page.locator("foreignObject").get_by_text(group, exact=True).first).to_be_visible()
    page.locator("foreignObject").filter(has_text="learning").first.click()
    expect(page.locator("foreignObject").get_by_text("class_weights", exact=True).first).to_be_visible()

    # The address keeps which groups are unfolded; a person would go on clicking.
    unfolded = quote(",".join(f"global@global:{group}" for group in GROUPS), safe=",")
    page.set_viewport_size({"width": 1700, "height": 1250})
    page.goto(f"{ui.address}/asset-groups?expanded={unfolded}")
    page.get_by_role("img", name="zoom_out").click()
    for asset in ASSETS:
        expect(page.locator("foreignObject").get_by_text(asset, exact=True).first).to_be_visible()
    shoot("asset_graph")


def test_a_partition_is_materialized_by_clicking(page: Page, ui: Ui, shoot: Shoot) -> None:
    target = Target("labeled_photos", SHARD)
    before = read_receipt(ui.project.layout, target)
    assert before is not None

    page.goto(f"{ui.address}/assets/labeled_photos")
    page.get_by_role("button", name="Materialize…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Select a partition or create one").click()
    page.get_by_role("menuitem").filter(has_text=SHARD).click()
    dialog.get_by_text("Launch runs to materialize").click()
    shoot("materialize_dialog")
    dialog.get_by_role("button", name="Launch 1 run").click()
    told = page.get_by_text(re.compile(r"Launched run \w{8}")).first.text_content() or ""
    page.goto(f"{ui.address}/runs")
    page.locator(f'a[href^="/runs/{told.split()[2][:8]}"]').first.click()
    expect(page.get_by_text("RUN_SUCCESS").first).to_be_visible(timeout=RUN_MS)
    after = read_receipt(ui.project.layout, target)
    assert after is not None
    assert after.run_id != before.run_id, "no run has made the partition anew"
    assert page.url.endswith(after.run_id)
    assert after.data_version == before.data_version, "the same photos and the same regions give the same labels"
    shoot("run")

    page.goto(f"{ui.address}/assets/labeled_photos?view=partitions&partition={SHARD}")
    expect(page.get_by_text("dagster/row_count", exact=True).first).to_be_visible()
    expect(page.get_by_text(after.run_id[:8]).first).to_be_visible()
    made_from = page.get_by_role("row").filter(has_text="geoloc/made_from").get_by_role("cell").nth(1)
    assert json.loads(made_from.inner_text()) == dict(after.made_from)
    shoot("partition")


def test_an_assets_page_explains_its_columns_and_shows_its_pictures(page: Page, ui: Ui, shoot: Shoot) -> None:
    page.goto(f"{ui.address}/assets/training_photos")
    explained = COLUMNS["training_photos"]["split"].description
    expect(page.get_by_text(explained).first).to_be_attached()
    expect(page.get_by_text(re.compile("Open photos.py in editor|Source code")).first).to_be_visible()
    shoot("columns")

    page.goto(f"{ui.address}/assets/images?view=partitions&partition={SHARD}")
    page.get_by_text("[Show Markdown]").first.click()
    sheet = page.get_by_role("img", name=f"pictures of {SHARD}")
    expect(sheet).to_be_visible()
    assert sheet.evaluate("image => image.naturalWidth") == 6 * SIDE, "the picture is drawn, not only named"
    shoot("pictures")


def test_numbers_plot_over_partitions(page: Page, ui: Ui, shoot: Shoot) -> None:
    page.goto(f"{ui.address}/assets/validation_report")
    page.get_by_text("Plots", exact=True).first.click()
    for number in ("accuracy", "dagster/row_count"):
        expect(page.get_by_text(number, exact=True).first).to_be_visible()
    assert page.locator("canvas").count() >= 2
    shoot("plots")


def test_lineage_leads_upstream_and_downstream(page: Page, ui: Ui, shoot: Shoot) -> None:
    page.goto(f"{ui.address}/assets/labeled_photos?view=lineage&lineageScope=neighbors")
    for neighbour in ("raw_photos", "regions", "training_photos"):
        expect(page.locator("foreignObject").get_by_text(neighbour, exact=True).first).to_be_visible()
    shoot("lineage")

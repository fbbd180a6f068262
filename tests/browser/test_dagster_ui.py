"""What a data engineer does on the first day: look at the graph, materialize a partition, read its metadata, follow it."""

import json
import re
from urllib.parse import quote

import pytest

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Page, expect

from geoloc_core.photos.contact_sheet import SIDE
from tests.browser.conftest import PATIENCE_S, Shoot, Ui
from tests.servers import ask, last_materialization

expect.set_options(timeout=PATIENCE_S * 1000)
GROUPS = ("geography", "photos", "features", "learning", "evaluation")
SHARD = "sample-01"


def test_the_asset_graph_shows_every_asset(page: Page, ui: Ui, shoot: Shoot) -> None:
    assets = [
        node["assetKey"]["path"][0] for node in ask(ui.address, "{ assetNodes { assetKey { path } } }")["assetNodes"]
    ]
    assert len(assets) >= 14
    page.set_viewport_size({"width": 1700, "height": 1250})
    # The address says which groups are unfolded.
    unfolded = quote(",".join(f"global@global:{group}" for group in GROUPS), safe=",")
    page.goto(f"{ui.address}/asset-groups?expanded={unfolded}")
    page.get_by_role("img", name="zoom_out").click()
    for asset in assets:
        expect(page.locator("foreignObject").get_by_text(asset, exact=True).first).to_be_visible()
    shoot("asset_graph")


def test_a_partition_is_materialized_by_clicking(page: Page, ui: Ui, shoot: Shoot) -> None:
    before = last_materialization(ui.address, "labeled_photos", SHARD)
    news: list[str | bytes] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: news.append(frame)))
    page.goto(f"{ui.address}/assets/labeled_photos")
    page.get_by_role("button", name="Materialize…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Select a partition or create one").click()
    page.get_by_role("menuitem").filter(has_text=SHARD).click()
    dialog.get_by_text("Launch runs to materialize").click()
    shoot("materialize_dialog")
    dialog.get_by_role("button", name="Launch 1 run").click()
    toast = page.get_by_text(re.compile(r"Launched run \w{8}")).first.text_content() or ""
    page.goto(f"{ui.address}/runs")
    page.locator(f'a[href^="/runs/{toast.split()[2][:8]}"]').first.click()
    expect(page.get_by_text("RUN_SUCCESS").first).to_be_visible()
    assert any("pipelineRunLogs" in str(frame) for frame in news), "the run's page hears of events as they come"
    after = last_materialization(ui.address, "labeled_photos", SHARD)
    assert after["run_id"] != before["run_id"], "no run has materialized the partition"
    assert page.url.endswith(after["run_id"])
    assert after["data_version"] == before["data_version"], "the same photos and regions must give the same labels"
    shoot("run")

    page.goto(f"{ui.address}/assets/labeled_photos?view=partitions&partition={SHARD}")
    expect(page.get_by_text("dagster/row_count", exact=True).first).to_be_visible()
    expect(page.get_by_text(after["run_id"][:8]).first).to_be_visible()
    cell = page.get_by_role("row").filter(has_text="geoloc/made_from").get_by_role("cell").nth(1)
    assert json.loads(cell.inner_text()) == json.loads(after["geoloc/made_from"])
    shoot("partition")


def test_an_assets_pages_show_columns_code_pictures_plots_and_lineage(page: Page, ui: Ui, shoot: Shoot) -> None:
    page.goto(f"{ui.address}/assets/training_photos")
    expect(page.get_by_text("author_id", exact=True).first).to_be_attached()
    expect(page.get_by_text(re.compile(r"Open \w+\.py in editor|Source code")).first).to_be_visible()
    shoot("columns")

    page.goto(f"{ui.address}/assets/images?view=partitions&partition={SHARD}")
    page.get_by_text("[Show Markdown]").first.click()
    sheet = page.get_by_role("img", name=f"pictures of {SHARD}")
    expect(sheet).to_be_visible()
    assert sheet.evaluate("image => image.naturalWidth") == 6 * SIDE, "the picture is drawn, not only named"
    shoot("pictures")

    page.goto(f"{ui.address}/assets/validation_report")
    page.get_by_text("Plots", exact=True).first.click()
    for number in ("accuracy", "dagster/row_count"):
        expect(page.get_by_text(number, exact=True).first).to_be_visible()
    assert page.locator("canvas").count() >= 2
    shoot("plots")

    page.goto(f"{ui.address}/assets/labeled_photos?view=lineage&lineageScope=neighbors")
    for neighbour in ("raw_photos", "regions", "training_photos"):
        expect(page.locator("foreignObject").get_by_text(neighbour, exact=True).first).to_be_visible()
    shoot("lineage")

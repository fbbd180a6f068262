"""The page about a delivery, opened from the disk: it asks nobody, and nothing that came in with the delivery runs."""

from pathlib import Path

import pandas as pd
import pytest

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Page, expect

from geoloc_core.line.project import Project
from geoloc_core.photos.expectations import Outcome, page_of
from tests.browser.conftest import Shoot

HOSTILE = "<script>document.title = 'ran'</script><img src='http://evil.test/x.png' onerror=\"document.title = 'ran'\">"


def opened(page: Page, file: Path) -> list[str]:
    """What opening a page asks for besides itself; the network is cut, so a request would fail and still be heard of."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.context.set_offline(True)
    page.goto(file.as_uri(), wait_until="networkidle")
    page.context.set_offline(False)
    assert asked.pop(0) == file.as_uri()
    return asked


def test_the_page_of_a_refreshed_project_asks_nobody(page: Page, made_project: Project, shoot: Shoot) -> None:
    assert opened(page, made_project.layout.data_docs / "sample-01" / "index.html") == []
    expect(page.get_by_role("heading", name="Delivery sample-01")).to_be_visible()
    expect(page.get_by_role("cell", name="country_drift")).to_be_visible()
    shoot("delivery")


def test_a_script_in_a_reason_is_text(page: Page, tmp_path: Path) -> None:
    rows = pd.DataFrame({"outcome": ["accepted", HOSTILE], "label_quality": HOSTILE, "country_id": HOSTILE})
    file = tmp_path / "index.html"
    file.write_text(page_of(HOSTILE, rows, [Outcome(HOSTILE, False, 1.0, 0.5, HOSTILE)]))
    assert opened(page, file) == []
    assert page.title() == f"Delivery {HOSTILE}"
    assert page.locator("script, img").count() == 0
    expect(page.get_by_role("cell", name=HOSTILE, exact=True).first).to_be_visible()

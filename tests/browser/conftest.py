"""The real UI over a small refreshed project, and a real Chromium that looks at it.

GEOLOC_SCREENSHOTS names a folder for screenshots; without it none are taken.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from geoloc_core.line.project import Project
from tests.conftest import copy_of
from tests.dagster.tiny_line import log_of, start
from tests.servers import printed_address, stop, wait_until

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; `make setup` installs it")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# Two cores that others use as well.
PATIENCE_S = 120
Shoot = Callable[[str], None]


@dataclass(frozen=True)
class Ui:
    """The address of a running UI and the project behind it."""

    address: str
    project: Project


@pytest.fixture(scope="session")
def ui(made_project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    """`geoloc ui` on a copy of the refreshed TINY."""
    project = copy_of(made_project, tmp_path_factory.mktemp("ui") / "copy")
    process, log = start(project, "geoloc_dagster.cli", "ui", "--port", "3400"), log_of(project)
    try:
        yield Ui(wait_until(lambda: printed_address(log, "Dagster UI"), process, log, PATIENCE_S), project)
    finally:
        stop(process)


@pytest.fixture(scope="module")
def browser(ui: Ui) -> Iterator["playwright.Browser"]:
    """The system's Chromium without a window. Playwright's loop in this thread would disturb Dagster runs after the module."""
    if not CHROMIUM:
        pytest.skip("no chromium here; `apt-get install chromium` installs it")
    with playwright.sync_playwright() as driver:
        # As root Chromium refuses its own sandbox; it opens nothing but our own pages.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: "playwright.Browser") -> Iterator["playwright.Page"]:
    """A new tab; an error of the page's own scripts fails the test."""
    opened = browser.new_page(viewport={"width": 1500, "height": 900})
    opened.set_default_timeout(PATIENCE_S * 1000)
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    opened.close()
    assert not errors, errors


@pytest.fixture
def shoot(page: "playwright.Page") -> Shoot:
    """A function that keeps a screenshot of the tab, if somebody wants them."""
    folder = os.environ.get("GEOLOC_SCREENSHOTS")

    def keep(name: str) -> None:
        if folder:
            # Animations of the UI (a graph that unfolds, a drawer that slides) take about a second.
            page.wait_for_timeout(1_200)
            page.screenshot(path=Path(folder) / f"{name}.png")

    return keep

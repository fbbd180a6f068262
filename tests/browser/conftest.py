"""The real UI over a small refreshed project, and a real Chromium that looks at it.

Screenshots go to pytest's temporary folder, or to the folder that GEOLOC_SCREENSHOTS names, where they are kept.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from geoloc_core.line.project import Project, open_project

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; `make setup` brings it")
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)
# Two cores that others work on as well: a page may take its time, a run its half minute.
PATIENCE_MS = 60_000
Shoot = Callable[[str], Path]


@dataclass(frozen=True)
class Ui:
    """The address of a running UI and the project behind it."""

    address: str
    project: Project


@pytest.fixture(scope="session")
def ui(made_project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    """`geoloc ui` on a copy of the refreshed TINY; stopped at the end as Ctrl-C would."""
    folder = tmp_path_factory.mktemp("ui") / "copy"
    shutil.copytree(made_project.layout.home.parent, folder)
    project = open_project(str(folder / "tiny.yaml"), folder / "home")
    command = [sys.executable, "-m", "geoloc_dagster.cli", "ui", "--port", "3400"]
    command += ["--profile", str(project.profile_path), "--home", str(project.layout.home)]
    log = folder / "ui.log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield Ui(_address(process, log), project)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Where the UI answers, once it does."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        told = re.search(r"Dagster UI: (http://127\.0\.0\.1:\d+)", log.read_text(errors="replace"))
        try:
            if told and urllib.request.urlopen(f"{told[1]}/server_info", timeout=5).status == 200:
                return told[1]
        except OSError:
            pass
        time.sleep(0.5)
    raise AssertionError(f"the UI did not start:\n{log.read_text(errors='replace')[-3000:]}")


@pytest.fixture(scope="module")
def browser(ui: Ui) -> Iterator["playwright.Browser"]:
    """The system's Chromium without a window.

    Comes after `ui` and ends with the module: Playwright's loop in this thread would disturb a Dagster run in this process.
    """
    if not CHROMIUM:
        pytest.skip("no chromium here; `apt-get install chromium` brings it")
    with playwright.sync_playwright() as driver:
        # As root Chromium refuses its own sandbox; it looks at nothing but our own pages.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: "playwright.Browser") -> Iterator["playwright.Page"]:
    """A fresh tab; an error of the page's own scripts fails the test."""
    opened = browser.new_page(viewport={"width": 1500, "height": 900})
    opened.set_default_timeout(PATIENCE_MS)
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    opened.close()
    assert not errors, errors


@pytest.fixture
def shoot(page: "playwright.Page", tmp_path: Path) -> Shoot:
    """A function that keeps a screenshot of the tab."""
    folder = Path(os.environ.get("GEOLOC_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)

    def keep(name: str) -> Path:
        # Animations of the UI (a graph that unfolds, a drawer that slides) take under a second.
        page.wait_for_timeout(1_200)
        path = folder / f"{name}.png"
        page.screenshot(path=path)
        assert path.stat().st_size > 10_000, f"{path} shows next to nothing"
        return path

    return keep

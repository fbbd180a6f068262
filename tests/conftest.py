"""What every test may ask for."""

import os
from pathlib import Path

import pytest

PROJECT_ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the project; tests that want it skip where it is not."""
    folder = Path(os.environ.get("GEOLOC_SHARED_DATA", PROJECT_ROOT.parent / "shared" / "data"))
    if not (folder / "SOURCES.md").is_file():
        pytest.skip("the real data of ../shared/data is not here")
    return folder

"""The script that makes the embedded boundaries: its ids, and that it makes the committed file."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import geopandas as gpd
import pandas as pd
import pytest
import shapely

from geoloc_core.geography.boundaries import EMBEDDED_FILE, read_boundaries

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "build_regions.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_regions", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def units(rows: list[tuple[str, str, str, str]]) -> gpd.GeoDataFrame:
    frame = pd.DataFrame(rows, columns=["adm0_a3", "iso_a2", "name", "gn_name"]).assign(fips="", woe_name="")
    return gpd.GeoDataFrame(frame, geometry=[shapely.box(i, 0, i + 1, 1) for i in range(len(rows))])


def test_ids_prefer_iso_and_invent_the_rest(script: ModuleType) -> None:
    frame = units(
        [
            ("NLD", "NL", "Utrecht", ""),  # known and unique
            ("IND", "IN", "Gujarat", ""),  # claimed twice, the name decides
            ("IND", "IN", "Daman", ""),
            ("HKG", "HK", "North", ""),  # the code is another country's
            ("USA", "US", "Alaska", ""),  # the crosswalk is silent, the name known
            ("IRL", "IE", "Leitrim", ""),
            ("IRL", "IE", "Leinster", ""),
            ("AIA", "AI", "The Valley", ""),  # a stopgap of Natural Earth's is no code
        ]
    )
    codes = pd.Series(["NL-UT", "IN-GJ", "IN-GJ", "CN-91", "", "", "", "AI-X06~"])
    names = {("IND", "GUJARAT"): "IN-GJ", ("USA", "ALASKA"): "US-AK"}
    ids = script.subdivision_ids(frame, codes, names)
    assert ids == ["NL-UT", "IN-GJ", "IN-0DA", "HK-0NO", "US-AK", "IE-0LI", "IE-0LE", "AI-0TH"]


def test_the_committed_file_is_what_the_script_makes(shared_data: Path, tmp_path: Path) -> None:
    made = tmp_path / "regions.parquet"
    command = [sys.executable, SCRIPT, shared_data / "boundaries", "--output", made]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "249 countries, 4556 sub-divisions" in done.stdout
    assert read_boundaries(made).identity == read_boundaries(EMBEDDED_FILE).identity

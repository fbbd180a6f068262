"""The manifest of the sample: facts of photos on Wikimedia Commons, and never a picture."""

import subprocess
from pathlib import Path

import pandas as pd
import pytest

from geoloc_core.geography.boundaries import load_boundaries
from geoloc_core.geography.locate import RegionLocator
from scripts.build_manifest import COLUMNS, MANIFEST, commons_file, manifest_rows

FREE = r"CC BY(-SA)? \d\.\d( [a-z]{2,3})?|CC0 1\.0|Public domain|Public Domain Mark 1\.0"


@pytest.fixture(scope="module")
def manifest() -> pd.DataFrame:
    return pd.read_csv(MANIFEST, keep_default_na=False)


def test_it_has_the_facts_of_1298_photos_with_author_licence_and_source(manifest):
    assert tuple(manifest.columns) == COLUMNS
    assert (len(manifest), manifest["author"].nunique(), manifest["country_iso3"].nunique()) == (1298, 796, 58)
    assert manifest["file"].is_unique
    assert manifest["licence"].str.fullmatch(FREE).all()
    assert manifest["licence_url"].str.startswith("https://creativecommons.org/").all()
    assert manifest["source"].str.startswith("https://commons.wikimedia.org/").all()
    assert (manifest[["author", "place", "kind"]] != "").all(axis=None)
    # Of some the repositories kept the number of the page and not its name: nothing to fetch them by.
    assert (manifest["commons_file"] == "").sum() == 17
    assert not [path for path in MANIFEST.parent.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png")]


def test_its_coordinates_lie_in_the_countries_it_names(manifest):
    locator = RegionLocator(load_boundaries(), near_cap_km=25.0)
    found = locator.locate(longitude=manifest["lon"].to_numpy(), latitude=manifest["lat"].to_numpy())
    labels = load_boundaries().countries["region_id"].to_numpy()
    index = found.index["country"]
    assert (index >= 0).all()
    # Israel and Palestine are counted by another rule than Natural Earth's.
    assert (labels[index] == manifest["country_iso3"]).mean() > 0.99


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("https://commons.wikimedia.org/wiki/File:A_%26_B%3F,_1.jpg", "A_&_B?,_1.jpg"),
        ("https://commons.wikimedia.org/wiki/File%3ABuzludzha_-_panoramio.jpg", "Buzludzha_-_panoramio.jpg"),
        ("https://commons.wikimedia.org/wiki/File:Heaven?_Mounds!.jpg", "Heaven?_Mounds!.jpg"),
        ("https://commons.wikimedia.org/w/index.php?curid=10283858", ""),
        ("https://www.mapillary.com/app/?pKey=4551600564868753 via github.com/a/b", None),
        ("https://flic.kr/p/twaqdP", None),
    ],
)
def test_the_name_on_commons_is_read_from_the_address_of_its_page(source, name):
    assert commons_file(source) == name


def test_the_script_makes_the_same_manifest_from_the_folder(shared_data, manifest):
    made = pd.DataFrame(manifest_rows(shared_data / "photos" / "commons" / "labels.csv"))
    pd.testing.assert_frame_equal(made, manifest.astype(str), check_dtype=False)


def test_no_picture_is_tracked_but_maps_and_screens_of_ours():
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        pytest.skip("not a checkout")
    listed = subprocess.run(["git", "ls-files", "*.jpg", "*.jpeg", "*.png"], cwd=root, capture_output=True, text=True)
    assert all(name.startswith("docs/images/") for name in listed.stdout.split())

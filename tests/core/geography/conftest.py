"""What the tests of geography share."""

import pytest

from geoloc_core.geography.boundaries import BoundarySet, load_boundaries
from geoloc_core.geography.locate import RegionLocator


@pytest.fixture(scope="session")
def embedded() -> BoundarySet:
    return load_boundaries()


@pytest.fixture(scope="session")
def locator(embedded: BoundarySet) -> RegionLocator:
    return RegionLocator(embedded)

"""A small packed model that the tests of answers share."""

from pathlib import Path

import pytest
from PIL import Image

from tests.core.answers.packing import pack_small


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a packed model, with its checkpoints beside it; made once, and not to be changed."""
    return pack_small(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture."""
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.linear_gradient("L").resize((80, 60)).convert("RGB").save(path)
    return path

"""docs/reproduction.md names modules and tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "reproduction.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`((?:geoloc_core|geoloc_dagster|tests)/[\w/]+\.py(?:::\w+)?)`", PAGE)))


@pytest.mark.parametrize("name", NAMED)
def test_what_is_named_exists(name):
    path, _, test = name.partition("::")
    assert (ROOT / path).is_file(), f"docs/reproduction.md names {path}, which is gone"
    if test:
        assert f"\ndef {test}(" in (ROOT / path).read_text(encoding="utf-8"), f"docs/reproduction.md names {name}"


def test_all_sixteen_faults_are_there_with_a_module_and_a_test():
    faults = re.split(r"\n\*\*(\d+)\. ", PAGE.partition("\n## What is measured")[0])[1:]
    assert [int(number) for number in faults[::2]] == list(range(1, 17))
    for text in faults[1::2]:
        assert re.search(r"`geoloc_core/[\w/]+\.py`", text)
        assert re.search(r"`tests/[\w/]+\.py::\w+`", text)

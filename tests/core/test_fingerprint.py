"""Fingerprints: a new field with a default changes none of them, a changed value always does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, make_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from geoloc_core.storage import fingerprint


@dataclass(frozen=True)
class Inner:
    side: int
    mode: str = "exact"


@dataclass(frozen=True)
class Outer:
    name: str
    rate: float = 0.1
    sizes: tuple[int, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    inner: Inner | None = None
    source: str = ""


class Model(BaseModel):
    name: str
    rate: float = 0.1
    sizes: tuple[int, ...] = ()
    extra: dict[str, Any] = {}
    inner: Inner | None = None
    source: str = ""


class WiderModel(Model):
    later: list[int] = []


WiderInner = make_dataclass("WiderInner", [("later", int, 3)], bases=(Inner,), frozen=True)
WiderOuter = make_dataclass("WiderOuter", [("later", int, 3)], bases=(Outer,), frozen=True)


@pytest.mark.parametrize(("narrow", "wide"), [(Outer, WiderOuter), (Model, WiderModel)])
def test_a_new_field_with_a_default_changes_no_fingerprint(narrow, wide):
    values: dict[str, Any] = {"name": "a", "extra": {"depth": 2, "path": Path("b")}}
    before = fingerprint(narrow(**values, inner=Inner(7)))
    assert fingerprint(wide(**values, inner=Inner(7))) == before
    assert fingerprint(wide(**values, inner=WiderInner(7))) == before
    assert fingerprint(narrow(**values, inner=Inner(7), rate=0.1)) == before
    assert fingerprint(wide(**values, inner=Inner(7), later=[4])) != before


@pytest.mark.parametrize(
    "change",
    [
        {"name": "b"},
        {"rate": 0.2},
        {"sizes": (1,)},
        {"extra": {"depth": 2}},
        {"inner": None},
        {"inner": Inner(8)},
        {"inner": Inner(7, "draft")},
    ],
)
def test_a_changed_value_changes_the_fingerprint(change: dict[str, Any]) -> None:
    spec = Outer("a", inner=Inner(7))
    assert fingerprint(replace(spec, **change)) != fingerprint(spec)
    model = Model(name="a", inner=Inner(7))
    assert fingerprint(model.model_copy(update=change)) != fingerprint(model) == fingerprint(spec)


def test_the_code_version_counts_and_excluded_fields_do_not() -> None:
    spec = Outer("a")
    assert fingerprint(spec, code_version=2) != fingerprint(spec)
    assert fingerprint(replace(spec, source="b")) != fingerprint(spec)
    assert fingerprint(replace(spec, source="b"), without=("source",)) == fingerprint(spec, without=("source",))

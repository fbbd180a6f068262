"""THE table: what each target is made from, and that a new option remakes nothing."""

import dataclasses
from typing import Any

import pydantic
import pytest

from geoloc_core.features.backbones import backbone
from geoloc_core.learning.recipes import head_spec, recipe
from geoloc_core.line.artifacts import ASSETS, LINE, Target, partitions, setting_versions, targets, upstream
from geoloc_core.line.profile import parse_profile
from geoloc_core.photos.settings import ImageLimits, Split
from geoloc_core.storage import fingerprint

PROFILE: dict[str, Any] = {
    "name": "p",
    "drawn": {"shards": 2, "benchmarks": {"bench": 3}},
    "features": {"a": ["tiny-clip"], "b": ["tiny-vit", "tiny-clip"]},
    "experiments": ["a.linear.country.thesis", "b.mlp.hierarchical.default"],
}


@pytest.mark.parametrize("spec", [backbone("clip-l-14"), backbone("seg-vit"), recipe("default"), head_spec("mlp")])
def test_a_new_field_with_a_default_changes_no_version_of_a_specification(spec: Any) -> None:
    later = dataclasses.field(default=0)
    wider = dataclasses.make_dataclass("Wider", [("later", int, later)], bases=(type(spec),), frozen=True)
    values = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
    assert fingerprint(wider(**values)) == fingerprint(spec)
    if hasattr(spec, "fingerprint"):
        assert wider(**values).fingerprint() == spec.fingerprint()
        assert wider(**values).vector_fingerprint() == spec.vector_fingerprint()
    assert fingerprint(wider(**values, later=1)) != fingerprint(spec)


@pytest.mark.parametrize("section", [Split(validation_share=0.3), ImageLimits(max_pixels=10**6)])
def test_a_new_key_with_a_default_changes_no_version_of_a_section(section: pydantic.BaseModel) -> None:
    wider = pydantic.create_model("Wider", __base__=type(section), later=(int, 0))
    assert fingerprint(wider(**section.model_dump())) == fingerprint(section)
    assert fingerprint(wider(**section.model_dump(), later=1)) != fingerprint(section)


def test_every_target_is_made_from_targets_above_it() -> None:
    profile = parse_profile(PROFILE)
    seen: set[Target] = set()
    for target in targets(profile):
        assert set(upstream(profile, target)) <= seen, target
        seen.add(target)
    assert {target.asset for target in seen} == set(ASSETS)
    assert len(partitions(profile, "embeddings")) == 2 * 3


def test_an_experiment_is_made_from_its_own_backbones_and_its_own_classes() -> None:
    profile = parse_profile(PROFILE)
    above = {str(item) for item in upstream(profile, Target("heads", "b.mlp.hierarchical.default"))}
    assert above == {
        "training_photos", "class_weights[subdivision]",
        *(f"embeddings[{name}|{shard}]" for name in ("tiny-vit", "tiny-clip") for shard in ("sample-00", "sample-01")),
    }  # fmt: skip


def test_settings_are_kept_as_they_read_where_they_are_short() -> None:
    profile = parse_profile({**PROFILE, "near_cap_km": 30.0})
    assert setting_versions(profile, Target("labeled_photos", "sample-00")) == {"profile: near_cap_km": "30.0"}
    assert setting_versions(profile, Target("training_photos"))["profile: split"] == "{}"
    assert all(LINE[asset].version for asset in ASSETS)

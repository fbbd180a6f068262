"""The registry: which backbones exist, by name.

A profile names backbones from here, or derives one from another with `backbone(name).changed(...)`. Nothing is loaded
or downloaded by looking.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from geoloc_core.errors import ProfileError
from geoloc_core.features.published_backbones import PUBLISHED_BACKBONES
from geoloc_core.features.sample_backbones import SAMPLE_BACKBONES
from geoloc_core.features.specification import BackboneSpec as BackboneSpec

BACKBONES: Mapping[str, BackboneSpec] = MappingProxyType(
    {spec.name: spec for spec in (*PUBLISHED_BACKBONES, *SAMPLE_BACKBONES)}
)


def backbone(name: str) -> BackboneSpec:
    """The specification called `name`. Raises ProfileError, listing the names that exist."""
    if name not in BACKBONES:
        raise ProfileError(f"backbone {name!r} is not known; choose one of {', '.join(sorted(BACKBONES))}")
    return BACKBONES[name]

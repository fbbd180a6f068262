"""The registry: which backbones exist, by name.

A profile names backbones from here, or derives one from another (`derived_backbone`). Nothing is loaded or downloaded by
looking.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from geoloc_core.errors import ProfileError
from geoloc_core.features.published_backbones import PUBLISHED_BACKBONES
from geoloc_core.features.sample_backbones import SAMPLE_BACKBONES
from geoloc_core.features.specification import BackboneSpec as BackboneSpec

BACKBONES: Mapping[str, BackboneSpec] = MappingProxyType(
    {spec.name: spec for spec in (*PUBLISHED_BACKBONES, *SAMPLE_BACKBONES)}
)

_SAME_FILES = {"decode", "dtype", "layer", "pooling", "dimension"}
"""Fields that can change without the checkpoint's files being others."""


def backbone(name: str) -> BackboneSpec:
    """The specification called `name`. Raises ProfileError, listing the names that exist."""
    if name not in BACKBONES:
        raise ProfileError(f"backbone {name!r} is not known; choose one of {', '.join(sorted(BACKBONES))}")
    return BACKBONES[name]


def derived_backbone(name: str, settings: Mapping[str, Any]) -> BackboneSpec:
    """The backbone `name` as a profile describes it: `of`, the one of the registry that it starts from, and changes.

    Without `of` it starts from the backbone of the same name. Where only the reading of the weights differs (for example
    `decode: draft`), both use the same folder of weights. Raises ProfileError for unknown names, fields and values.
    """
    changes = dict(settings)
    start = backbone(str(changes.pop("of", name)))
    if set(changes) <= _SAME_FILES:
        changes["kept_as"] = start.folder_name
    return start.changed(name=name, **changes)

"""The backbones that exist, by name; a profile can also derive one from another.

They are listed in backbones.yaml, where a new one is one entry. Nothing is loaded or downloaded by looking.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from geoloc_core.errors import ProfileError
from geoloc_core.features.specification import BackboneSpec

SAME_FILES = {"decode", "dtype", "layer", "pooling", "dimension"}
"""Fields that can change without the checkpoint's files being others."""


def backbone(name: str) -> BackboneSpec:
    """The specification called `name`. Raises ProfileError, listing the names that exist."""
    return _listed(name, BACKBONES)


def derived_backbone(name: str, settings: Mapping[str, Any]) -> BackboneSpec:
    """The backbone `name` as a profile describes it: `of`, the one of the list that it starts from, and changes.

    Without `of` it starts from the backbone of the same name. Where only the reading of the weights differs (for example
    `decode: draft`), both use the same folder of weights. Raises ProfileError for unknown names, fields and values.
    """
    return _derived(name, {"of": name, **settings}, BACKBONES)


def _listed(name: str, specs: Mapping[str, BackboneSpec]) -> BackboneSpec:
    if name not in specs:
        raise ProfileError(f"backbone {name!r} is not known; choose one of {', '.join(sorted(specs))}")
    return specs[name]


def _derived(name: str, settings: Mapping[str, Any], specs: Mapping[str, BackboneSpec]) -> BackboneSpec:
    changes = dict(settings)
    start = _listed(str(changes.pop("of")), specs)
    if set(changes) <= SAME_FILES:
        changes["kept_as"] = start.folder_name
    if isinstance(changes.get("embedder"), str):
        changes["embedder"] = _listed(changes["embedder"], specs)
    return start.changed(name=name, **changes)


def _read_list(file: Path) -> Mapping[str, BackboneSpec]:
    specs: dict[str, BackboneSpec] = {}
    for name, settings in yaml.safe_load(file.read_text(encoding="utf-8"))["backbones"].items():
        if "of" in settings:
            specs[name] = _derived(name, settings, specs)
            continue
        # Models of transformers are called by their hub id, and "main" is the hub's own default.
        hub_id = settings["weights"].removeprefix("hub:")
        from_hub = {"model_id": hub_id, "revision": "main"} if hub_id != settings["weights"] else {}
        values = {**from_hub, **settings, "mean": tuple(settings["mean"]), "std": tuple(settings["std"])}
        embedder = specs[settings["embedder"]] if "embedder" in settings else None
        specs[name] = BackboneSpec(**{**values, "name": name, "embedder": embedder})
    return MappingProxyType(specs)


BACKBONES = _read_list(Path(__file__).with_suffix(".yaml"))

"""The backbones that exist, by name; a profile can also derive one from another.

They are listed in backbones.yaml, where a new one is one entry. Nothing is loaded or downloaded by looking.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from geoloc_core.errors import ProfileError
from geoloc_core.features.specification import BackboneSpec

SAME_FILES = {"decode", "dtype", "layer", "pooling", "dimension"}
"""Fields that can change without the checkpoint's files being others."""


def backbone(name: str, specs: Mapping[str, BackboneSpec] | None = None) -> BackboneSpec:
    """The specification called `name`, of the list. Raises ProfileError with the names that exist."""
    specs = BACKBONES if specs is None else specs
    if name not in specs:
        raise ProfileError(f"backbone {name!r} is not known; choose one of {', '.join(sorted(specs))}")
    return specs[name]


def derived_backbone(
    name: str, settings: Mapping[str, Any], specs: Mapping[str, BackboneSpec] | None = None
) -> BackboneSpec:
    """The backbone `name` as a profile describes it: `of`, the one of the list that it starts from (`name`), and changes.

    Where only the reading of the weights differs (`decode: draft`), both use the same folder of weights. Raises ProfileError
    for unknown names, fields and values.
    """
    changes = {"of": name, **settings}
    start = backbone(str(changes.pop("of")), specs)
    if set(changes) <= SAME_FILES:
        changes["kept_as"] = start.folder_name
    if isinstance(changes.get("embedder"), str):
        changes["embedder"] = backbone(changes["embedder"], specs)
    facts = {"licence": "", "parameters": 0.0, "source": ""} if "weights" in changes else {}
    return start.changed(name=name, **{**facts, **changes})


def _read_list(file: Path) -> Mapping[str, BackboneSpec]:
    specs: dict[str, BackboneSpec] = {}
    for name, settings in yaml.safe_load(file.read_text(encoding="utf-8"))["backbones"].items():
        if "of" in settings:
            specs[name] = derived_backbone(name, settings, specs)
            continue
        # Models of transformers are called by their hub id, and "main" is the hub's own default.
        hub_id = settings["weights"].removeprefix("hub:")
        from_hub = {"model_id": hub_id, "revision": "main"} if hub_id != settings["weights"] else {}
        embedder = specs[settings["embedder"]] if "embedder" in settings else None
        specs[name] = BackboneSpec(**{**from_hub, **settings, "name": name, "embedder": embedder})
    return MappingProxyType(specs)


BACKBONES = _read_list(Path(__file__).with_suffix(".yaml"))

"""One small backbone of each published family, as families.yaml lists them; `SMALL["vit"]` is called small-vit."""

from pathlib import Path

import yaml

from geoloc_core.features.backbones import BACKBONES, derived_backbone

SMALL = {}
for _name, _changes in yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())["backbones"].items():
    _specs = {**BACKBONES, **{spec.name: spec for spec in SMALL.values()}}
    SMALL[_name.removeprefix("small-")] = derived_backbone(_name, _changes, _specs)

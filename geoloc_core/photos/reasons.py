"""Why a row or a picture was turned away: stable codes, each with the sentence a person reads (reasons.yaml)."""

from pathlib import Path

import yaml

_REASONS = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
ROW_REASONS: dict[str, str] = _REASONS["rows"]
IMAGE_REASONS: dict[str, str] = _REASONS["images"]

"""What a sample data set is made of: how many photos, of how many countries, by how many authors, with which faults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from geoloc_core.errors import ProfileError

SHARD_PREFIX = "sample-"
TRAINING = "training"
"""The pool of authors that all shards share; each benchmark has a pool of its own name."""
SMALLEST_IMAGE = 48
LARGEST_IMAGE = 1024


def _default_benchmarks() -> dict[str, int]:
    return {"sample-im2gps": 120, "sample-im2gps3k": 360}


@dataclass(frozen=True)
class SampleSpec:
    """A sample data set. Equal specifications and equal boundaries draw equal bytes.

    `seed` decides the whole world: how places look, who photographs where. The number of shards is not part of any
    draw, so a fifth shard may be added to four without changing them.
    """

    seed: int = 20240
    shards: int = 4
    photos_per_shard: int = 600
    benchmarks: Mapping[str, int] = field(default_factory=_default_benchmarks)
    """Benchmark sets: name -> number of photos. Each has its own authors, no faulty files and no faulty coordinates."""
    image_size: int = 160
    """Longer side of a photo in pixels."""
    countries: int = 80
    """How many countries are photographed: the first ones by their share of MP-16."""
    authors: int = 360
    """About how many authors each role has (the shards together; each benchmark)."""
    local_share: float = 0.8
    """Share of photos taken by somebody who lives in that country."""
    sea_share: float = 0.02
    """Share of photos taken at sea, half of them within sight of a coast."""
    broken_share: float = 0.016
    """Share of photos in a shard whose file is truncated, not an image, empty or missing."""
    bad_coordinates_share: float = 0.012
    """Share of rows in a shard whose coordinates are missing, (0, 0) or out of range."""

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        for name in ("shards", "photos_per_shard", "countries", "authors"):
            if getattr(self, name) < 1:
                raise ProfileError(f"sample: {name} is {getattr(self, name)}; it must be at least 1")
        if self.shards > 100:
            raise ProfileError(f"sample: shards is {self.shards}; at most 100 have names ({SHARD_PREFIX}00 to 99)")
        if not SMALLEST_IMAGE <= self.image_size <= LARGEST_IMAGE:
            raise ProfileError(
                f"sample: image_size is {self.image_size}; it must be from {SMALLEST_IMAGE} to {LARGEST_IMAGE} pixels"
            )
        for name in ("local_share", "sea_share", "broken_share", "bad_coordinates_share"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ProfileError(f"sample: {name} is {getattr(self, name)}; it must be from 0 to 1")
        if self.broken_share + self.bad_coordinates_share > 0.5:
            raise ProfileError("sample: broken_share and bad_coordinates_share together must not exceed 0.5")
        for name, photos in self.benchmarks.items():
            if photos < 1:
                raise ProfileError(f"sample: benchmark {name!r} has {photos} photos; it must have at least 1")
            if name in shard_names(self):
                raise ProfileError(f"sample: benchmark {name!r} has the name of a shard; give it another")
            if name == TRAINING:
                raise ProfileError(f"sample: benchmark {name!r} has the name of the shards' authors; give it another")


def shard_names(spec: SampleSpec) -> list[str]:
    """The names of the training shards, `sample-00` first."""
    return [f"{SHARD_PREFIX}{number:02d}" for number in range(spec.shards)]


def photos_in(spec: SampleSpec, name: str) -> int:
    """How many rows the delivery `name` has; `ProfileError` when the specification has no such delivery."""
    if name in spec.benchmarks:
        return spec.benchmarks[name]
    if name in shard_names(spec):
        return spec.photos_per_shard
    known = ", ".join([*shard_names(spec), *spec.benchmarks])
    raise ProfileError(f"sample: there is no delivery {name!r}; there are {known}")

"""Several backbones, one decode: on a GPU opening the photos costs more than the networks.

Each target keeps a run of its own. A refresh that finds several backbones out of date for a shard says so in the tag of
the first run; that run makes the vectors of all of them from one decode, and the others' runs find them there.
"""

from collections.abc import Callable, Mapping

from geoloc_core.line.lineage import Lineage, Target, two_dimensional

DECODED_WITH_TAG = "geoloc/decoded_with"


def decoded_with(tags: Mapping[str, str]) -> list[str]:
    """The other backbones that a run is asked to make vectors for, from the same decode."""
    return [name for name in tags.get(DECODED_WITH_TAG, "").split(",") if name]


def sharing_tags(lineage: Lineage, target: Target, to_be_made: Callable[[Target], bool]) -> dict[str, str]:
    """The tag for the run of `target`, naming the other backbones of its shard that are `to_be_made` as well."""
    if target.asset != "embeddings":
        return {}
    own, shard = target.partition.split("|")
    others = [
        name
        for name in lineage.project.profile.backbones()
        if name != own and to_be_made(Target("embeddings", two_dimensional(backbone=name, shard=shard)))
    ]
    return {DECODED_WITH_TAG: ",".join(others)} if others else {}

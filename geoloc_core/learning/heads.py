"""The kinds of heads: for each, the network that gives logits and the function that fits it.

To add a kind: a module with a body (`fusion.Body`) and a fit function, a line in `KINDS`, and a name for it in
`recipes.HEADS`. Whatever its kind, a head is calibrated, saved, loaded, packaged and reported in the same way.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from geoloc_core.errors import ProfileError
from geoloc_core.learning.descent import descend
from geoloc_core.learning.fusion import Body, FusionHead, linear, multilayer
from geoloc_core.learning.neighbours import NeighbourVote, fit_neighbours
from geoloc_core.learning.probe import fit_probe
from geoloc_core.learning.problem import Fit, Problem
from geoloc_core.learning.recipes import FUSIONS, HeadSpec


class Kind(NamedTuple):
    """body: builds the network; fit: leaves it with its best weights; fusions: those that the fit can handle;
    cross_validates: whether it follows a recipe that says so, or holds photos out instead.
    """

    body: Body
    fit: Callable[[FusionHead, Problem], Fit]
    fusions: tuple[str, ...]
    cross_validates: bool = False


KINDS = {
    "linear": Kind(linear, descend, FUSIONS),
    "mlp": Kind(multilayer, descend, FUSIONS),
    "probe": Kind(linear, fit_probe, ("concat", "normalised"), cross_validates=True),
    "neighbours": Kind(NeighbourVote, fit_neighbours, ("concat", "normalised")),
}


def kind_of(spec: HeadSpec) -> Kind:
    """The kind of `spec`; ProfileError where there is none, or where it cannot be fitted with that fusion."""
    if spec.kind not in KINDS:
        raise ProfileError(f"head {spec.kind!r} is not known; choose one of {', '.join(KINDS)}")
    kind = KINDS[spec.kind]
    if spec.fusion not in kind.fusions:
        raise ProfileError(f"a head of kind {spec.kind} takes fusion {' or '.join(kind.fusions)}, not {spec.fusion}")
    return kind


def build_head(spec: HeadSpec, block_dims: Sequence[int], n_classes: int) -> FusionHead:
    """A network float32 (B, sum(block_dims)) -> logits (B, n_classes), initialised by torch's global generator."""
    return FusionHead(spec, tuple(block_dims), n_classes, kind_of(spec).body)

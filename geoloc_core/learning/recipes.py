"""The heads and the ways to train them that an experiment can name: every number in one place, and no torch to read them.

To add a recipe: one entry in `RECIPES`. To add a head of an existing kind: one line in `HEADS`; for a new kind see `heads`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from geoloc_core.errors import ProfileError

T = TypeVar("T")
FUSIONS = ("concat", "normalised", "gated", "late")


@dataclass(frozen=True)
class HeadSpec:
    """The shape of a head.

    kind: how it is built and trained, a key of `heads.KINDS`.
    hidden: widths of the MLP's hidden layers (thesis: 1024, 512, 256). They are meant for fusion "concat"; "gated" and
    "late" take the same layers narrowed until the head has as many parameters as with "concat", so that fusions are
    compared at equal size.
    fusion: how several blocks are combined. "concat" joins them (thesis); "normalised" first scales each block of
    each photo to length sqrt(D), so that no backbone outweighs another; "gated" weighs the blocks of each photo by a
    learned softmax gate, times the number of blocks; "late" gives each block a network of its own and adds their logits.
    standardise: shift and scale every input dimension by the mean and deviation of the fitted photos (the recipe says).
    neighbours: how many training vectors vote (kind "neighbours").
    """

    kind: str = "linear"
    hidden: tuple[int, ...] = (1024, 512, 256)
    fusion: str = "concat"
    standardise: bool = False
    neighbours: int = 50

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))  # a list, where it was read from JSON
        if self.fusion not in FUSIONS:
            raise ProfileError(f"fusion {self.fusion!r} is not known; choose one of {', '.join(FUSIONS)}")
        if not self.hidden or min(self.hidden) < 1:
            raise ProfileError("a head needs hidden layers of at least one unit each, for example 1024, 512, 256")


HEADS = {
    "linear": HeadSpec("linear"),
    "mlp": HeadSpec("mlp"),
    "normalised": HeadSpec("mlp", fusion="normalised"),
    "gated": HeadSpec("mlp", fusion="gated"),
    "late": HeadSpec("mlp", fusion="late"),
    "probe": HeadSpec("probe"),
    "neighbours": HeadSpec("neighbours", fusion="normalised"),
}
"""The heads that an experiment (features.head.level.recipe) may name."""


def head_spec(name: str) -> HeadSpec:
    """The head of this name; a ProfileError lists the names there are."""
    return _named("head", name, HEADS)


@dataclass(frozen=True)
class Recipe:
    """Settings of one way to train.

    Every head:
    standardise: see `HeadSpec`. class_weights: a scheme of `weights`.
    fusion: in place of the head's own, where it is not "".
    held_out_share: share of the training photos (by author) that decide when to stop; 0: the validation photos do.
    calibrate: fit a temperature on the photos that decided when to stop.
    logit_adjustment: subtract this many log class frequencies from the logits when answering (Menon et al. 2021);
    0 answers for the data's own balance of photos, 1 as if all classes were equally frequent.

    Heads trained by gradient steps (kinds "linear" and "mlp", see `descent`):
    optimiser: "sgd" or "adamw". learning_rate: 0 stands for the best of a short trial of several rates.
    schedule: "plateau" (divide the learning rate by ten when the stopping loss stands still for `plateau_patience`
    epochs) or "cosine" (linear warm-up over `warmup_share` of the steps, then half a cosine down to zero).
    epochs: the most epochs; where an epoch is so short that they make fewer than `min_steps` steps, as many epochs as
    make `min_steps`. Training ends `patience` epochs after the best one (0: never), and the best one is kept.
    smoothing_mass: the probability that haversine label smoothing gives to other regions on average; 0 is none.

    Heads fitted to convergence (kind "probe"): folds: choose the penalty and calibrate by cross-validation over so many
    parts of the authors, and fit all photos; 0 holds authors out. shared, shared_km: the correlation, a priori, of the
    weights of two regions as near as can be, and the distance over which it falls to 1/e.
    """

    name: str
    optimiser: str
    epochs: int
    batch_size: int
    learning_rate: float = 0.0
    patience: int = 0
    schedule: str = "cosine"
    min_steps: int = 0
    momentum: float = 0.0
    weight_decay: float = 0.0
    plateau_patience: int = 0
    warmup_share: float = 0.0
    standardise: bool = False
    class_weights: str = "none"
    smoothing_mass: float = 0.0
    held_out_share: float = 0.0
    calibrate: bool = False
    logit_adjustment: float = 0.0
    fusion: str = ""
    folds: int = 0
    shared: float = 0.0
    shared_km: float = 1000.0


# Okkerman (2024) names SGD, batches of 128, inverse-frequency weights, cross-entropy, ReduceLROnPlateau and "until
# convergence", and no figure beyond the batch. Ours: the plateau as torch's ReduceLROnPlateau has it by default (a tenth
# of the rate after ten epochs without progress), and the end when two such waits have brought nothing; momentum 0.9, and
# the rate of a short trial, as no one rate suits vectors of every length; the plain loss on the validation photos
# decides, as these decide in the thesis. A hundred epochs bound it.
THESIS = Recipe(
    name="thesis",
    optimiser="sgd",
    momentum=0.9,
    batch_size=128,
    epochs=100,
    patience=22,
    schedule="plateau",
    plateau_patience=10,
    class_weights="inverse",
)

# The same without its class weights: what they cost (docs/reproduction.md, fault 2).
THESIS_UNWEIGHTED = replace(THESIS, name="thesis_unweighted", class_weights="none")

# Chosen on Gaussian mixtures with the class balance of MP-16 (200,000 photos, 512 dimensions) and on the sample.
DEFAULT = Recipe(
    name="default",
    optimiser="adamw",
    learning_rate=2e-3,
    weight_decay=0.05,
    batch_size=256,
    epochs=12,
    min_steps=800,
    patience=5,
    schedule="cosine",
    warmup_share=0.05,
    standardise=True,
    smoothing_mass=0.03,
    held_out_share=0.1,
    calibrate=True,
)

# For some hundred to some thousand photos: nobody is held out from the fit, and near regions share strength.
SMALL = replace(DEFAULT, name="small", fusion="normalised", smoothing_mass=0.0, folds=5, shared=0.5)

RECIPES = {recipe.name: recipe for recipe in (THESIS, THESIS_UNWEIGHTED, DEFAULT, SMALL)}
"""The recipes that an experiment (features.head.level.recipe) may name."""


def recipe(name: str) -> Recipe:
    """The recipe of this name; a ProfileError lists the names there are."""
    return _named("recipe", name, RECIPES)


def _named(what: str, name: str, choices: Mapping[str, T]) -> T:
    if name not in choices:
        raise ProfileError(f"{what} {name!r} is not known; choose one of {', '.join(choices)}")
    return choices[name]

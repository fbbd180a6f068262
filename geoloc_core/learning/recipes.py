"""The shapes of heads and the ways to train them: every number in one place, by name, and no torch to read them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from geoloc_core.errors import ProfileError

HEAD_KINDS = ("linear", "mlp", "knn")
FUSIONS = ("concat", "normalised", "gated", "late")


@dataclass(frozen=True)
class HeadSpec:
    """The shape of a head.

    kind: "linear", "mlp", or "knn" (the nearest training vectors vote, see `neighbours`).
    hidden: widths of the MLP's hidden layers (thesis: 1024, 512, 256). They are meant for fusion "concat"; the other
    fusions take the same layers narrowed until the head has as many parameters as with "concat", so that fusions are
    compared at equal size.
    fusion: how several blocks come together. "concat" joins them (thesis); "normalised" first brings each block of
    each photo to length sqrt(D), so that no backbone shouts down another; "gated" weighs the blocks of each photo by a
    learned softmax gate, times the number of blocks; "late" gives each block a body of its own and adds their logits.
    standardise: shift and scale every input dimension by the mean and deviation of the training part (the recipe says).
    neighbours: how many training vectors vote (knn); references: how many are kept, index_bytes: the size of their index
    where they are looked up in one (knn; training fills these in).
    """

    kind: str = "linear"
    hidden: tuple[int, ...] = (1024, 512, 256)
    fusion: str = "concat"
    standardise: bool = False
    neighbours: int = 0
    references: int = 0
    index_bytes: int = 0

    def __post_init__(self) -> None:
        if self.kind not in HEAD_KINDS:
            raise ProfileError(f"head {self.kind!r} is not known; choose one of {', '.join(HEAD_KINDS)}")
        if self.fusion not in FUSIONS:
            raise ProfileError(f"fusion {self.fusion!r} is not known; choose one of {', '.join(FUSIONS)}")
        if self.kind == "mlp" and (not self.hidden or min(self.hidden) < 1):
            raise ProfileError("an mlp head needs hidden layers of at least one unit each, for example 1024, 512, 256")
        if self.kind == "knn" and (self.neighbours < 1 or self.fusion not in ("concat", "normalised")):
            raise ProfileError("a knn head needs neighbours of at least 1 and the fusion concat or normalised")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "hidden": list(self.hidden)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> HeadSpec:
        """The inverse of `as_dict`; an unknown key is a ProfileError."""
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise ProfileError(f"a head has no setting {', '.join(unknown)}")
        return cls(**{**values, "hidden": tuple(values.get("hidden", cls.hidden))})


HEADS = {
    "linear": HeadSpec(kind="linear"),
    "mlp": HeadSpec(kind="mlp"),
    "mlp-normalised": HeadSpec(kind="mlp", fusion="normalised"),
    "mlp-gated": HeadSpec(kind="mlp", fusion="gated"),
    "mlp-late": HeadSpec(kind="mlp", fusion="late"),
    "knn": HeadSpec(kind="knn", fusion="normalised", neighbours=50),
}
"""The heads that an experiment key may name."""


def head_spec(name: str) -> HeadSpec:
    """The head of this name; a ProfileError lists the names there are."""
    if name not in HEADS:
        raise ProfileError(f"head {name!r} is not known; choose one of {', '.join(HEADS)}")
    return HEADS[name]


@dataclass(frozen=True)
class Recipe:
    """Settings of one way to train.

    optimiser: "sgd", "adamw", or "lbfgs" (see `probe`: `epochs` bounds its iterations; learning_rate, batch_size,
    patience and schedule mean nothing to it).
    schedule: "plateau" (divide the learning rate by ten when the stopping loss stands still for `plateau_patience`
    epochs) or "cosine" (linear warm-up over `warmup_share` of the steps, then half a cosine down to zero).
    epochs: the most epochs; where an epoch is so short that they make fewer than `min_steps` steps, as many epochs as
    make `min_steps`. Training ends `patience` epochs after the best one, and the best one is kept.
    class_weights and divide_by: see `weights` and `losses.cross_entropy`.
    smoothing_mass: the probability that haversine label smoothing gives to other regions on average; 0 is none.
    held_out_share: share of the training photos (by author) that decide when to stop; 0: the validation photos do.
    calibrate: fit a temperature on the photos that decided when to stop.
    logit_adjustment: subtract this many log class frequencies from the logits when answering (Menon et al. 2021);
    0 answers for the world's own balance of photos, 1 as if all classes were equally frequent.
    """

    name: str
    optimiser: str
    epochs: int
    learning_rate: float = 0.0
    batch_size: int = 0
    patience: int = 0
    schedule: str = "none"
    min_steps: int = 0
    momentum: float = 0.0
    weight_decay: float = 0.0
    plateau_patience: int = 0
    warmup_share: float = 0.0
    standardise: bool = False
    class_weights: str = "none"
    divide_by: str = "count"
    smoothing_mass: float = 0.0
    held_out_share: float = 0.0
    calibrate: bool = False
    logit_adjustment: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and for MLflow's parameters."""
        return asdict(self)


# Okkerman (2024) names SGD, batches of 128, inverse-frequency weights, cross-entropy, ReduceLROnPlateau and "until
# convergence", and no figure beyond the batch. Ours: the plateau as torch's ReduceLROnPlateau has it by default (a tenth
# of the rate after ten epochs without progress), and the end when two such waits have brought nothing; a rate of 0.1
# with momentum 0.9, with which a linear head gets anywhere against weights of 1/f (with 0.01 it ends below the class
# prior on the sample); the plain loss on the validation photos decides, as these decide in the thesis. A hundred epochs
# bound it, of which the sample needs 40 to 60.
THESIS = Recipe(
    name="thesis",
    optimiser="sgd",
    learning_rate=0.1,
    momentum=0.9,
    batch_size=128,
    epochs=100,
    patience=22,
    schedule="plateau",
    plateau_patience=10,
    class_weights="inverse",
    divide_by="weight",
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
    class_weights="none",
    smoothing_mass=0.03,
    held_out_share=0.1,
    calibrate=True,
)

# Multinomial logistic regression to convergence, the yardstick of the literature; see `probe`.
PROBE = Recipe(
    name="probe",
    optimiser="lbfgs",
    epochs=100,
    standardise=True,
    held_out_share=0.1,
    calibrate=True,
)

RECIPES = {recipe.name: recipe for recipe in (THESIS, THESIS_UNWEIGHTED, DEFAULT, PROBE)}
"""The recipes that an experiment key may name."""


def recipe(name: str) -> Recipe:
    """The recipe of this name; a ProfileError lists the names there are."""
    if name not in RECIPES:
        raise ProfileError(f"recipe {name!r} is not known; choose one of {', '.join(RECIPES)}")
    return RECIPES[name]

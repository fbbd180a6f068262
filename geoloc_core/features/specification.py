"""What a backbone is, field by field: everything that decides which vector an image becomes.

A specification has two hashes: `fingerprint()`, and `vector_fingerprint()` of what can change a vector, so that moving a
checkpoint re-embeds nothing. Both cover only what differs from the defaults, so that a new field re-embeds nothing either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from geoloc_core.errors import ProfileError
from geoloc_core.features.encoders import LIBRARIES
from geoloc_core.storage import file_name, fingerprint, value_sha256

CHOICES = {
    "library": tuple(LIBRARIES),
    "pooling": ("cls", "mean", "projected", "trunk", "class_area"),
    "resize": ("shortest", "squash"),
    "crop": ("none", "center_floor", "center_round"),
    "interpolation": ("bilinear", "bicubic"),
    "dtype": ("float32", "bfloat16"),
    "decode": ("exact", "draft", "nvjpeg"),
    "weights_kind": ("hub", "package", "path", "site", "seeded"),
}

DRAFT_MARGIN = 2
"""A reduced decode keeps at least this many times the side that a picture is resized to; see docs/performance.md."""
DECODE_VERSION = 2
"""How files become pixels: 2 since JPEGs are decoded and resized by torchvision. Raised, all is embedded again."""
_FACTS = ("licence", "parameters", "source")
_ORIGIN = ("weights", "revision", "kept_as", *_FACTS)
"""Fields that say where weights are or who described them; in an identity the weights' own hash stands for them."""


@dataclass(frozen=True)
class BackboneSpec:
    """A frozen encoder with its preprocessing.

    name: what profiles, partitions and tables call it. library: whose classes run it, one of `encoders.LIBRARIES`.
    model_id: the hub id of a transformers model, the architecture of an open_clip or timm model, or "hrnetv2-c1".
    weights: "hub:<id>"; "package:<distribution>/<path>" (a file that an installed distribution brings); "path:<directory
        or file>"; "site:<address>" (files that a person downloads from there); or "seeded:<n>" (random weights for
        `architecture`, from seed n). revision: the hub's branch, tag or commit.
    layer: "last_hidden_state", "image_embeds" (after the projection), "pooled" (before it), "class_map" (segmentation).
    pooling: "cls" (first token), "mean" (of all tokens; timm: of the patches'), "projected" (the library's own pooling and
        projection), "trunk" (its own pooling, before projection or classifier), "class_area" (share of the picture per class).
    dimension: length D of the vector. input_size: side, in pixels, of the square that the network sees.
    resize: "shortest" (short side to `resize_size`, ratio kept) or "squash" (both sides to it).
    resize_size: what the picture is resized to before cropping; 0 means `input_size` (DINOv2: 256, then a crop of 224).
    crop: "none", or the central square: the libraries place an odd margin differently, so the rule is named:
        "center_floor" (transformers) or "center_round" (torchvision, hence open_clip: halves to the even number).
    interpolation: "bilinear" or "bicubic", as Pillow does them (with antialiasing).
    mean, std: per channel, of values in 0..1. dtype: what the weights compute in.
    decode: "exact", at full size, or "draft": a JPEG is decoded at the smallest of 1/1, 1/2, 1/4, 1/8 whose short side is
        still DRAFT_MARGIN times `resized_side`. Faster for large photos; vectors change a little. "nvjpeg": at full size,
        JPEGs by the GPU's decoder.
    pretrained: the open_clip tag that the weights carry ("openai"), with which `model_id` and preprocessing must agree.
    architecture, initial_std: for "seeded:" weights, the arguments of the library's own configuration class, and name
        pattern -> standard deviation of the normal distribution of those weights.
    embedder: for "segmentation", the backbone that reads the class map; None for "class_area". n_classes: of the network.
    kept_as: name of the folder of the weights, where several backbones share one.
    licence, parameters, source: of the weights; millions of the network that makes the vector; where these values were
        published. In no hash.
    """

    name: str
    library: str
    model_id: str
    weights: str
    layer: str
    pooling: str
    dimension: int
    input_size: int
    resize: str
    crop: str
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize_size: int = 0
    revision: str = ""
    dtype: str = "float32"
    decode: str = "exact"
    pretrained: str = ""
    architecture: Mapping[str, Any] = field(default_factory=dict, hash=False)
    initial_std: Mapping[str, float] = field(default_factory=dict, hash=False)
    embedder: BackboneSpec | None = None
    n_classes: int = 0
    kept_as: str = ""
    licence: str = ""
    parameters: float = 0.0
    source: str = ""

    def __post_init__(self) -> None:
        """Refuse values that no library knows; which weights exist is up to `checkpoints`."""
        for name in ("mean", "std"):  # lists in YAML and JSON
            object.__setattr__(self, name, tuple(getattr(self, name)))
        try:
            file_name(self.folder_name)
        except ValueError as error:
            raise self._error(f"its weights are kept in a folder of their own, and {error}") from error
        for name, choices in CHOICES.items():
            if (value := getattr(self, name)) not in choices:
                what = name.replace("weights_kind", "kind of weights")
                raise self._error(f"{what} {value!r} is not known; choose one of {', '.join(choices)}")
        if 0 < self.resize_size < self.input_size:
            raise self._error(f"resize_size {self.resize_size} is less than input_size; set at least {self.input_size}")
        if self.resize_size > self.input_size and self.crop == "none":
            raise self._error("pictures are resized to more than input_size; set crop")
        if self.resize == "shortest" and self.crop == "none":
            problem = "the short side is resized and nothing is cropped, so its images would differ in shape"
            raise self._error(f"{problem}; set crop: center_floor or center_round, or resize: squash")
        segments = self.library == "segmentation"
        if self.decode != "exact" and segments:
            raise self._error("a reduced decode changes a segmentation network's vectors too much; set decode: exact")
        if self.n_classes not in (range(1, 151) if segments else (0,)):
            raise self._error("n_classes goes with library: segmentation, and only with it; ADE20K has 150")

    def _error(self, problem: str) -> ProfileError:
        return ProfileError(f"backbone {self.name!r}: {problem}")

    @property
    def resized_side(self) -> int:
        """The side that the picture is resized to before any crop."""
        return self.resize_size or self.input_size

    @property
    def decoded_side(self) -> int:
        """The least short side that a photo is decoded to; 0 for its full size."""
        return DRAFT_MARGIN * self.resized_side if self.decode == "draft" else 0

    @property
    def has_text_tower(self) -> bool:
        """Whether the vectors are a CLIP's or SigLIP's projected ones, which share their space with sentences."""
        return self.pooling == "projected" and not self.n_classes

    @property
    def weights_kind(self) -> str:
        """How `weights` is to be understood: "hub", "package", "path", "site" or "seeded"."""
        return self.weights.partition(":")[0]

    @property
    def weights_target(self) -> str:
        """`weights` without its kind: the hub id, the path, or the seed."""
        return self.weights.partition(":")[2]

    @property
    def folder_name(self) -> str:
        """What the folder of its weights is called among the checkpoints."""
        return self.kept_as or self.name

    def fingerprint(self) -> str:
        """Hex SHA-256 of all fields that differ from their defaults, without what only people read."""
        return fingerprint(self, without=_FACTS)

    def vector_fingerprint(self) -> str:
        """Hex SHA-256 of the fields that can change a vector of given weights, and of the code versions of its libraries."""
        own = fingerprint(self, code_version=LIBRARIES[self.library].code_version, without=_ORIGIN)
        return value_sha256([DECODE_VERSION, own, self.embedder and self.embedder.vector_fingerprint()])

    def changed(self, **changes: Any) -> BackboneSpec:
        """This specification with some fields replaced, as a profile asks for. ProfileError for an unknown field."""
        names = sorted(item.name for item in fields(self))
        if unknown := sorted(set(changes).difference(names)):
            raise ProfileError(f"backbone {self.name!r} has no field {unknown[0]!r}; its fields are {', '.join(names)}")
        return replace(self, **changes)


def specification_from(values: Mapping[str, Any]) -> BackboneSpec:
    """The specification that `dataclasses.asdict` turned into plain values (and JSON into lists)."""
    embedder = values.get("embedder")
    return BackboneSpec(**{**values, "embedder": embedder and specification_from(embedder)})

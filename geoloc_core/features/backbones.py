"""The backbones that exist, by name; a profile can also derive one from another (`derived_backbone`).

A new backbone is one entry here, or only lines of YAML in a profile. Nothing is loaded or downloaded by looking. CLIP
dimensions are those of the published configurations: the thesis's "ViT-L/14 with 512 dimensions" does not exist; L/14 has
768 after its projection and 1024 before it, and 512 is B/32's and B/16's.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from geoloc_core.errors import ProfileError
from geoloc_core.features.encoders import HRNET_MODEL_ID
from geoloc_core.features.specification import (
    HALF,
    IMAGENET_MEAN,
    IMAGENET_STD,
    OPENAI_MEAN,
    OPENAI_STD,
    BackboneSpec,
)

Settings = dict[str, Any]

# Preprocessing, as the models' own configurations state it. "squash" maps the whole picture to a square.
SQUASH: Settings = {"resize": "squash", "crop": "none", "interpolation": "bilinear"}
BICUBIC_CROP: Settings = {"resize": "shortest", "crop": "center_floor", "interpolation": "bicubic"}
HALF_RANGE: Settings = {"mean": HALF, "std": HALF}
OPENAI_RANGE: Settings = {"mean": OPENAI_MEAN, "std": OPENAI_STD}
IMAGENET_RANGE: Settings = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}

# What an encoder returns.
CLS_TOKEN: Settings = {"library": "transformers", "layer": "last_hidden_state", "pooling": "cls"}
MEAN_TOKEN: Settings = {"library": "transformers", "layer": "last_hidden_state", "pooling": "mean"}
PROJECTED: Settings = {"layer": "image_embeds", "pooling": "projected"}

OPEN_CLIP: Settings = {
    "library": "open_clip",
    **PROJECTED,
    **BICUBIC_CROP,
    "crop": "center_round",
    **OPENAI_RANGE,
    "source": "Radford et al. (2021), arXiv 2103.00020; configuration and preprocessing: open_clip's tables",
}
METACLIP: Settings = {
    **OPEN_CLIP,
    "pretrained": "metaclip_fullcc",
    "source": "Xu et al. (2024), Demystifying CLIP data, arXiv 2309.16671; configuration: open_clip's tables",
}
SIGLIP2: Settings = {
    **OPEN_CLIP,
    **HALF_RANGE,
    "resize": "squash",
    "crop": "none",
    "pretrained": "webli",
    "source": "Tschannen et al. (2025), SigLIP 2, arXiv 2502.14786; configuration: open_clip's tables",
}
IN21K: Settings = {
    **CLS_TOKEN,
    **SQUASH,
    **HALF_RANGE,
    "source": "Dosovitskiy et al. (2021), arXiv 2010.11929; preprocessing: the model's preprocessor_config.json",
}
# The whole picture is squeezed into a square: areas then count all of it, and pictures of any shape fit into a batch.
SEGMENTATION: Settings = {
    "library": "segmentation",
    "layer": "class_map",
    **SQUASH,
    **IMAGENET_RANGE,
    "n_classes": 150,
}


def _hub(name: str, hub_id: str, dimension: int, input_size: int, **settings: Any) -> BackboneSpec:
    """A backbone whose weights are on the hub; models of transformers are called by their hub id."""
    settings = {"model_id": hub_id, "weights": f"hub:{hub_id}", "revision": "main", **settings}
    return BackboneSpec(name=name, dimension=dimension, input_size=input_size, **settings)


def _openai(name: str, model_id: str, hub_id: str, dimension: int, input_size: int = 224) -> BackboneSpec:
    return _hub(name, f"timm/{hub_id}", dimension, input_size, model_id=model_id, pretrained="openai", **OPEN_CLIP)


def _siglip2(name: str, model_id: str, dimension: int, input_size: int) -> BackboneSpec:
    return _hub(name, f"timm/{model_id}", dimension, input_size, model_id=model_id, **SIGLIP2)


def _trunk(spec: BackboneSpec, dimension: int) -> BackboneSpec:
    """The same model before its projection."""
    changes = {"kept_as": spec.name, "layer": "pooled", "pooling": "trunk", "dimension": dimension}
    return spec.changed(name=f"{spec.name}-trunk", **changes)


def _map_and_areas(
    name: str, model_id: str, input_size: int, source: str, site: str = ""
) -> tuple[BackboneSpec, BackboneSpec]:
    """A segmentation network: its coloured class map read by ViT-L/16, and the areas of its classes."""
    areas = BackboneSpec(
        name=f"{name}-hist",
        model_id=model_id,
        weights=f"site:{site}" if site else f"hub:{model_id}",
        revision="" if site else "main",
        pooling="class_area",
        dimension=150,
        input_size=input_size,
        source=source,
        **SEGMENTATION,
    )
    return areas.changed(name=f"{name}-vit", pooling=VIT_L.pooling, dimension=VIT_L.dimension, embedder=VIT_L), areas


VIT_L = _hub("vit-l-16-in21k", "google/vit-large-patch16-224-in21k", 1024, 224, **IN21K)
CLIP_B32 = _openai("clip-b-32", "ViT-B-32-quickgelu", "vit_base_patch32_clip_224.openai", 512)
CLIP_B16 = _openai("clip-b-16", "ViT-B-16-quickgelu", "vit_base_patch16_clip_224.openai", 512)
CLIP_L14 = _openai("clip-l-14", "ViT-L-14-quickgelu", "vit_large_patch14_clip_224.openai", 768)
CLIP_L14_336 = _openai("clip-l-14-336", "ViT-L-14-336-quickgelu", "vit_large_patch14_clip_336.openai", 768, 336)
STREETCLIP = _hub(
    "streetclip",
    "geolocal/StreetCLIP",
    768,
    336,
    library="transformers",
    **PROJECTED,
    **BICUBIC_CROP,
    **OPENAI_RANGE,
    source="Haas et al. (2023), arXiv 2302.00275, trained from clip-vit-large-patch14-336; CC BY-NC 4.0",
)

PUBLISHED = (
    VIT_L,
    _hub("vit-b-16-in21k", "google/vit-base-patch16-224-in21k", 768, 224, **IN21K),
    CLIP_B32,
    _trunk(CLIP_B32, 768),
    CLIP_B16,
    _trunk(CLIP_B16, 768),
    CLIP_L14,
    _trunk(CLIP_L14, 1024),
    CLIP_L14_336,
    _trunk(CLIP_L14_336, 1024),
    _hub(
        "metaclip-l-14",
        "timm/vit_large_patch14_clip_224.metaclip_2pt5b",
        768,
        224,
        model_id="ViT-L-14-quickgelu",
        **METACLIP,
    ),
    _hub(
        "metaclip-h-14",
        "timm/vit_huge_patch14_clip_224.metaclip_2pt5b",
        1024,
        224,
        model_id="ViT-H-14-quickgelu",
        **METACLIP,
    ),
    _siglip2("siglip2-b-16", "ViT-B-16-SigLIP2", 768, 224),
    _siglip2("siglip2-l-16-256", "ViT-L-16-SigLIP2-256", 1024, 256),
    _siglip2("siglip2-so400m-16-384", "ViT-SO400M-16-SigLIP2-384", 1152, 384),
    STREETCLIP,
    _trunk(STREETCLIP, 1024),
    _hub(
        "dinov2-l-14-reg",
        "facebook/dinov2-with-registers-large",
        1024,
        224,
        resize_size=256,
        **CLS_TOKEN,
        **BICUBIC_CROP,
        **IMAGENET_RANGE,
        source="Darcet et al. (2024), Vision transformers need registers, arXiv 2309.16588; resize 256, crop 224",
    ),
    *_map_and_areas(
        "seg",
        HRNET_MODEL_ID,
        512,
        "Zhou et al. (2018), arXiv 1608.05442, and Sun et al. (2019), arXiv 1904.04514; MIT CSAIL's published model",
        site="http://sceneparsing.csail.mit.edu/model/pytorch/ade20k-hrnetv2-c1",
    ),
    *_map_and_areas(
        "segformer-b5",
        "nvidia/segformer-b5-finetuned-ade-640-640",
        640,
        "Xie et al. (2021), SegFormer, arXiv 2105.15203; trained on ADE20K",
    ),
    *_map_and_areas(
        "upernet-convnext-s",
        "openmmlab/upernet-convnext-small",
        512,
        "Liu et al. (2022), ConvNeXt, arXiv 2201.03545, with UPerNet, arXiv 1807.10221; trained on ADE20K",
    ),
    *_map_and_areas(
        "mask2former-swin-l",
        "facebook/mask2former-swin-large-ade-semantic",
        640,
        "Cheng et al. (2022), Mask2Former, arXiv 2112.01527; trained on ADE20K",
    ),
)

# The sample's backbones: real architectures, a thousandth of the size, with random weights made from a seed. They show that
# the pipeline works, not how well it locates. A random network is still a fixed bank of filters, so its vectors carry colour
# and texture, provided that it is shallow, that tokens are averaged, and that its non-linear parts are as large as what
# bypasses them. The deviations were chosen by a linear probe of countries on drawn photos, on authors held out.
SEEDED: Settings = {
    "dimension": 192,
    "input_size": 64,
    "source": "random weights by seed; made by this project for its drawn sample",
}
TINY_CLIP_VISION = {
    "image_size": 64,
    "layers": 1,
    "width": 256,
    "head_width": 32,
    "patch_size": 8,
    "pool_type": "avg",
}
TINY_CLIP = BackboneSpec(
    name="tiny-clip",
    model_id="tiny-clip",
    weights="seeded:101",
    architecture={
        "embed_dim": 192,
        "quick_gelu": True,
        "vision_cfg": TINY_CLIP_VISION,
        # open_clip's own vocabulary, so that sentences can be encoded; what comes out is as random as the weights.
        "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    },
    initial_std={"visual.*.mlp.c_fc.weight": 0.3, "visual.*.mlp.c_proj.weight": 0.15},
    **{**OPEN_CLIP, **SEEDED},
)
TINY_VIT = BackboneSpec(
    name="tiny-vit",
    model_id="tiny-vit",
    weights="seeded:202",
    architecture={
        "model_type": "vit",
        "hidden_size": 192,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "intermediate_size": 384,
        "image_size": 64,
        "patch_size": 8,
        "initializer_range": 0.1,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    },
    **MEAN_TOKEN,
    **SQUASH,
    **HALF_RANGE,
    **SEEDED,
)
TINY_SEGVIT = BackboneSpec(
    name="tiny-segvit",
    model_id="tiny-segformer",
    weights="seeded:303",
    pooling="mean",
    architecture={
        "model_type": "segformer",
        "num_labels": 150,
        "num_encoder_blocks": 4,
        "depths": [1, 1, 1, 1],
        "sr_ratios": [8, 4, 2, 1],
        "hidden_sizes": [32, 32, 32, 32],
        "num_attention_heads": [1, 1, 2, 2],
        "mlp_ratios": [2, 2, 2, 2],
        "decoder_hidden_size": 64,
        "initializer_range": 0.1,
    },
    # Biases before the first normalisation keep brightness; the finest scale, which sees colour, is made louder.
    initial_std={"*.proj.bias": 1.0, "*.linear_c.0.proj.weight": 0.5},
    embedder=TINY_VIT,
    **SEGMENTATION,
    **SEEDED,
)

BACKBONES: Mapping[str, BackboneSpec] = MappingProxyType(
    {spec.name: spec for spec in (*PUBLISHED, TINY_CLIP, TINY_VIT, TINY_SEGVIT)}
)

SAME_FILES = {"decode", "dtype", "layer", "pooling", "dimension"}
"""Fields that can change without the checkpoint's files being others."""


def backbone(name: str) -> BackboneSpec:
    """The specification called `name`. Raises ProfileError, listing the names that exist."""
    if name not in BACKBONES:
        raise ProfileError(f"backbone {name!r} is not known; choose one of {', '.join(sorted(BACKBONES))}")
    return BACKBONES[name]


def derived_backbone(name: str, settings: Mapping[str, Any]) -> BackboneSpec:
    """The backbone `name` as a profile describes it: `of`, the one of the list that it starts from, and changes.

    Without `of` it starts from the backbone of the same name. Where only the reading of the weights differs (for example
    `decode: draft`), both use the same folder of weights. Raises ProfileError for unknown names, fields and values.
    """
    changes = dict(settings)
    start = backbone(str(changes.pop("of", name)))
    if set(changes) <= SAME_FILES:
        changes["kept_as"] = start.folder_name
    return start.changed(name=name, **changes)

"""The published backbones, each with where its numbers come from.

CLIP dimensions are those of the published configurations: the thesis's "ViT-L/14 with 512 dimensions" does not exist;
L/14 has 768 after its projection and 1024 before it, and 512 is B/32's and B/16's.
"""

from __future__ import annotations

from typing import Any

from geoloc_core.features.specification import (
    HALF,
    IMAGENET_MEAN,
    IMAGENET_STD,
    OPENAI_MEAN,
    OPENAI_STD,
    BackboneSpec,
)

IN21K_SOURCE = "Dosovitskiy et al. (2021), arXiv 2010.11929; preprocessing: the model's preprocessor_config.json"
OPENAI_SOURCE = "Radford et al. (2021), arXiv 2103.00020; configuration and preprocessing: open_clip's tables"
METACLIP_SOURCE = "Xu et al. (2024), Demystifying CLIP data, arXiv 2309.16671; configuration: open_clip's tables"
SIGLIP2_SOURCE = "Tschannen et al. (2025), SigLIP 2, arXiv 2502.14786; configuration: open_clip's tables"
STREETCLIP_SOURCE = "Haas et al. (2023), arXiv 2302.00275, trained from clip-vit-large-patch14-336; CC BY-NC 4.0"
DINOV2_SOURCE = "Darcet et al. (2024), Vision transformers need registers, arXiv 2309.16588; resize 256, crop 224"
CSAIL_SOURCE = (
    "Zhou et al. (2018), arXiv 1608.05442, and Sun et al. (2019), arXiv 1904.04514; MIT CSAIL's published model"
)
SEGFORMER_SOURCE = "Xie et al. (2021), SegFormer, arXiv 2105.15203; trained on ADE20K"
UPERNET_SOURCE = "Liu et al. (2022), ConvNeXt, arXiv 2201.03545, with UPerNet, arXiv 1807.10221; trained on ADE20K"
MASK2FORMER_SOURCE = "Cheng et al. (2022), Mask2Former, arXiv 2112.01527; trained on ADE20K"


def _in21k(name: str, hub: str, dimension: int) -> BackboneSpec:
    return BackboneSpec(
        name=name,
        library="transformers",
        model_id=hub,
        weights=f"hub:{hub}",
        revision="main",
        layer="last_hidden_state",
        pooling="cls",
        dimension=dimension,
        input_size=224,
        resize="squash",
        crop="none",
        interpolation="bilinear",
        mean=HALF,
        std=HALF,
        source=IN21K_SOURCE,
    )


def _open_clip(
    name: str, model_id: str, tag: str, hub: str, dimension: int, size: int, source: str, **changes: Any
) -> BackboneSpec:
    settings: dict[str, Any] = {
        "name": name,
        "library": "open_clip",
        "model_id": model_id,
        "pretrained": tag,
        "weights": f"hub:{hub}",
        "revision": "main",
        "layer": "image_embeds",
        "pooling": "projected",
        "dimension": dimension,
        "input_size": size,
        "resize": "shortest",
        "crop": "center_round",
        "interpolation": "bicubic",
        "mean": OPENAI_MEAN,
        "std": OPENAI_STD,
        "source": source,
    }
    return BackboneSpec(**{**settings, **changes})


def _trunk(spec: BackboneSpec, dimension: int) -> BackboneSpec:
    """The same model before its projection."""
    return spec.changed(
        name=f"{spec.name}-trunk", kept_as=spec.name, layer="pooled", pooling="trunk", dimension=dimension
    )


def _siglip2(name: str, model_id: str, dimension: int, size: int) -> BackboneSpec:
    return _open_clip(
        name,
        model_id,
        "webli",
        f"timm/{model_id}",
        dimension,
        size,
        SIGLIP2_SOURCE,
        resize="squash",
        crop="none",
        mean=HALF,
        std=HALF,
    )


def _segmentation(
    name: str, model_id: str, weights: str, size: int, source: str, embedder: BackboneSpec | None
) -> BackboneSpec:
    """A segmentation network, then its coloured map through `embedder`, or the areas of its classes."""
    return BackboneSpec(
        name=name,
        library="segmentation",
        model_id=model_id,
        weights=weights,
        revision="main" if weights.startswith("hub:") else "",
        layer="class_map",
        pooling="class_area" if embedder is None else embedder.pooling,
        dimension=150 if embedder is None else embedder.dimension,
        input_size=size,
        # The whole picture is squeezed into a square: areas then count all of it, and pictures of any shape batch.
        resize="squash",
        crop="none",
        interpolation="bilinear",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        n_classes=150,
        embedder=embedder,
        source=source,
    )


VIT_L = _in21k("vit-l-16-in21k", "google/vit-large-patch16-224-in21k", 1024)
VIT_B = _in21k("vit-b-16-in21k", "google/vit-base-patch16-224-in21k", 768)

CLIP_B32 = _open_clip(
    "clip-b-32", "ViT-B-32-quickgelu", "openai", "timm/vit_base_patch32_clip_224.openai", 512, 224, OPENAI_SOURCE
)
CLIP_B16 = _open_clip(
    "clip-b-16", "ViT-B-16-quickgelu", "openai", "timm/vit_base_patch16_clip_224.openai", 512, 224, OPENAI_SOURCE
)
CLIP_L14 = _open_clip(
    "clip-l-14", "ViT-L-14-quickgelu", "openai", "timm/vit_large_patch14_clip_224.openai", 768, 224, OPENAI_SOURCE
)
CLIP_L14_336 = _open_clip(
    "clip-l-14-336",
    "ViT-L-14-336-quickgelu",
    "openai",
    "timm/vit_large_patch14_clip_336.openai",
    768,
    336,
    OPENAI_SOURCE,
)
METACLIP_L14 = _open_clip(
    "metaclip-l-14",
    "ViT-L-14-quickgelu",
    "metaclip_fullcc",
    "timm/vit_large_patch14_clip_224.metaclip_2pt5b",
    768,
    224,
    METACLIP_SOURCE,
)
METACLIP_H14 = _open_clip(
    "metaclip-h-14",
    "ViT-H-14-quickgelu",
    "metaclip_fullcc",
    "timm/vit_huge_patch14_clip_224.metaclip_2pt5b",
    1024,
    224,
    METACLIP_SOURCE,
)

STREETCLIP = BackboneSpec(
    name="streetclip",
    library="transformers",
    model_id="geolocal/StreetCLIP",
    weights="hub:geolocal/StreetCLIP",
    revision="main",
    layer="image_embeds",
    pooling="projected",
    dimension=768,
    input_size=336,
    resize="shortest",
    crop="center_floor",
    interpolation="bicubic",
    mean=OPENAI_MEAN,
    std=OPENAI_STD,
    source=STREETCLIP_SOURCE,
)

DINOV2_L = BackboneSpec(
    name="dinov2-l-14-reg",
    library="transformers",
    model_id="facebook/dinov2-with-registers-large",
    weights="hub:facebook/dinov2-with-registers-large",
    revision="main",
    layer="last_hidden_state",
    pooling="cls",
    dimension=1024,
    input_size=224,
    resize_size=256,
    resize="shortest",
    crop="center_floor",
    interpolation="bicubic",
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    source=DINOV2_SOURCE,
)

HRNET_SITE = "site:http://sceneparsing.csail.mit.edu/model/pytorch/ade20k-hrnetv2-c1"
SEG_VIT = _segmentation("seg-vit", "hrnetv2-c1", HRNET_SITE, 512, CSAIL_SOURCE, VIT_L)
SEG_HIST = _segmentation("seg-hist", "hrnetv2-c1", HRNET_SITE, 512, CSAIL_SOURCE, None)


def _stand_in(name: str, hub: str, size: int, source: str) -> tuple[BackboneSpec, BackboneSpec]:
    """A segmentation network of transformers in HRNet's place, as map and as areas."""
    weights = f"hub:{hub}"
    return (
        _segmentation(f"{name}-vit", hub, weights, size, source, VIT_L),
        _segmentation(f"{name}-hist", hub, weights, size, source, None),
    )


PUBLISHED_BACKBONES = (
    VIT_L,
    VIT_B,
    CLIP_B32,
    _trunk(CLIP_B32, 768),
    CLIP_B16,
    _trunk(CLIP_B16, 768),
    CLIP_L14,
    _trunk(CLIP_L14, 1024),
    CLIP_L14_336,
    _trunk(CLIP_L14_336, 1024),
    METACLIP_L14,
    METACLIP_H14,
    _siglip2("siglip2-b-16", "ViT-B-16-SigLIP2", 768, 224),
    _siglip2("siglip2-l-16-256", "ViT-L-16-SigLIP2-256", 1024, 256),
    _siglip2("siglip2-so400m-16-384", "ViT-SO400M-16-SigLIP2-384", 1152, 384),
    STREETCLIP,
    _trunk(STREETCLIP, 1024),
    DINOV2_L,
    SEG_VIT,
    SEG_HIST,
    *_stand_in("segformer-b5", "nvidia/segformer-b5-finetuned-ade-640-640", 640, SEGFORMER_SOURCE),
    *_stand_in("upernet-convnext-s", "openmmlab/upernet-convnext-small", 512, UPERNET_SOURCE),
    *_stand_in("mask2former-swin-l", "facebook/mask2former-swin-large-ade-semantic", 640, MASK2FORMER_SOURCE),
)

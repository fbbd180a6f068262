"""One small backbone of each published family: published preprocessing, the library's own classes, seeded weights."""

from geoloc_core.features.backbones import backbone
from geoloc_core.features.encoders import HRNET_MODEL_ID
from geoloc_core.features.specification import BackboneSpec

TEXT = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
VISION = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}

VIT = backbone("vit-l-16-in21k").changed(
    name="small-vit",
    weights="seeded:11",
    dimension=64,
    architecture={"model_type": "vit", "image_size": 224, "patch_size": 32, **VISION},
)
OPEN_CLIP = backbone("clip-l-14").changed(
    name="small-clip",
    model_id="small-clip",
    pretrained="",
    weights="seeded:12",
    dimension=48,
    architecture={
        "embed_dim": 48,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 224, "layers": 2, "width": 64, "head_width": 32, "patch_size": 28},
        "text_cfg": TEXT,
    },
)
SIGLIP = backbone("siglip2-b-16").changed(
    name="small-siglip",
    model_id="small-siglip",
    pretrained="",
    weights="seeded:13",
    input_size=160,
    dimension=64,
    architecture={
        "embed_dim": 64,
        "custom_text": True,
        "init_logit_bias": -10,
        "vision_cfg": {
            "image_size": 160,
            "timm_model_name": "test_vit",
            "timm_model_pretrained": False,
            "timm_pool": "map",
            "timm_proj": "none",
        },
        "text_cfg": {**TEXT, "no_causal_mask": True, "proj_bias": True, "pool_type": "last"},
    },
)
STREETCLIP = backbone("streetclip").changed(
    name="small-streetclip",
    weights="seeded:14",
    dimension=40,
    architecture={
        "model_type": "clip",
        "projection_dim": 40,
        "vision_config": {"image_size": 336, "patch_size": 42, **VISION},
        # Older CLIPs on the hub name 2 as the end of a text, and the library takes the largest id for it instead.
        "text_config": {
            "vocab_size": 64,
            "max_position_embeddings": 77,
            "bos_token_id": 0,
            "eos_token_id": 2,
            **VISION,
        },
    },
)
HUB_SIGLIP = backbone("siglip2-b-16").changed(
    name="small-hub-siglip",
    library="transformers",
    model_id="small-hub-siglip",
    pretrained="",
    weights="seeded:20",
    dimension=64,
    architecture={
        "model_type": "siglip",
        "vision_config": {"image_size": 224, "patch_size": 28, **VISION},
        "text_config": {"vocab_size": 64, "max_position_embeddings": 16, "projection_size": 64, **VISION},
    },
)
DINOV2 = backbone("dinov2-l-14-reg").changed(
    name="small-dinov2",
    weights="seeded:15",
    dimension=64,
    architecture={
        "model_type": "dinov2_with_registers",
        "image_size": 518,
        "patch_size": 14,
        "num_register_tokens": 4,
        "mlp_ratio": 2,
        **{key: value for key, value in VISION.items() if key != "intermediate_size"},
    },
)

METACLIP2 = backbone("metaclip2-h-14").changed(
    name="small-metaclip2",
    model_id="small-metaclip2",
    pretrained="",
    weights="seeded:31",
    dimension=48,
    architecture={
        "embed_dim": 48,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 224, "layers": 2, "width": 64, "head_width": 32, "patch_size": 28},
        # The published one reads text with XLM-V's tokenizer, up to its end-of-text token.
        "text_cfg": {**TEXT, "hf_tokenizer_name": "facebook/xlm-v-base", "pool_type": "eos", "eos_id": 2},
    },
)
PE_CORE = backbone("pe-core-b-16").changed(
    name="small-pe-core",
    model_id="small-pe-core",
    pretrained="",
    weights="seeded:21",
    input_size=384,
    dimension=48,
    architecture={
        "embed_dim": 48,
        "custom_text": True,
        # The smallest published one. The projection is the classifier of timm's trunk, and open_clip's
        # own head is empty.
        "vision_cfg": {
            "image_size": 384,
            "timm_model_name": "vit_pe_core_tiny_patch16_384",
            "timm_model_pretrained": False,
            "timm_pool": "map",
            "timm_proj": None,
        },
        "text_cfg": TEXT,
    },
)
PE_CORE_WIDTH = 192


def of_timm(name: str, seed: int) -> BackboneSpec:
    """A backbone of timm, two blocks deep and 64 numbers wide, on pictures of four patches a side."""
    published = backbone(name)
    side = 56 if "patch14" in published.model_id else 64
    architecture = {"embed_dim": 64, "depth": 2, "num_heads": 2, "img_size": side}
    changes = {"input_size": side, "dimension": 64, "weights": f"seeded:{seed}", "architecture": architecture}
    return published.changed(name=f"small-{name}", **changes)


# Its blocks begin with a scale of 1e-5, so that an untrained class token would see nothing of the picture.
DINOV3 = of_timm("dinov3-b-16", 32).changed(initial_std={"*.gamma_*": 0.5})
AIMV2, RADIO = of_timm("aimv2-l-14", 33), of_timm("radio-v3-b-16", 34)


def small_hrnet(width: int) -> dict:
    """A configuration of timm's HRNet with one block everywhere."""

    def stage(branches: int) -> dict:
        return {
            "num_modules": 1,
            "num_branches": branches,
            "block_type": "BASIC",
            "num_blocks": (1,) * branches,
            "num_channels": tuple(width * 2**branch for branch in range(branches)),
            "fuse_method": "SUM",
        }

    first = {**stage(1), "block_type": "BOTTLENECK", "num_channels": (8,)}
    return {"stem_width": 16, "stage1": first, "stage2": stage(2), "stage3": stage(3), "stage4": stage(4)}


def segmentation(name: str, seed: int, size: int, architecture: dict, embedder: BackboneSpec | None) -> BackboneSpec:
    """A small segmentation backbone with the published settings of seg-vit or seg-hist."""
    published = backbone("seg-vit" if embedder else "seg-hist")
    return published.changed(
        name=name,
        model_id=HRNET_MODEL_ID if name.startswith("small-hrnet") else name,
        weights=f"seeded:{seed}",
        input_size=size,
        architecture=architecture,
        embedder=embedder,
        dimension=embedder.dimension if embedder else 150,
    )


SEGFORMER = {
    "model_type": "segformer",
    "num_labels": 150,
    "depths": [1, 1, 1, 1],
    "hidden_sizes": [16, 16, 32, 32],
    "num_attention_heads": [1, 1, 2, 2],
    "mlp_ratios": [2, 2, 2, 2],
    "decoder_hidden_size": 32,
    "initializer_range": 0.1,
}
UPERNET = {
    "model_type": "upernet",
    "num_labels": 150,
    "hidden_size": 32,
    "auxiliary_channels": 16,
    "auxiliary_in_channels": 32,
    "backbone_config": {
        "model_type": "convnext",
        "depths": [1, 1, 1, 1],
        "hidden_sizes": [8, 16, 32, 32],
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
    },
}
MASK2FORMER = {
    "model_type": "mask2former",
    "num_labels": 150,
    "feature_size": 32,
    "mask_feature_size": 32,
    "hidden_dim": 32,
    "encoder_feedforward_dim": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "dim_feedforward": 32,
    "num_attention_heads": 2,
    "num_queries": 10,
    "backbone_config": {
        "model_type": "swin",
        "embed_dim": 16,
        "depths": [1, 1, 1, 1],
        "num_heads": [1, 1, 2, 2],
        "window_size": 4,
        "image_size": 128,
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
    },
}

HRNET_VIT = segmentation("small-hrnet-vit", 16, 128, small_hrnet(8), VIT)
HRNET_HIST = segmentation("small-hrnet-hist", 16, 128, small_hrnet(8), None)
SEGFORMER_VIT = segmentation("small-segformer", 17, 128, SEGFORMER, VIT)
UPERNET_HIST = segmentation("small-upernet", 18, 128, UPERNET, None)
MASK2FORMER_HIST = segmentation("small-mask2former", 19, 128, MASK2FORMER, None)

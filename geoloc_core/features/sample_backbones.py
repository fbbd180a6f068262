"""The backbones of the sample: real architectures, a thousandth of the size, with random weights made from a seed.

They show that the line works, not how well it locates: nothing here was trained. A random network is still a fixed
bank of filters, so its vectors carry colour and texture, provided that it is shallow, that tokens are averaged rather
than read off one of them, and that its non-linear parts speak as loudly as what passes by them. The deviations below
were chosen by a linear probe of countries on drawn photos, on authors held out.
"""

from __future__ import annotations

from geoloc_core.features.specification import HALF, IMAGENET_MEAN, IMAGENET_STD, OPENAI_MEAN, OPENAI_STD, BackboneSpec

SAMPLE_SOURCE = "random weights by seed; made by this project for its drawn sample"

TINY_CLIP = BackboneSpec(
    name="tiny-clip",
    library="open_clip",
    model_id="tiny-clip",
    weights="seeded:101",
    layer="image_embeds",
    pooling="projected",
    dimension=192,
    input_size=64,
    resize="shortest",
    crop="center_round",
    interpolation="bicubic",
    mean=OPENAI_MEAN,
    std=OPENAI_STD,
    architecture={
        "embed_dim": 192,
        "quick_gelu": True,
        "vision_cfg": {
            "image_size": 64,
            "layers": 1,
            "width": 256,
            "head_width": 32,
            "patch_size": 8,
            "pool_type": "avg",
        },
        # open_clip's own vocabulary, so that sentences can be encoded; what comes out is as random as the weights.
        "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    },
    initial_std={"visual.*.mlp.c_fc.weight": 0.3, "visual.*.mlp.c_proj.weight": 0.15},
    source=SAMPLE_SOURCE,
)

TINY_VIT = BackboneSpec(
    name="tiny-vit",
    library="transformers",
    model_id="tiny-vit",
    weights="seeded:202",
    layer="last_hidden_state",
    pooling="mean",
    dimension=192,
    input_size=64,
    resize="squash",
    crop="none",
    interpolation="bilinear",
    mean=HALF,
    std=HALF,
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
    source=SAMPLE_SOURCE,
)

TINY_SEGVIT = BackboneSpec(
    name="tiny-segvit",
    library="segmentation",
    model_id="tiny-segformer",
    weights="seeded:303",
    layer="class_map",
    pooling="mean",
    dimension=192,
    input_size=64,
    resize="squash",
    crop="none",
    interpolation="bilinear",
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    n_classes=150,
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
    # Biases before the first normalisation keep brightness; the finest scale, which sees colour, speaks up.
    initial_std={"*.proj.bias": 1.0, "*.linear_c.0.proj.weight": 0.5},
    embedder=TINY_VIT,
    source=SAMPLE_SOURCE,
)

SAMPLE_BACKBONES = (TINY_CLIP, TINY_VIT, TINY_SEGVIT)

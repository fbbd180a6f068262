"""The thesis's own six experiments, trained and reported where the weights of CLIP, ViT and SegFormer can be had."""

import json

import yaml

from geoloc_core.features.checkpoints import open_checkpoint
from geoloc_core.line.profile import load_profile
from geoloc_core.line.project import SOURCE_ROOT
from geoloc_dagster.cli import main

SAMPLE = SOURCE_ROOT / "profiles" / "sample.yaml"
SMALL_CLIP = {
    "embed_dim": 512,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 224, "layers": 1, "width": 64, "head_width": 32, "patch_size": 56},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
SMALL_VIT = {
    "model_type": "vit",
    "image_size": 224,
    "patch_size": 56,
    "hidden_size": 768,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
SMALL_SEGFORMER = {
    "model_type": "segformer",
    "num_labels": 150,
    "depths": [1, 1, 1, 1],
    "hidden_sizes": [8, 8, 16, 16],
    "num_attention_heads": [1, 1, 2, 2],
    "mlp_ratios": [2, 2, 2, 2],
    "decoder_hidden_size": 16,
    "initializer_range": 0.1,
}


def lay_small_weights(folder):
    """Seeded networks of the published layouts, and of the published dimensions, where the published weights would be."""
    profile = load_profile(SAMPLE)
    small = {
        "clip-b-32": {"model_id": "small-clip", "pretrained": "", "architecture": SMALL_CLIP},
        "vit-b-16-in21k": {"model_id": "small-vit", "architecture": SMALL_VIT},
        "segformer-b0-vit": {"model_id": "small-segformer", "architecture": SMALL_SEGFORMER},
    }
    vit = None
    for seed, (name, changes) in enumerate(small.items()):
        embedder = {"embedder": vit} if "seg" in name else {}
        spec = profile.backbone(name).changed(weights=f"seeded:{seed}", revision="", **changes, **embedder)
        open_checkpoint(spec, folder)
        vit = spec if name.startswith("vit") else vit


def test_with_weights_at_hand_the_six_are_trained_on_the_same_photos_and_stand_in_the_tables(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("GEOLOC_SAMPLE", "drawn")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    values = yaml.safe_load(SAMPLE.read_text())
    values["sample"]["drawn"]["drawn"] = {"shards": 1, "photos_per_shard": 60, "benchmarks": {"bench": 12}}
    values["features"]["lite0"] = ["tiny-clip"]
    # Weights of another size under the published model's name are refused, and rightly.
    values["backbones"]["clip-b-32"] = {"model_id": "small-clip", "pretrained": ""}
    wanted = [key for key in values["experiments"] if key.split(".")[0] in values["optional"]]
    values["experiments"] = ["lite0.linear.country.thesis", *wanted]
    profile = tmp_path / "sample.yaml"
    profile.write_text(yaml.safe_dump(values, sort_keys=False))
    home = tmp_path / "home"
    where = ["--profile", str(profile), "--home", str(home)]
    lay_small_weights(home / "checkpoints")

    assert main(["refresh", *where]) == 0
    assert json.loads((home / "choice.json").read_text())["left_out"] == []
    capsys.readouterr()
    assert main(["results", "--json", *where]) == 0
    results = json.loads(capsys.readouterr().out)
    assert len(wanted) == 6
    rows = {row["experiment"] for row in results["table2"]}
    assert {*wanted, "lite0.linear.country.thesis", "class prior"} <= rows
    assert any(row.startswith("zero-shot clip-b-32") for row in rows)
    assert set(wanted) <= {row["experiment"] for row in results["table3"]}
    assert "drawn" in results["notice"]
    assert "Left out" not in results["notice"]

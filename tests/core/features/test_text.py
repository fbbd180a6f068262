"""Sentences through the libraries' own tokenizers and text models, against `encode_text`."""

import json
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import transformers

from geoloc_core.errors import CheckpointError
from geoloc_core.features.backbones import backbone
from geoloc_core.features.checkpoints import open_checkpoint
from geoloc_core.features.specification import BackboneSpec
from geoloc_core.features.text import TextVectors, encode_text
from tests.core.features.conftest import cosine
from tests.core.features.families import SMALL

SENTENCES = [
    "a photo taken in Curaçao",
    "a landscape in Côte d'Ivoire",
    "Niger",
    "Nigeria",
    "a photo of everyday life in Saint Vincent and the Grenadines, and of a street in that country as well, and " * 3,
]
ENGLISH = SMALL["clip"].changed(
    name="small-clip-english",
    architecture={
        **SMALL["clip"].architecture,
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    },
)


def write_clip_tokenizer(folder: Path) -> None:
    """A CLIP tokenizer in the published layout: letters and a few merges, 64 tokens in all."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    merges = ["i n</w>", "t o</w>", "p h", "ph o", "pho to</w>", "a n"]
    words = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair.split()) for pair in merges)]
    vocabulary = {word: number for number, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer"}))
    assert len(vocabulary) <= 64


def write_siglip_tokenizer(folder: Path) -> None:
    """A SigLIP 2 tokenizer in the published layout (tokenizer.json)."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    vocabulary = {word: number for number, word in enumerate([*special, "▁", *"abcdefghijklmnopqrstuvwxyz"])}
    transformers.Siglip2Tokenizer(vocab=vocabulary, padding_side="right").save_pretrained(folder)


def with_tokenizer(spec: BackboneSpec, folder: Path) -> Path:
    path = open_checkpoint(spec, folder).path
    (write_siglip_tokenizer if spec is SMALL["hub-siglip"] else write_clip_tokenizer)(path)
    return path


def by_open_clip(path: Path) -> tuple[torch.Tensor, float]:
    model, _ = open_clip.create_model_from_pretrained(f"local-dir:{path}")
    tokens = open_clip.get_tokenizer(f"local-dir:{path}")(SENTENCES)
    return model.eval().encode_text(tokens), float(model.logit_scale.exp())


def by_transformers(path: Path, **padding: object) -> tuple[torch.Tensor, float]:
    model = transformers.AutoModel.from_pretrained(path).eval()
    tokens = transformers.AutoTokenizer.from_pretrained(path)(
        SENTENCES, truncation=True, return_tensors="pt", **padding
    )
    return model.get_text_features(input_ids=tokens["input_ids"]).pooler_output, float(model.logit_scale.exp())


def same(found: TextVectors, expected: torch.Tensor, scale: float) -> None:
    assert found.vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1.0, atol=1e-6)
    assert cosine(torch.from_numpy(found.vectors), expected) >= 0.99999
    assert found.logit_scale == pytest.approx(scale, rel=1e-6)
    # Sentences are told apart, so that a cosine near one says something.
    near = found.vectors @ found.vectors.T - np.eye(len(SENTENCES))
    assert near.max() < 0.9999


@pytest.mark.parametrize("spec", [ENGLISH, backbone("tiny-clip")], ids=lambda spec: spec.name)
@torch.inference_mode()
def test_open_clip(spec: BackboneSpec, tmp_path: Path):
    found = encode_text(spec, tmp_path, SENTENCES)
    same(found, *by_open_clip(tmp_path / spec.name))
    assert found.vectors.shape == (len(SENTENCES), spec.dimension)


@torch.inference_mode()
def test_open_clip_with_a_tokenizer_of_its_own(tmp_path: Path):
    """As SigLIP 2 has it: the configuration names a tokenizer, whose files lie beside the weights."""
    text = {"context_length": 16, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1, "hf_tokenizer_name": "any"}
    siglip = {**SMALL["siglip"].architecture["text_cfg"], **text}
    spec = SMALL["siglip"].changed(
        name="small-siglip-text", architecture={**SMALL["siglip"].architecture, "text_cfg": siglip}
    )
    path = open_checkpoint(spec, tmp_path).path
    with pytest.raises(CheckpointError, match=r"lacks its tokenizer \(tokenizer.json\) in .*put that file"):
        encode_text(spec, tmp_path, SENTENCES)
    write_siglip_tokenizer(path)
    same(encode_text(spec, tmp_path, SENTENCES), *by_open_clip(path))


@pytest.mark.parametrize(
    ("spec", "padding"),
    [
        (SMALL["streetclip"], {"padding": True, "max_length": 77}),
        (SMALL["hub-siglip"], {"padding": "max_length", "max_length": 16}),
    ],
    ids=["clip", "siglip"],
)
@torch.inference_mode()
def test_transformers(spec: BackboneSpec, padding: dict, tmp_path: Path):
    path = with_tokenizer(spec, tmp_path)
    same(encode_text(spec, tmp_path, SENTENCES), *by_transformers(path, **padding))


def test_many_sentences_are_those_of_few(tmp_path: Path):
    many = [f"a street in region {number}" for number in range(300)]
    found = encode_text(backbone("tiny-clip"), tmp_path, many).vectors
    np.testing.assert_allclose(found[290:], encode_text(backbone("tiny-clip"), tmp_path, many[290:]).vectors, atol=1e-5)
    assert encode_text(backbone("tiny-clip"), tmp_path, []).vectors.shape == (0, 192)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (backbone("tiny-vit"), "shares no space with text; use a CLIP or SigLIP"),
        (backbone("tiny-segvit"), "shares no space with text"),
        (backbone("clip-l-14-trunk"), "shares no space with text"),
        (SMALL["streetclip"], r"lacks its tokenizer \(tokenizer.json\)"),
        (SMALL["vit"].changed(layer="image_embeds", pooling="projected"), "is a vit model, which has no text tower"),
    ],
    ids=lambda value: value.name if isinstance(value, BackboneSpec) else "",
)
def test_what_has_no_text_says_so(spec: BackboneSpec, message: str, tmp_path: Path):
    with pytest.raises(CheckpointError, match=message):
        encode_text(spec, tmp_path, ["a"])


def test_a_tokenizer_of_another_model_is_noticed(tmp_path: Path):
    """A tokenizer that knows more words than the tower would end in an index error deep inside the library."""
    path = with_tokenizer(SMALL["streetclip"], tmp_path)
    vocabulary = json.loads((path / "vocab.json").read_text())
    (path / "vocab.json").write_text(json.dumps({word: number + 30 for word, number in vocabulary.items()}))
    with pytest.raises(CheckpointError, match=r"knows more words than its text tower \(64\)"):
        encode_text(SMALL["streetclip"], tmp_path, SENTENCES)
    (path / "vocab.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"tokenizer of backbone 'small-streetclip' in .* cannot be loaded"):
        encode_text(SMALL["streetclip"], tmp_path, SENTENCES)


def test_hub_weights_without_tokenizer_say_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    seeded = open_checkpoint(SMALL["streetclip"], tmp_path / "made").path
    shutil.copytree(seeded, tmp_path / "hub" / "small-streetclip")
    spec = SMALL["streetclip"].changed(weights="hub:geoloc-tests/absent", revision="")
    with pytest.raises(CheckpointError, match=r"lacks its tokenizer .*hf download geoloc-tests/absent tokenizer.json"):
        encode_text(spec, tmp_path / "hub", ["a"])

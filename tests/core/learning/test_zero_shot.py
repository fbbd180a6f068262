"""The zero-shot head is cosine similarity to the averaged sentences, and a head like any other."""

import numpy as np
import pytest

from geoloc_core.errors import InputError
from geoloc_core.learning.zero_shot import TEMPLATES, sentences, zero_shot_head

RNG = np.random.default_rng(0)
TEXT = RNG.normal(size=(3 * len(TEMPLATES), 8)).astype(np.float32)
IMAGES = (RNG.normal(size=(6, 8)) * [[1], [2], [30], [4], [5], [0.1]]).astype(np.float16)


def test_logits_by_hand():
    head = zero_shot_head(TEXT, 100.0, ["DEU", "FRA", "NLD"])
    unit = TEXT / np.linalg.norm(TEXT, axis=1, keepdims=True)
    name = unit.reshape(3, -1, 8).mean(axis=1)
    image = IMAGES.astype(np.float32)
    cosine = (image @ name.T) / np.linalg.norm(image, axis=1)[:, None] / np.linalg.norm(name, axis=1)
    np.testing.assert_allclose(head.logits([IMAGES]), 100 * cosine, rtol=1e-4, atol=1e-3)
    assert head.countries == ["DEU", "FRA", "NLD"]


def test_sentences_go_name_by_name():
    prompts = sentences(["Namibia", "France"])
    assert len(prompts) == 2 * len(TEMPLATES)
    assert all("Namibia" in sentence for sentence in prompts[: len(TEMPLATES)])
    assert all("France" in sentence for sentence in prompts[len(TEMPLATES) :])
    assert len(set(prompts)) == len(prompts)


def test_refusal():
    with pytest.raises(InputError, match="5 sentences for each of 2 regions"):
        zero_shot_head(TEXT, 100.0, ["DEU", "FRA"])

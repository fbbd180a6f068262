"""The perceptual hash and the search for near-duplicates."""

import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from geoloc_core.photos.perceptual import FLAT_HASH, hash_bits, near_any, perceptual_hash


def picture(seed, size=(240, 180)):
    """A picture with structure at all scales, as photos have."""
    rng = np.random.default_rng(seed)
    total = np.zeros((size[1], size[0]))
    for scale in (3, 6, 12, 24):
        layer = Image.fromarray(rng.normal(size=(scale, scale)).astype(np.float32))
        total += np.asarray(layer.resize(size, Image.Resampling.BICUBIC)) / scale
    total = 255 * (total - total.min()) / (total.max() - total.min())
    return Image.fromarray(total.astype(np.uint8)).convert("RGB")


def distance(a, b):
    return int(np.bitwise_count(hash_bits(pd.Series([a]))[0] ^ hash_bits(pd.Series([b]))[0]))


def jpeg(image, quality):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def test_copies_are_near_and_others_are_far():
    originals = [picture(seed) for seed in range(12)]
    hashes = [perceptual_hash(image) for image in originals]
    for image, own in zip(originals, hashes, strict=True):
        assert distance(own, perceptual_hash(jpeg(image, 40))) <= 4
        assert distance(own, perceptual_hash(image.resize((120, 90), Image.Resampling.LANCZOS))) <= 4
        assert distance(own, perceptual_hash(ImageEnhance.Brightness(image).enhance(0.8))) <= 4
    apart = [distance(a, b) for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(apart) > 12
    assert 28 < np.mean(apart) < 36


def test_a_known_hash():
    """cos(3x) along the width puts all energy into one coefficient: the hash must see it where the formula says."""
    x = (np.arange(32) + 0.5) * np.pi / 32
    y = (np.arange(32) + 0.5) * np.pi / 32
    grey = np.rint(128 + 100 * np.outer(np.cos(2 * y), np.cos(3 * x))).astype(np.uint8)
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(perceptual_hash(Image.fromarray(grey))), dtype=np.uint8))
    assert bits.reshape(8, 8)[1, 2] == 1  # coefficient (2, 3), counted from (1, 1)


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (90, 120, 33)])
def test_a_single_colour_has_no_hash_to_compare(colour):
    assert perceptual_hash(Image.new("RGB", (50, 70), colour)) == FLAT_HASH


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), max_distance=st.integers(0, 12), n=st.integers(0, 60), m=st.integers(0, 40))
def test_near_any_is_exact(seed, max_distance, n, m):
    rng = np.random.default_rng(seed)
    reference = rng.integers(0, 2**63, m, dtype=np.uint64)
    query = rng.integers(0, 2**63, n, dtype=np.uint64)
    for row in range(0, n if m else 0, 2):  # half of the queries are a reference with some bits turned
        flips = rng.choice(64, rng.integers(0, 16), replace=False).astype(np.uint64)
        query[row] = reference[rng.integers(m)] ^ np.bitwise_or.reduce(np.uint64(1) << flips, initial=np.uint64(0))
    expected = (np.bitwise_count(query[:, None] ^ reference[None, :]) <= max_distance).any(axis=1)
    assert np.array_equal(near_any(query, reference, max_distance), expected)

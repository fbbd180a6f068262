"""A perceptual hash of a picture, and the search for hashes that differ in a few bits only.

The hash is pHash (Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions", section 3.2.1): of
the picture in grey at 32 x 32 the discrete cosine transform's coefficients from (1, 1) to (8, 8), and for each whether
it is above their median: 64 bits. A scaled, recompressed or brightened copy differs in a few bits; two unrelated photos
in about 32.
"""

from itertools import pairwise

import numpy as np
import pandas as pd
from PIL import Image
from scipy.fft import dctn

SIDE = 32
# A picture without structure has no hash to compare: all bits are zero, which no structured picture gives,
# because half of its coefficients are above their median.
FLAT_HASH = "0" * 16
_FLAT_CONTRAST = 1.0  # largest coefficient, in grey levels x pixels / 32, below which there is no structure


def perceptual_hash(image: Image.Image) -> str:
    """The pHash of a picture, 16 hex digits; `FLAT_HASH` for a picture of one colour."""
    grey = image.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
    coefficients = dctn(np.asarray(grey, dtype=np.float64), type=2, norm="ortho")[1:9, 1:9].ravel()
    if np.abs(coefficients).max() < _FLAT_CONTRAST:
        return FLAT_HASH
    bits = coefficients > np.median(coefficients)
    return np.packbits(bits).tobytes().hex()


def hash_bits(hashes: pd.Series) -> np.ndarray:
    """Hashes of 16 hex digits as (n,) uint64."""
    joined = bytes.fromhex("".join(hashes))
    return np.frombuffer(joined, dtype=">u8").astype(np.uint64)


def near_any(query: np.ndarray, reference: np.ndarray, max_distance: int) -> np.ndarray:
    """Whether each `query` hash (n,) is within `max_distance` bits of any `reference` hash (m,); (n,) bool.

    Exact. By the pigeonhole principle two hashes that differ in at most d bits agree entirely on at least one of
    d + 1 bands, so that only pairs that share a band are compared (Norouzi, Punjani & Fleet 2012, "Fast Search in
    Hamming Space with Multi-Index Hashing"). With random hashes and d = 4 that is one pair in 1,600.
    """
    near = np.zeros(query.size, dtype=bool)
    if not query.size or not reference.size:
        return near
    reference = np.unique(reference)
    edges = np.linspace(0, 64, max_distance + 2).round().astype(int)
    for low, high in pairwise(edges):
        band = np.uint64(((1 << int(high - low)) - 1) << int(low))
        order = np.argsort(reference & band, kind="stable")
        keys, candidates = (reference & band)[order], reference[order]
        open_rows = np.flatnonzero(~near)
        open_query = query[open_rows]
        start = np.searchsorted(keys, open_query & band, side="left")
        count = np.searchsorted(keys, open_query & band, side="right") - start
        # Rank by rank, all queries that have so many candidates: each pass holds at most one pair a query.
        for rank in range(int(count.max(initial=0))):
            left = np.flatnonzero((count > rank) & ~near[open_rows])
            distance = np.bitwise_count(open_query[left] ^ candidates[start[left] + rank])
            near[open_rows[left[distance <= max_distance]]] = True
    return near

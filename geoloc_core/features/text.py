"""From sentences to vectors in the space that a CLIP or SigLIP shares between images and texts.

They are read by the published tokenizer and the text tower of the very checkpoint that makes the (projected) image vectors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from geoloc_core.errors import CheckpointError
from geoloc_core.features.checkpoints import open_checkpoint
from geoloc_core.features.encoders import library_module
from geoloc_core.features.encoders.encoder_base import TextTower
from geoloc_core.features.specification import BackboneSpec

SENTENCES_AT_ONCE = 256


@dataclass(frozen=True)
class TextVectors:
    """Sentences in the space of a backbone's image vectors.

    vectors: float32 (n, D), each of length one. logit_scale: what the checkpoint multiplies a cosine with before the
    softmax (about 100 in trained models). SigLIP's bias, the same for all sentences, is left out.
    """

    vectors: np.ndarray
    logit_scale: float


@torch.inference_mode()
def encode_text(
    spec: BackboneSpec, checkpoints: Path | str, sentences: Sequence[str], device: torch.device | str = "cpu"
) -> TextVectors:
    """Encode `sentences` with the text tower of `spec`, in float32.

    A sentence longer than the model reads (77 tokens for CLIP, 64 for SigLIP) is cut, as the libraries do. Raises
    CheckpointError where the backbone has no text tower, or its weights or its tokenizer are missing or do not fit.
    """
    if not spec.has_text_tower:
        problem = f"({spec.library}, {spec.pooling}) shares no space with text"
        raise CheckpointError(f"backbone {spec.name!r} {problem}; use a CLIP or SigLIP with pooling: projected")
    device = torch.device(device)
    path = open_checkpoint(spec, checkpoints).path
    tower: TextTower = library_module(spec.library).text_tower(spec, path, device)
    vectors = np.empty((len(sentences), spec.dimension), np.float32)
    for start in range(0, len(sentences), SENTENCES_AT_ONCE):
        batch = list(sentences[start : start + SENTENCES_AT_ONCE])
        tokens = tower.tokenize(batch)
        if int(tokens.max()) >= tower.vocabulary:
            problem = f"knows more words than its text tower ({tower.vocabulary}); restore both from the same source"
            raise CheckpointError(f"the tokenizer of backbone {spec.name!r} in {path} {problem}")
        encoded = torch.nn.functional.normalize(tower.encode(tokens.to(device)).float(), dim=-1)
        if encoded.shape[1] != spec.dimension:
            problem = f"vectors of {encoded.shape[1]} numbers and the specification says {spec.dimension}; correct it"
            raise CheckpointError(f"the text tower of backbone {spec.name!r} in {path} gives {problem}")
        vectors[start : start + len(batch)] = encoded.cpu().numpy()
    return TextVectors(vectors, tower.logit_scale)

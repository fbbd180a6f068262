"""From sentences to vectors in the space that a CLIP or SigLIP shares between images and texts.

The sentences are read by the published tokenizer and the text tower of the very checkpoint that makes the image
vectors. Only projected vectors can be compared with text: a trunk has no sentence in its space.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from geoloc_core.errors import CheckpointError
from geoloc_core.features.checkpoints import ensure_checkpoint, ensure_tokenizer
from geoloc_core.features.transformers_loading import first_line, load_config, load_pretrained

if TYPE_CHECKING:
    from geoloc_core.features.specification import BackboneSpec

SENTENCES_AT_ONCE = 256

Tokens = torch.Tensor
"""int64 (n, T): token ids, padded to one length."""


@dataclass(frozen=True)
class TextVectors:
    """Sentences in the space of a backbone's image vectors.

    vectors: float32 (n, D), each of length one. logit_scale: what the checkpoint multiplies a cosine with before the
    softmax (about 100 in trained models). SigLIP's bias is left out: it is the same for all sentences, so that a
    softmax over sentences does not see it.
    """

    vectors: np.ndarray
    logit_scale: float


@dataclass(frozen=True)
class _TextTower:
    tokenize: Callable[[list[str]], Tokens]
    encode: Callable[[Tokens], torch.Tensor]
    vocabulary: int
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
        raise CheckpointError(
            f"backbone {spec.name!r} ({spec.library}, {spec.pooling}) shares no space with text; use a CLIP or SigLIP "
            "backbone with pooling: projected"
        )
    device = torch.device(device)
    path = ensure_checkpoint(spec, checkpoints)
    tower = _open_clip_tower(spec, path, device) if spec.library == "open_clip" else _hub_tower(spec, path, device)
    vectors = np.empty((len(sentences), spec.dimension), np.float32)
    for start in range(0, len(sentences), SENTENCES_AT_ONCE):
        some = list(sentences[start : start + SENTENCES_AT_ONCE])
        tokens = tower.tokenize(some)
        if int(tokens.max()) >= tower.vocabulary:
            raise CheckpointError(
                f"the tokenizer of backbone {spec.name!r} in {path} knows more words than its text tower "
                f"({tower.vocabulary}); restore both from the same source"
            )
        encoded = torch.nn.functional.normalize(tower.encode(tokens.to(device)).float(), dim=-1)
        if encoded.shape[1] != spec.dimension:
            raise CheckpointError(
                f"the text tower of backbone {spec.name!r} in {path} gives vectors of {encoded.shape[1]} numbers and "
                f"the specification says {spec.dimension}; correct the specification"
            )
        vectors[start : start + len(some)] = encoded.cpu().numpy()
    return TextVectors(vectors, tower.logit_scale)


def _open_clip_tower(spec: BackboneSpec, path: Path, device: torch.device) -> _TextTower:
    import open_clip

    from geoloc_core.features.clip import check_pretrained_tag, load_model

    check_pretrained_tag(spec)
    ensure_tokenizer(spec, path)
    model = load_model(spec, path).to(device)
    try:
        tokenizer = open_clip.get_tokenizer(f"local-dir:{path}" if path.is_dir() else spec.model_id)
    except Exception as error:  # the libraries raise many kinds for one cause: these files are no tokenizer
        raise _unreadable(spec, path, error) from error
    table = model.token_embedding if hasattr(model, "token_embedding") else model.text.token_embedding
    return _TextTower(tokenizer, model.encode_text, table.num_embeddings, float(model.logit_scale.exp()))


def _hub_tower(spec: BackboneSpec, path: Path, device: torch.device) -> _TextTower:
    import transformers

    kind = load_config(path, spec).model_type
    if kind not in ("clip", "siglip"):
        raise CheckpointError(
            f"backbone {spec.name!r} is a {kind} model, which has no text tower; use a CLIP or SigLIP backbone"
        )
    ensure_tokenizer(spec, path)
    model: Any = load_pretrained(transformers.AutoModel, path, spec).to(device)
    settings = model.config.text_config
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # as above
        raise _unreadable(spec, path, error) from error

    def tokenize(sentences: list[str]) -> Tokens:
        # CLIP reads up to the first end-of-text token, so padding changes nothing. SigLIP was trained on sentences
        # padded to its full length, and reads the last token.
        return tokenizer(
            sentences,
            padding="max_length",
            truncation=True,
            max_length=settings.max_position_embeddings,
            return_tensors="pt",
        )["input_ids"]

    def encode(tokens: Tokens) -> torch.Tensor:
        return model.get_text_features(input_ids=tokens).pooler_output

    return _TextTower(tokenize, encode, settings.vocab_size, float(model.logit_scale.exp()))


def _unreadable(spec: BackboneSpec, path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"the tokenizer of backbone {spec.name!r} in {path} cannot be loaded: {first_line(error)}; "
        "restore its files from the source of the weights"
    )

"""Where the weights of a backbone are, whether they are complete and unchanged, and what identifies them.

A checkpoint is a folder in the layout of its library, or one file of weights. Weights from a hub and seeded weights are
kept under the checkpoints folder by the backbone's name; what a person keeps elsewhere is used in place. When a
checkpoint is first opened, the SHA-256 of each of its files is written beside it (`<name>.sha256.json`), and from then
on a single flipped byte is an error. A process reads each file once, unless its size or time changes.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoloc_core.errors import CheckpointError
from geoloc_core.features.encoders import LIBRARIES, MODEL_FILES
from geoloc_core.features.specification import BackboneSpec
from geoloc_core.storage import file_sha256, read_json, temporary_folder, value_sha256, write_json

if TYPE_CHECKING:
    import torch

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")
PICKLED_NAMES = ("pytorch_model.bin", "open_clip_pytorch_model.bin")
"""What repositories without safetensors call their weights."""

TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "merges.txt", "spiece.model", "tokenizer.model")
TOKENIZER_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json")
"""What a text tower's vocabulary is called in its folder; one kind of it is enough."""

_hashes: dict[tuple[str, int, int, int], str] = {}
"""SHA-256 of the files read by this process, by path, inode, size and time of modification."""


@dataclass(frozen=True)
class CheckpointIdentity:
    """What made a vector: the weights by their hash, and the main fields of the specification.

    `version` is one SHA-256 of the weights and of every field that can change a vector: two vectors with the same version
    come from the same function.
    """

    name: str
    library: str
    model_id: str
    weights: str
    revision: str
    weights_sha256: str
    spec_fingerprint: str
    layer: str
    pooling: str
    dimension: int
    input_size: int
    resize: str
    crop: str
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    dtype: str
    decode: str
    version: str

    def as_dict(self) -> dict[str, Any]:
        """A JSON-able mapping of all fields."""
        return asdict(self)


@dataclass(frozen=True)
class Checkpoint:
    """Verified weights on disk.

    path: the folder or file that the library loads. files: weights and settings, the embedder's included. embedder: the
    checkpoint of the second network, if the specification has one.
    """

    path: Path
    identity: CheckpointIdentity
    files: tuple[Path, ...]
    embedder: Checkpoint | None = None


def open_checkpoint(spec: BackboneSpec, folder: Path | str, *, mend_seeded: bool = False) -> Checkpoint:
    """The checkpoint of `spec`; seeded weights are made and hub weights fetched into `folder` if they are missing.

    Raises CheckpointError when the weights are missing and cannot be obtained, or are not the bytes that were there
    before. With `mend_seeded`, damaged seeded weights are made again; all others are for a person to restore.
    """
    folder = Path(folder)
    try:
        path, hashes = _verified(spec, folder)
    except CheckpointError:
        if not (mend_seeded and spec.weights_kind == "seeded"):
            raise
        shutil.rmtree(_place(spec, folder), ignore_errors=True)
        _record_path(spec, folder).unlink(missing_ok=True)
        path, hashes = _verified(spec, folder)
    embedder = None if spec.embedder is None else open_checkpoint(spec.embedder, folder, mend_seeded=mend_seeded)
    weights = [hashes[file] for file in _weights_files(spec, path)]
    if embedder is not None:
        weights.append(embedder.identity.weights_sha256)
    weights_sha256 = weights[0] if len(weights) == 1 else value_sha256(weights)
    files = (*hashes, *(embedder.files if embedder is not None else ()))
    return Checkpoint(path, _identity(spec, weights_sha256), files, embedder)


def _identity(spec: BackboneSpec, weights_sha256: str) -> CheckpointIdentity:
    computed: dict[str, Any] = {
        "weights_sha256": weights_sha256,
        "spec_fingerprint": spec.fingerprint(),
        "version": value_sha256({"weights_sha256": weights_sha256, "vector": spec.vector_fingerprint()}),
    }
    names = [name for name in CheckpointIdentity.__dataclass_fields__ if name not in computed]
    return CheckpointIdentity(**computed, **{name: getattr(spec, name) for name in names})


def locate_checkpoint(spec: BackboneSpec, folder: Path | str) -> Path:
    """Where the weights of `spec` are. Raises CheckpointError that names the missing files and how to get them."""
    folder = Path(folder)
    path = _place(spec, folder)
    missing = _missing(spec, folder)
    if missing:
        raise CheckpointError(_how_to_get(spec, path, missing))
    return path


def checkpoint_file_names(spec: BackboneSpec) -> tuple[str, ...]:
    """The files that a checkpoint folder of this specification has, as its publisher names them."""
    return MODEL_FILES.get(spec.model_id, LIBRARIES[spec.library].files)


def weights_file(path: Path) -> Path:
    """The one file of weights in a checkpoint (`path` itself if it is a file), safetensors before pickles."""
    if path.is_file():
        return path
    candidates = sorted(
        (file for file in path.iterdir() if file.suffix in WEIGHT_SUFFIXES),
        key=lambda file: (WEIGHT_SUFFIXES.index(file.suffix), file.name),
    )
    if not candidates:
        raise CheckpointError(f"{path} holds no weights: it needs a file ending in {', '.join(WEIGHT_SUFFIXES)}")
    return candidates[0]


def load_pickled_weights(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a .pth file. Nothing in it is executed: pickles of anything but tensors are refused."""
    import torch

    state = torch.load(file, map_location="cpu", weights_only=True)  # noqa: TID251
    if not isinstance(state, dict):
        raise ValueError(f"{file.name} holds no state of a model")
    return state


def ensure_tokenizer(spec: BackboneSpec, path: Path) -> None:
    """Check for the tokenizer's files beside the checkpoint at `path`; those of hub weights are fetched.

    open_clip brings the vocabulary of OpenAI's CLIP itself; only models that name another tokenizer need files. Raises
    CheckpointError that names what is missing and how to get it.
    """
    if spec.library == "open_clip" and not _names_tokenizer(spec, path):
        return
    if path.is_dir() and any((path / name).is_file() for name in TOKENIZER_FILES):
        return
    lacks = f"the text tower of backbone {spec.name!r} lacks its tokenizer (tokenizer.json) in {path}"
    if spec.weights_kind != "hub":
        raise CheckpointError(f"{lacks}; put that file and tokenizer_config.json beside the weights")
    by_hand = (
        f"on a machine with network run `hf download {spec.weights_target} tokenizer.json tokenizer_config.json "
        f"--local-dir {path}` and bring that folder here"
    )
    try:
        _download(spec, (*TOKENIZER_FILES, *TOKENIZER_SETTINGS), path)
    except Exception as error:  # as in _fetch
        raise CheckpointError(f"{lacks}; {by_hand} (the download failed: {type(error).__name__})") from error
    if not any((path / name).is_file() for name in TOKENIZER_FILES):
        raise CheckpointError(f"{lacks}, and {spec.weights_target} has none; {by_hand}")


def _names_tokenizer(spec: BackboneSpec, path: Path) -> bool:
    """Whether an open_clip model uses another vocabulary than the one that its library brings."""
    if path.is_dir() and (path / "open_clip_config.json").is_file():
        config = read_json(path / "open_clip_config.json")["model_cfg"]
    else:
        import open_clip

        config = open_clip.get_model_config(spec.model_id) or {}
    return bool(config.get("text_cfg", {}).get("hf_tokenizer_name"))


def _verified(spec: BackboneSpec, folder: Path) -> tuple[Path, dict[Path, str]]:
    """The place of a checkpoint, and the hash of each file, compared with those recorded when it was first opened."""
    if spec.weights_kind == "seeded":
        _make_seeded(spec, folder)
    elif spec.weights_kind == "hub" and _missing(spec, folder):
        _fetch(spec, folder)
    path = locate_checkpoint(spec, folder)
    hashes = {file: _sha256(file) for file in _files(path)}
    record = _record_path(spec, folder)
    # Below the folder of checkpoints the place is relative to it, so that a folder can be moved and is checked as before.
    place = path.relative_to(folder) if path.is_relative_to(folder) else path.absolute()
    current = {file.name: sha256 for file, sha256 in hashes.items()}
    recorded = read_json(record) if record.is_file() else None
    if recorded is None or recorded["path"] != str(place):
        write_json(record, {"path": str(place), "files": current})
        return path, hashes
    changed = sorted(name for name, sha256 in recorded["files"].items() if current.get(name) != sha256)
    if changed:
        raise CheckpointError(
            f"the checkpoint of backbone {spec.name!r} in {path} is not what it was: {', '.join(changed)} changed; "
            f"restore it from its source, or, if the change is meant, delete {record}"
        )
    return path, hashes


def _sha256(file: Path) -> str:
    """The hash of a file, read once in a process; links of a hub's cache count as what they point to."""
    stat = file.stat()
    key = (str(file.resolve()), stat.st_ino, stat.st_size, stat.st_mtime_ns)
    if key not in _hashes:
        _hashes[key] = file_sha256(file)
    return _hashes[key]


def _weights_files(spec: BackboneSpec, path: Path) -> list[Path]:
    return [path / name for name in MODEL_FILES.get(spec.model_id, ())] or [weights_file(path)]


def _place(spec: BackboneSpec, folder: Path) -> Path:
    if spec.weights_kind == "path":
        return Path(spec.weights_target).expanduser()
    return folder / spec.folder_name


def _missing(spec: BackboneSpec, folder: Path) -> list[str]:
    path = _place(spec, folder)
    if spec.weights_kind == "path" and path.is_file():
        return []
    return [name for name in checkpoint_file_names(spec) if not _has(path, name)]


def _has(path: Path, name: str) -> bool:
    if (path / name).is_file():
        return True
    # Older repositories have their weights under another name, or as a pickle (loaded with weights_only=True).
    return name.endswith(".safetensors") and any(file.suffix in WEIGHT_SUFFIXES for file in path.glob("*"))


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return [file for file in sorted(path.iterdir()) if file.suffix in (*WEIGHT_SUFFIXES, ".json")]


def _record_path(spec: BackboneSpec, folder: Path) -> Path:
    return folder / f"{spec.folder_name}.sha256.json"


def _how_to_get(spec: BackboneSpec, path: Path, missing: list[str]) -> str:
    lacks = f"the checkpoint of backbone {spec.name!r} lacks {', '.join(missing)} in {path}"
    names = checkpoint_file_names(spec)
    if spec.weights_kind == "hub":
        revision = f" --revision {spec.revision}" if spec.revision else ""
        return (
            f"{lacks}; on a machine with network run `hf download {spec.weights_target}{revision} "
            f"{' '.join(names)} --local-dir {path}` and bring that folder here"
        )
    if spec.weights_kind == "site":
        addresses = ", ".join(f"{spec.weights_target}/{name}" for name in names)
        return f"{lacks}; download {addresses} into that folder"
    if spec.weights_kind == "path":
        return f"{lacks}; put the files there or point the backbone's weights (path:...) to where they are"
    return f"{lacks}; delete that folder and it is made again from its seed"


def _fetch(spec: BackboneSpec, folder: Path) -> None:
    """Download the files of a checkpoint; a failure is one sentence that says how to get them by hand."""
    target = folder / spec.folder_name
    try:
        for names in (checkpoint_file_names(spec), PICKLED_NAMES):
            if _missing(spec, folder):
                _download(spec, names, target)
    except Exception as error:  # the hub raises a dozen kinds; the remedy is the same for all
        missing = _missing(spec, folder) or list(checkpoint_file_names(spec))
        raise CheckpointError(
            f"{_how_to_get(spec, target, missing)} (the download failed: {type(error).__name__})"
        ) from error


def _download(spec: BackboneSpec, names: tuple[str, ...], target: Path) -> None:
    from huggingface_hub import snapshot_download

    snapshot_download(spec.weights_target, revision=spec.revision or None, allow_patterns=list(names), local_dir=target)


def _make_seeded(spec: BackboneSpec, folder: Path) -> None:
    """Make seeded weights where there are none, or where they were made for another architecture or seed."""
    target = folder / spec.folder_name
    recipe = value_sha256(
        {
            "weights": spec.weights,
            "library": spec.library,
            "architecture": dict(spec.architecture),
            "initial_std": dict(spec.initial_std),
            "processor": [spec.input_size, spec.resize, spec.crop, spec.interpolation, spec.mean, spec.std],
        }
    )
    marker = folder / f"{spec.folder_name}.seeded.json"
    if target.is_dir() and marker.is_file() and read_json(marker) == {"recipe": recipe}:
        return
    from geoloc_core.features.encoders.seeded import write_seeded_checkpoint

    folder.mkdir(parents=True, exist_ok=True)
    with temporary_folder(folder) as temporary:
        made = temporary / "checkpoint"
        write_seeded_checkpoint(spec, made)
        if target.exists():
            shutil.rmtree(target)
        _record_path(spec, folder).unlink(missing_ok=True)
        made.rename(target)
    write_json(marker, {"recipe": recipe})

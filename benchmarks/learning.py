"""How fast heads train, beside what the machine could do and beside the usual way of doing it.

    python benchmarks/learning.py [--rows 100000] [--memory-rows 1000000] [--quick]

In one run, interleaved so that a busy machine is busy for all: one step on a batch that stays in cache ("bare step"), the
same step fed by our reader from a matrix of float16, and the loop that most code has, a DataLoader over single photos
with torch.optim. Batches of 128, 1536 inputs, 221 countries, recipe `thesis`. Then the peak memory of training from a
memory-mapped matrix. Prints Markdown tables and writes .bench/learning.json:

device; mlp_share_of_bare_step, linear_share_of_bare_step (our rate over that of the bare step); mlp_share_of_sgemm
(arithmetic of our step over the machine's rate in a large matrix product); ratio_vs_dataloader (linear head, our rate
over the DataLoader's; mlp_ratio_vs_dataloader beside it); peak_memory_ratio (peak resident memory, the mapped file and
the libraries included, over the bytes of the float16 matrix); peak_memory_ratio_of_data (the same without what the
libraries had taken before any data was there: what grows with the photos).
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from peak_memory import peak_bytes
from torch.utils.data import DataLoader, Dataset

from geoloc_core.devices import pick_device
from geoloc_core.learning.data import RowReader, TrainingData
from geoloc_core.learning.descent import build_optimiser
from geoloc_core.learning.heads import build_head
from geoloc_core.learning.losses import build_objective
from geoloc_core.learning.recipes import THESIS, HeadSpec, head_spec
from geoloc_core.storage import write_json

ROOT = Path(__file__).resolve().parents[1]
BLOCKS = (512, 1024)  # clip, vit
N_CLASSES = 221
BATCH = THESIS.batch_size
ROUNDS = 5


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000, help="photos in the matrices of the speed test")
    parser.add_argument("--memory-rows", type=int, default=1_000_000, help="photos in the mapped matrix")
    parser.add_argument("--steps", type=int, default=150, help="steps of each timed stretch")
    parser.add_argument("--quick", action="store_true", help="small matrices, for a first look")
    parser.add_argument("--train-mapped", nargs=2, help=argparse.SUPPRESS)  # the child that measures memory
    arguments = parser.parse_args()
    if arguments.train_mapped:
        train_mapped(Path(arguments.train_mapped[0]), int(arguments.train_mapped[1]))
        return
    if arguments.quick:
        arguments.rows, arguments.memory_rows, arguments.steps = 20_000, 100_000, 40
    device = pick_device("auto")
    if device.type == "cuda":
        arguments.steps *= 20  # a step takes microseconds there
    data = random_data(arguments.rows, BLOCKS)
    results: dict[str, float | str] = {"device": describe(device)}
    print(f"{results['device']}; {arguments.rows:,} photos x {sum(BLOCKS)} inputs, batches of {BATCH}\n")
    results |= speed(data, device, arguments.steps)
    results |= peak_memory(arguments.memory_rows)
    write_json(ROOT / ".bench" / "learning.json", results)
    print(f"\nwritten: {Path('.bench') / 'learning.json'}")


def speed(data: TrainingData, device: torch.device, steps: int) -> dict[str, float]:
    """Rates of the bare step, of ours and of a DataLoader, for both heads."""
    sgemm = sgemm_rate(device)
    rows: list[str] = []
    results = {"sgemm_gflops": sgemm / 1e9}
    for head in ("linear", "mlp"):
        ways = {
            "bare step": bare_step(data, head, device),
            "ours": our_steps(data, head, device),
            "DataLoader": dataloader_steps(data, head, device),
        }
        rate = interleaved(ways, steps, device)
        flops = step_flops(head_spec(head), sum(BLOCKS))
        share = {name: value / BATCH * flops / sgemm for name, value in rate.items()}
        for name in ways:
            of_bare = rate[name] / rate["bare step"]
            rows.append(f"| {head} | {name} | {rate[name]:,.0f} | {of_bare:.0%} | {share[name]:.0%} |")
        results[f"{head}_photos_per_second"] = rate["ours"]
        results[f"{head}_share_of_bare_step"] = rate["ours"] / rate["bare step"]
        results[f"{head}_share_of_sgemm"] = share["ours"]
        results[f"{head}_ratio_vs_dataloader"] = rate["ours"] / rate["DataLoader"]
    results["ratio_vs_dataloader"] = results["linear_ratio_vs_dataloader"]
    print(
        f"| head | step | photos/s | of the bare step | of sgemm ({sgemm / 1e9:,.0f} GFLOP/s) |\n|---|---|--:|--:|--:|"
    )
    print("\n".join(rows))
    return results


def peak_memory(n_rows: int) -> dict[str, float]:
    """Peak resident memory of one epoch on a mapped matrix, in a process of its own."""
    width = sum(BLOCKS)
    with tempfile.TemporaryDirectory(dir=ROOT) as folder:
        path = Path(folder) / "vectors.npy"
        matrix = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(n_rows, width))
        rng = np.random.default_rng(0)
        for start in range(0, n_rows, 10_000):
            matrix[start : start + 10_000] = rng.standard_normal((min(10_000, n_rows - start), width), dtype=np.float32)
        matrix.flush()
        size = matrix.nbytes
        del matrix
        child = subprocess.run(
            [sys.executable, __file__, "--train-mapped", str(path), str(n_rows)],
            check=True,
            capture_output=True,
            text=True,
        )
    measured = json.loads(child.stdout.splitlines()[-1])
    ratio = measured["peak_bytes"] / size
    of_data = (measured["peak_bytes"] - measured["start_bytes"]) / size
    print(
        f"\n| {n_rows:,} x {width} float16, mapped | GB | of the matrix |\n|---|--:|--:|\n"
        f"| the matrix | {size / 1e9:.2f} | 100% |\n| peak of training | {measured['peak_bytes'] / 1e9:.2f} | {ratio:.0%} |\n"
        f"| libraries, before the data | {measured['start_bytes'] / 1e9:.2f} | {measured['start_bytes'] / size:.0%} |\n"
        f"| data and training | {(measured['peak_bytes'] - measured['start_bytes']) / 1e9:.2f} | {of_data:.0%} |"
    )
    return {
        "peak_memory_ratio": ratio,
        "peak_memory_ratio_of_data": of_data,
        "memory_rows": n_rows,
        "mapped_photos_per_second": measured["photos_per_second"],
    }


def train_mapped(path: Path, n_rows: int) -> None:
    """The child: train a linear head for one epoch through the public function, and print the peak."""
    from dataclasses import replace

    from geoloc_core.learning.recipes import DEFAULT
    from geoloc_core.learning.train import train_head

    start_bytes = peak_bytes()
    rng = np.random.default_rng(1)
    labels = np.concatenate([np.arange(N_CLASSES), rng.integers(0, N_CLASSES, n_rows - N_CLASSES)])
    data = TrainingData(
        blocks=[np.load(path, mmap_mode="r")],
        labels=labels,
        is_train=np.ones(n_rows, dtype=bool),
        latitude=rng.uniform(-60, 70, n_rows),
        longitude=rng.uniform(-180, 180, n_rows),
        author_id=np.arange(n_rows),
    )
    started = time.perf_counter()
    once = replace(DEFAULT, epochs=1, min_steps=0)
    train_head(
        data, head_spec("linear"), once, [f"C{index:03d}" for index in range(N_CLASSES)], device="cpu", progress=False
    )
    rate = n_rows / (time.perf_counter() - started)
    print(json.dumps({"start_bytes": start_bytes, "peak_bytes": peak_bytes(), "photos_per_second": rate}))


def random_data(n_rows: int, widths: tuple[int, ...]) -> TrainingData:
    """Photos that teach nothing, for speed alone."""
    rng = np.random.default_rng(0)
    return TrainingData(
        blocks=[rng.standard_normal((n_rows, width), dtype=np.float32).astype(np.float16) for width in widths],
        labels=rng.integers(0, N_CLASSES, n_rows),
        is_train=np.ones(n_rows, dtype=bool),
        latitude=np.zeros(n_rows),
        longitude=np.zeros(n_rows),
        author_id=np.arange(n_rows),
    )


def our_steps(data: TrainingData, head: str, device: torch.device) -> Callable[[int], None]:
    """Steps as training does them, on batches drawn from the whole matrix."""
    reader = RowReader(data.blocks, device)
    network = build_head(head_spec(head), data.block_dims, N_CLASSES).to(device)
    objective = build_objective(data, THESIS, N_CLASSES, np.arange(len(data.labels)), device=device)
    optimiser = build_optimiser(network, THESIS, 1e-4)
    labels = torch.from_numpy(data.labels).to(device)
    generator = torch.Generator().manual_seed(0)

    def batches():
        while True:
            yield from torch.randperm(len(labels), generator=generator).to(device).split(BATCH)

    stream = batches()

    def run(n: int) -> None:
        for _ in range(n):
            rows = next(stream)
            optimiser.zero_grad()
            objective(network(reader.read(rows)), labels[rows], rows).backward()
            optimiser.step()

    return run


def bare_step(data: TrainingData, head: str, device: torch.device) -> Callable[[int], None]:
    """The same step on one batch that lies ready: nothing is read, and all stays in cache."""
    module = build_head(head_spec(head), data.block_dims, N_CLASSES).to(device)
    joined = torch.from_numpy(np.concatenate([block[:BATCH] for block in data.blocks], axis=1)).float().to(device)
    labels = torch.from_numpy(data.labels[:BATCH]).to(device)
    weights = torch.rand(N_CLASSES, device=device) + 0.5
    optimiser = torch.optim.SGD(module.parameters(), lr=1e-4, momentum=0.9, fused=True)

    def run(n: int) -> None:
        for _ in range(n):
            optimiser.zero_grad(set_to_none=True)
            torch.nn.functional.cross_entropy(module(joined), labels, weight=weights).backward()
            optimiser.step()

    return run


class SinglePhotos(Dataset):
    """One photo at a time, as a DataLoader wants them."""

    def __init__(self, data: TrainingData) -> None:
        self.blocks, self.labels = data.blocks, data.labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return np.concatenate([block[index] for block in self.blocks]).astype(np.float32), int(self.labels[index])


def dataloader_steps(data: TrainingData, head: str, device: torch.device) -> Callable[[int], None]:
    """The usual loop: a shuffling DataLoader, a step for each batch it hands out."""
    loader = DataLoader(SinglePhotos(data), batch_size=BATCH, shuffle=True, pin_memory=device.type == "cuda")
    module = build_head(head_spec(head), data.block_dims, N_CLASSES).to(device)
    weights = torch.rand(N_CLASSES, device=device) + 0.5
    optimiser = torch.optim.SGD(module.parameters(), lr=1e-4, momentum=0.9)

    def batches():
        while True:
            yield from loader

    stream = batches()

    def run(n: int) -> None:
        for _ in range(n):
            joined, labels = next(stream)
            optimiser.zero_grad(set_to_none=True)
            logits = module(joined.to(device, non_blocking=True))
            torch.nn.functional.cross_entropy(logits, labels.to(device, non_blocking=True), weight=weights).backward()
            optimiser.step()

    return run


def interleaved(ways: dict[str, Callable[[int], None]], steps: int, device: torch.device) -> dict[str, float]:
    """Photos a second of each way: the median over rounds in which every way has its turn."""
    for run in ways.values():
        run(5)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, run in ways.items():
            rates[name].append(steps * BATCH / timed(lambda run=run: run(steps), device))
    return {name: statistics.median(values) for name, values in rates.items()}


def sgemm_rate(device: torch.device) -> float:
    """FLOP/s of a float32 matrix product of 1536 x 1536 x 1536, the best of ten."""
    n = 1536
    a, b = torch.randn(n, n, device=device), torch.randn(n, n, device=device)
    a @ b
    return max(2 * n**3 / timed(lambda: a @ b, device) for _ in range(10))


def step_flops(spec: HeadSpec, n_inputs: int) -> float:
    """Arithmetic of one training step: forward, gradient of weights, gradient of inputs except the first layer's."""
    widths = [n_inputs, *(spec.hidden if spec.kind == "mlp" else ()), N_CLASSES]
    layers = [before * after for before, after in itertools.pairwise(widths)]
    return 2.0 * BATCH * (3 * sum(layers) - layers[0])


def timed(run: Callable[[], object], device: torch.device) -> float:
    """Seconds that `run` takes, the device's own work included."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def describe(device: torch.device) -> str:
    """The processor, in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    models = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return f"{models[0] if models else 'CPU'}, {torch.get_num_threads()} threads"


if __name__ == "__main__":
    main()

"""Run by test_embedding in a process of its own: embed a shard, be killed at random moments, go on, compare the bytes.

Arguments: folder of pictures, folder of checkpoints, folder to work in, how many kills. Each trial forks, so that the
libraries are loaded once; prints how many rows were there after each kill.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from geoloc_core.features.backbones import backbone
from geoloc_core.features.checkpoints import open_checkpoint
from geoloc_core.features.embedding import ShardTarget, parts_folder, update_shards
from geoloc_core.features.encoder import load_encoder
from geoloc_core.features.extract import ImageItem
from geoloc_core.photos.images import ImageLimits


def main(pictures: Path, checkpoints: Path, folder: Path, kills: int) -> None:
    """Print the trials."""
    torch.set_num_threads(1)
    spec = backbone("tiny-vit")
    encoder, identity = load_encoder(spec, checkpoints), open_checkpoint(spec, checkpoints).identity
    paths = sorted(pictures.iterdir())
    items = [ImageItem(str(number), paths[number % len(paths)]) for number in range(90)]
    items[40] = ImageItem("40", pictures / "absent.jpg")

    def embed(shard: Path) -> dict:
        target = ShardTarget(lambda: encoder, identity, shard)
        report = update_shards(items, {"tiny-vit": target}, ImageLimits(), batch_size=4, workers=1, part_rows=12)
        return vars(report["tiny-vit"])

    def forked(shard: Path) -> int:
        child = os.fork()
        if child == 0:
            try:
                embed(shard)
            finally:
                os._exit(0)
        return child

    started = time.monotonic()
    os.waitpid(forked(folder / "whole.parquet"), 0)
    duration = time.monotonic() - started
    expected = (folder / "whole.parquet").read_bytes()
    rng = random.Random(5)
    for number in range(kills):
        shard = folder / f"{number}.parquet"
        child = forked(shard)
        # Each of as many equal spans of the whole time has one kill.
        time.sleep(duration * (number + rng.random()) / kills)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert not shard.is_file() or shard.read_bytes() == expected, "half a shard"
        report = embed(shard)
        assert shard.read_bytes() == expected
        assert not parts_folder(shard).exists()
        print(report["resumed"] + report["reused"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))

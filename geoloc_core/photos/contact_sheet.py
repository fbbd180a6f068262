"""A few pictures of a shard side by side, small, for a person to see at a glance what came."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
from PIL import Image, ImageOps

MOST_PICTURES = 12
COLUMNS = 6
SIDE = 96


def contact_sheet(manifest: pd.DataFrame, folder: Path) -> bytes | None:
    """A JPEG of up to `MOST_PICTURES` usable pictures, spread evenly over the manifest (`ImageManifest`); None without any.

    Each is cut to a square of `SIDE` pixels. A picture that went missing since is left out.
    """
    usable = manifest.loc[manifest["status"] == "ok", "image_path"]
    step = max(1, len(usable) // MOST_PICTURES)
    squares = [square for name in usable.iloc[::step][:MOST_PICTURES] if (square := _square(folder / str(name)))]
    if not squares:
        return None
    rows = -(-len(squares) // COLUMNS)
    sheet = Image.new("RGB", (min(COLUMNS, len(squares)) * SIDE, rows * SIDE), "white")
    for number, square in enumerate(squares):
        sheet.paste(square, (number % COLUMNS * SIDE, number // COLUMNS * SIDE))
    file = io.BytesIO()
    sheet.save(file, "JPEG", quality=80)
    return file.getvalue()


def _square(path: Path) -> Image.Image | None:
    try:
        with Image.open(path) as opened:
            # A JPEG is decoded at the size that is needed, not at its own.
            opened.draft("RGB", (SIDE, SIDE))
            return ImageOps.fit(ImageOps.exif_transpose(opened).convert("RGB"), (SIDE, SIDE))
    except (OSError, ValueError, Image.DecompressionBombError):
        return None

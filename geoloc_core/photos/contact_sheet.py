"""A few pictures of a shard side by side, small, for a person to see at a glance what came."""

import contextlib
import io
from pathlib import Path

import pandas as pd
from PIL import Image, ImageOps

from geoloc_core.photos.images import ImageLimits, RefusedImage, load_image

MOST_PICTURES = 12
COLUMNS = 6
SIDE = 96


def contact_sheet(manifest: pd.DataFrame, folder: Path, limits: ImageLimits | None = None) -> bytes | None:
    """A JPEG of up to `MOST_PICTURES` usable pictures, spread evenly over the manifest (`ImageManifest`); None without any.

    Each is cut to a square of `SIDE` pixels. A picture that went missing since is left out.
    """
    usable = manifest.loc[manifest["status"] == "ok", "image_path"]
    step = max(1, len(usable) // MOST_PICTURES)
    squares = []
    for name in usable.iloc[::step][:MOST_PICTURES]:
        with contextlib.suppress(RefusedImage):
            image = load_image(folder / str(name), limits, smallest_side=SIDE)
            squares.append(ImageOps.fit(image, (SIDE, SIDE)))
    if not squares:
        return None
    rows = -(-len(squares) // COLUMNS)
    sheet = Image.new("RGB", (min(COLUMNS, len(squares)) * SIDE, rows * SIDE), "white")
    for number, square in enumerate(squares):
        sheet.paste(square, (number % COLUMNS * SIDE, number // COLUMNS * SIDE))
    file = io.BytesIO()
    sheet.save(file, "JPEG", quality=80)
    return file.getvalue()

"""The worst mistakes, with their photos: what a table of figures does not show."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from PIL import Image

from geoloc_core.evaluation.page import Gallery, Picture
from geoloc_core.evaluation.predictions import ANSWERED
from geoloc_core.photos.images import ImageLimits, RefusedImage, load_image

WORST = 20
THUMBNAIL_PIXELS = 180


def worst_mistakes(predictions: pd.DataFrame, most: int = WORST) -> pd.DataFrame:
    """The answered photos whose answers lie farthest from the truth, farthest first (of equals the first by photo_id)."""
    answered = predictions[predictions["status"] == ANSWERED]
    ordered = answered.sort_values(["distance_km", "photo_id"], ascending=[False, True], kind="stable")
    return ordered.head(most).reset_index(drop=True)


def mistakes_gallery(
    mistakes: pd.DataFrame, names: Mapping[str, str], photos: Mapping[str, Path], limits: ImageLimits | None = None
) -> Gallery:
    """Each mistake with a small copy of its photo.

    Args:
        mistakes: rows of a predictions frame.
        names: country id -> name.
        photos: photo_id -> file; a photo that is not there, or can no longer be opened, is shown by words alone.
        limits: bounds for opening pictures, as everywhere.
    """
    pictures = []
    for row in mistakes.to_dict("records"):
        name, answer = row["photo_id"], row["predicted_country_id"]
        words = (
            f"{name}: taken in {names.get(row['country_id'], 'no country')}, put in {names.get(answer, answer)} "
            f"with {100 * row['probability']:.0f} %, {row['distance_km']:,.0f} km away"
        )
        content = thumbnail(photos[name], limits) if name in photos else b""
        pictures.append(Picture(words, content, f"Photo {name}", "image/jpeg"))
    return Gallery(tuple(pictures))


def thumbnail(path: Path, limits: ImageLimits | None = None) -> bytes:
    """A JPEG of at most THUMBNAIL_PIXELS a side, without any of the file's metadata; b"" where it cannot be opened."""
    try:
        picture = load_image(path, limits)
    except (RefusedImage, OSError):
        return b""
    picture.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.convert("RGB").save(file, "JPEG", quality=80)
    return file.getvalue()

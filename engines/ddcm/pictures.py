"""The pictures that are coded: emoji which the embedded model has not seen, and the visitor's own."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import numpy as np

from engines.ddcm.codec import EMBEDDED
from engines.ddcm.plan import CodeError, whole

SOURCES = {"emoji": "an emoji", "upload": "your picture", "drawing": "your drawing"}
MOST_BYTES = 20_000_000
MOST_PIXELS = 50_000_000
MOST_SIDE = 96  # of a visitor's picture as it is coded


@cache
def held_back() -> np.ndarray:
    """uint8 [n, 32, 32, 3], emoji that the embedded model was not trained on."""
    from safetensors.numpy import load_file

    from engines.models import ASSETS

    return load_file(ASSETS / EMBEDDED / "held-back.safetensors")["images"]


def read_picture(path: str | Path) -> np.ndarray:
    """The picture in a file, on white: uint8 [h, w, 3]. Raises CodeError."""
    from PIL import Image, ImageOps

    if Path(path).stat().st_size > MOST_BYTES:
        raise CodeError(f"The picture's file is larger than {MOST_BYTES / 1e6:g} MB.")
    try:
        with Image.open(path, formats=("PNG", "JPEG", "WEBP", "GIF", "BMP")) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                raise CodeError(f"The picture has more than {MOST_PIXELS / 1e6:g} million pixels.")
            picture = ImageOps.exif_transpose(opened).convert("RGBA")
    except CodeError:
        raise
    except Exception as fault:  # Pillow's readers raise a dozen kinds on damaged files
        raise CodeError("The file cannot be read as a picture: send a PNG, JPEG or WebP.") from fault
    paper = Image.new("RGBA", picture.size, "white")
    paper.alpha_composite(picture)
    return np.array(paper.convert("RGB"))


def load_picture(path: str, side: int) -> np.ndarray:
    """The picture in a file, cut to a square and scaled: uint8 [side, side, 3]."""
    from PIL import Image, ImageOps

    return np.array(ImageOps.fit(Image.fromarray(read_picture(path)), (side, side), Image.Resampling.LANCZOS))


def source_picture(
    source: str, emoji: int, upload: str | None, drawing: str | None, pixels: int, side: int
) -> np.ndarray:
    """The picture that a view's settings name, uint8 [h, w, 3]; an emoji as it is, others square with `pixels`."""
    if source not in SOURCES:
        raise CodeError(f"source must be one of {', '.join(SOURCES)}.")
    pixels = whole("pixels", pixels, 8, MOST_SIDE)
    if source == "emoji":
        images = held_back()
        picture = images[whole("emoji", emoji, 0, len(images) - 1)]
        return picture if side == picture.shape[0] else _fitted(picture, side)
    path = upload if source == "upload" else drawing
    if path is None:
        raise CodeError("There is no picture yet: choose a file." if source == "upload" else "Draw something first.")
    return load_picture(path, pixels)


def _fitted(picture: np.ndarray, side: int) -> np.ndarray:
    from PIL import Image

    return np.array(Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS))


def typical_entropy(draws: int, size: int) -> float:
    """Mean plug-in entropy, in bits, of `draws` uniform draws from `size` values: what no code can be told from."""
    if draws == 0:
        return 0.0
    counts = np.arange(1, draws + 1)
    log = np.array([math.lgamma(n + 1) for n in range(draws + 1)])
    odds = math.log(1 / size), math.log1p(-1 / size)
    mass = np.exp(log[draws] - log[counts] - log[draws - counts] + counts * odds[0] + (draws - counts) * odds[1])
    return float(-size * (mass * counts / draws * np.log2(counts / draws)).sum())


def entropy(values: np.ndarray) -> float:
    """Plug-in entropy of whole numbers in bits."""
    _, counts = np.unique(values, return_counts=True)
    share = counts / counts.sum()
    return float(-(share * np.log2(share)).sum())

"""Pictures that a visitor sends, photographed or drawn: nothing in a file may cost more than a large photograph does."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engines.arguments import Refusal

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")  # of Pillow's others, EPS would run a program
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")
MOST_BYTES = 20_000_000
MOST_PIXELS = 50_000_000
LONGEST = 4096  # side of a picture that is kept as it is


class Picture(NamedTuple):
    """pixels: uint8 [h, w, 3], on white; frames: how many the file has, of which this is the first."""

    pixels: np.ndarray
    frames: int


def file_size(path: str | Path) -> int:
    """Bytes of a file, or a Refusal where there is none."""
    try:
        return Path(path).stat().st_size
    except (OSError, TypeError, ValueError):
        raise Refusal("There is no file that can be read: send it again.") from None


def open_picture(path: str | Path, longest: int = MOST_PIXELS) -> Picture:
    """The (first) picture in a file, upright, on white, with 8 bits a channel. Raises Refusal.

    Reads PNG, JPEG, WebP, GIF and BMP of any mode: 16 bits, palettes, transparency, CMYK, a camera's orientation.

    longest: a picture with a longer side is shrunk to it, before anything else is made of it
    """
    from PIL import Image, ImageOps

    if file_size(path) > MOST_BYTES:
        raise Refusal("The picture's file is larger than {most} MB.", most=MOST_BYTES / 1e6)
    try:
        with Image.open(path, formats=FORMATS) as file:
            if file.width * file.height > MOST_PIXELS:
                raise Image.DecompressionBombError
            frames = getattr(file, "n_frames", 1)
            picture = _within(file, longest)
            try:
                picture = ImageOps.exif_transpose(picture)
            except Exception:  # a damaged EXIF block says nothing of the orientation
                picture = picture.copy()
            picture = _in_eight_bits(picture)
            if not picture.has_transparency_data:
                return Picture(np.array(picture.convert("RGB")), frames)
            picture = picture.convert("RGBA")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Refusal("The picture has more than {most} pixels.", most=MOST_PIXELS) from None
    except Exception as fault:  # Pillow's readers raise a dozen kinds on damaged files
        raise Refusal("The file cannot be read as a picture: send a PNG, JPEG or WebP.") from fault
    paper = Image.new("RGBA", picture.size, "white")
    paper.alpha_composite(picture)
    return Picture(np.array(paper.convert("RGB")), frames)


def read_picture(path: str | Path) -> np.ndarray:
    """The (first) picture in a file as `open_picture` has it, its longer side at most 4,096: uint8 [h, w, 3]."""
    return open_picture(path, LONGEST).pixels


def read_drawing(path: str | Path, longest: int = 1024) -> np.ndarray:
    """The ink of a drawing, dark on light, its longer side at most so many pixels: float64 [h, w], 0 for paper to 1 for black."""
    return 1 - open_picture(path, longest).pixels.mean(-1) / 255


def _within(picture: Any, longest: int) -> Any:
    """A picture, in memory, none of its sides longer."""
    if max(picture.size) <= longest:
        picture.load()
        return picture
    grey = picture.mode.startswith("I")  # Pillow cannot shrink such a one in two steps
    if picture.mode in ("1", "P"):  # nor smoothly; but then it loses thin lines
        picture = picture.convert("L" if picture.mode == "1" else "RGBA" if picture.has_transparency_data else "RGB")
    picture.thumbnail((longest, longest), reducing_gap=None if grey else 2.0)
    return picture


def _in_eight_bits(picture: Any) -> Any:
    """A grey picture of 16 bits in 8, which Pillow would clip at 255; any other as it is."""
    from PIL import Image

    if not picture.mode.startswith("I"):
        return picture
    grey = np.asarray(picture).clip(0, 65535).astype(np.int32)
    clear = picture.info.get("transparency")
    alpha = np.full(grey.shape, 255, np.uint8) if clear is None else np.where(grey == clear, 0, 255).astype(np.uint8)
    eight = Image.fromarray(((grey + 128) // 257).astype(np.uint8))
    return Image.merge("LA", (eight, Image.fromarray(alpha)))

"""How good a picture is, and what the usual codecs make of it."""

from __future__ import annotations

import io
import math
import struct

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

QUALITIES = (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two uint8 pictures in dB, 10 log10(255² / MSE); equal ones have infinity."""
    error = np.mean((one.astype(np.float64) - other) ** 2)
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def ssim(one: np.ndarray, other: np.ndarray, window: int = 7) -> float:
    """Structural similarity of two uint8 pictures [h, w, channels], mean over channels and over all whole windows.

    Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity", eq. 13, with
    uniform windows and unbiased variances, K1 = 0.01 and K2 = 0.03: scikit-image's default.
    """
    a, b = (sliding_window_view(picture.astype(np.float64), (window, window), axis=(0, 1)) for picture in (one, other))
    mean_a, mean_b = a.mean((-2, -1)), b.mean((-2, -1))
    n = window * window
    cov = ((a * b).mean((-2, -1)) - mean_a * mean_b) * n / (n - 1)
    var_a, var_b = (x.var((-2, -1)) * n / (n - 1) for x in (a, b))
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = (2 * mean_a * mean_b + c1) * (2 * cov + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return float(similarity.mean())


def recode(picture: np.ndarray, kind: str, quality: int) -> tuple[bytes, np.ndarray]:
    """A picture through Pillow's "jpeg" or "webp": the file and what it decodes to."""
    from PIL import Image

    file = io.BytesIO()
    extra = {"method": 6} if kind == "webp" else {"optimize": True}
    Image.fromarray(picture).save(file, kind, quality=quality, **extra)
    with Image.open(file) as made:
        return file.getvalue(), np.asarray(made.convert("RGB"))


def bare_bytes(file: bytes) -> int:
    """The coded picture alone in a JPEG or WebP file: what is left without containers, tables and headers."""
    if file[:4] == b"RIFF":
        # RIFF size WEBP | VP8_ size | 3 bytes frame tag, 3 start code, 4 dimensions
        return struct.unpack("<I", file[16:20])[0] - 10
    at = 2
    while file[at + 1] != 0xDA:  # segments up to the start of the scan: tables and dimensions
        at += 2 + struct.unpack(">H", file[at + 2 : at + 4])[0]
    at += 2 + struct.unpack(">H", file[at + 2 : at + 4])[0]
    return len(file) - at - 2

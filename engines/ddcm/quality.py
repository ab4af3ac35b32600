"""How good a picture is, and what the usual codecs make of it."""

from __future__ import annotations

import io
import math
import struct
from typing import Annotated, Any

import numpy as np

from engines.arguments import Between, OneOf, Refusal, checked

QUALITIES = (0, 1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95)
USUAL = ("webp", "jpeg")
MODERN = (*USUAL, "avif")
WINDOW = 7  # pixels


def check_picture(name: str, picture: Any) -> np.ndarray:
    """The picture, or a Refusal unless it is uint8 [h, w, 3] with pixels in it."""
    if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise Refusal("{parameter} must be a uint8 array [height, width, 3].", parameter=name)
    if not picture.size:
        raise Refusal("{parameter} holds no pixel.", parameter=name)
    return picture


def _check_pair(one: np.ndarray, other: np.ndarray) -> None:
    if check_picture("one", one).shape != check_picture("other", other).shape:
        raise Refusal(
            "{parameter} has {given} pixels where the first picture has {expected}.",
            parameter="other",
            given=" x ".join(map(str, other.shape[1::-1])),
            expected=" x ".join(map(str, one.shape[1::-1])),
        )


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two pictures, uint8 [h, w, 3], in dB: 10 log10(255² / MSE); infinite if equal."""
    _check_pair(one, other)
    error = np.mean((one.astype(np.float64) - other) ** 2)
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def ssim(one: np.ndarray, other: np.ndarray) -> float:
    """Structural similarity of two pictures, uint8 [h, w, 3], mean over channels and over all whole windows of 7 x 7;
    NaN where none fits.

    Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity", eq. 13, with
    uniform windows and unbiased variances, K1 = 0.01 and K2 = 0.03: scikit-image's default.
    """
    from scipy.ndimage import uniform_filter

    _check_pair(one, other)
    if min(one.shape[:2]) < WINDOW:
        return math.nan
    a, b = one.astype(np.float64), other.astype(np.float64)
    n, edge = WINDOW * WINDOW, WINDOW // 2

    def mean(values: np.ndarray) -> np.ndarray:
        """Over each whole window."""
        return uniform_filter(values, (WINDOW, WINDOW, 1))[edge:-edge, edge:-edge]

    mean_a, mean_b = mean(a), mean(b)
    cov = (mean(a * b) - mean_a * mean_b) * n / (n - 1)
    var_a, var_b = (mean(a * a) - mean_a**2) * n / (n - 1), (mean(b * b) - mean_b**2) * n / (n - 1)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = (2 * mean_a * mean_b + c1) * (2 * cov + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return float(similarity.mean())


def usual() -> tuple[str, ...]:
    """Those of MODERN that Pillow has here."""
    from PIL import features

    return tuple(kind for kind in MODERN if kind == "jpeg" or features.check(kind))


@checked
def recode(
    picture: np.ndarray, kind: Annotated[str, OneOf(MODERN)], quality: Annotated[int, Between(0, 100)]
) -> tuple[bytes, np.ndarray]:
    """A picture, uint8 [h, w, 3], through Pillow's JPEG, WebP or AVIF: the file and what it decodes to."""
    from PIL import Image

    if kind not in usual():
        raise Refusal("Pillow here was built without AVIF: install 11.3 or later.")
    file = io.BytesIO()
    extra = {"webp": {"method": 6}, "jpeg": {"optimize": True}, "avif": {}}[kind]
    Image.fromarray(check_picture("picture", picture)).save(file, kind, quality=quality, **extra)
    with Image.open(file) as decoded:
        return file.getvalue(), np.asarray(decoded.convert("RGB"))


def bare_bytes(file: bytes) -> int:
    """The coded picture alone in a JPEG or lossy WebP file: what is left without containers, tables and headers."""
    try:
        file = bytes(memoryview(file))
        if file[:4] == b"RIFF":
            # RIFF size WEBP | VP8_ size | 3 bytes frame tag, 3 start code, 4 dimensions
            return struct.unpack("<I", file[16:20])[0] - 10
        at = 2
        while file[at + 1] != 0xDA:  # segments up to the start of the scan: tables and dimensions
            at += 2 + struct.unpack(">H", file[at + 2 : at + 4])[0]
        at += 2 + struct.unpack(">H", file[at + 2 : at + 4])[0]
    except (TypeError, IndexError, struct.error):
        raise Refusal("{parameter} is neither a JPEG nor a WebP file.", parameter="file") from None
    return len(file) - at - 2

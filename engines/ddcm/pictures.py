"""The pictures that are coded: emoji which the embedded model has not seen, and the visitor's own."""

from __future__ import annotations

import math
from functools import cache
from typing import Annotated

import numpy as np

from engines.arguments import Between, Refusal, checked
from engines.ddcm.codec import EMBEDDED
from engines.ddcm.file import MOST_SIDE
from engines.ddcm.quality import check_picture

Emoji = Annotated[int, Between(0, 63)]  # number of a picture held back from the embedded model
Photograph = Annotated[int, Between(0, 63)]  # of one held back from the model of photographs
Side = Annotated[int, Between(1, MOST_SIDE)]
PHOTOGRAPHS = "ddpm-cifar10-32"


@cache
def held_back(name: str = EMBEDDED) -> np.ndarray:
    """uint8 [64, 32, 32, 3], pictures that an embedded model was not trained on: photographs of the model of photographs, and
    emoji of any other."""
    from safetensors.numpy import load_file

    from engines.models import ASSETS

    folder = name if name == PHOTOGRAPHS else EMBEDDED
    return load_file(ASSETS / folder / "held-back.safetensors")["images"]


def photographs() -> np.ndarray:
    """Those of the model of photographs."""
    return held_back(PHOTOGRAPHS)


@checked
def fit(picture: np.ndarray, height: Side, width: Side) -> np.ndarray:
    """A picture uint8 [h, w, 3], cut to the proportion and scaled: uint8 [height, width, 3]."""
    from PIL import Image, ImageOps

    scaled = ImageOps.fit(Image.fromarray(check_picture("picture", picture)), (width, height), Image.Resampling.LANCZOS)
    return np.array(scaled)


@checked
def scale(picture: np.ndarray, side: Side) -> np.ndarray:
    """A picture uint8 [h, w, 3], its longer side scaled to `side` pixels, in proportion."""
    check_picture("picture", picture)
    height, width = picture.shape[:2]
    longer = max(height, width)
    return fit(picture, max(1, round(height * side / longer)), max(1, round(width * side / longer)))


@checked
def emoji_picture(emoji: Emoji, side: Side) -> np.ndarray:
    """A held-back emoji, uint8 [side, side, 3]."""
    picture = held_back()[emoji]
    return picture if side == len(picture) else fit(picture, side, side)


@checked
def typical_entropy(draws: Annotated[int, Between(0, 1 << 24)], size: Annotated[int, Between(2, 1 << 24)]) -> float:
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
    values = np.asarray(values)
    if not values.size or values.dtype.kind not in "iu":
        raise Refusal("{parameter} must be an array of whole numbers.", parameter="values")
    _, counts = np.unique(values, return_counts=True)
    share = counts / counts.sum()
    return float(-(share * np.log2(share)).sum())
